"""Convolution, selection and scan of one direction as a single step of the gradient.

What a CPU's time goes to is passing over memory: gradients of tokens that several parts have used
are added up here where they arise, and what is cheap to make again is not kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from listen_embed.pretrain import causal, scan


def selected(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor,
    select: Tensor,
    step_bias: Tensor,
    decay: Tensor,
    skip: Tensor,
) -> Tensor:
    """Return what tokens become on their way in one direction.

    Parameters
    ----------
    x : Tensor (B, L, C)
    kernel, kernel_bias : Tensor (C, 1, 1, K), (C,)
        Of the convolution of every channel.
    select : Tensor (H + 2 N, C)
        What turns a token into the heads' steps, and into how the N states are written and read.
    step_bias, decay : Tensor (H,)
    skip : Tensor (C,)
        How much of the convolution stays.

    Returns
    -------
    Tensor (B, L, C)
        In x's dtype.
    """
    given = _cast(x, (kernel, kernel_bias, select, step_bias, decay, skip))
    if x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _Selected.apply(*given)  # type: ignore[no-any-return]
    return _forward(*given)[0]


def resumed(
    x: Tensor, weights: tuple[Tensor, ...], n_known: int, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the same for a stretch of a sound, and the state at its end; without gradients.

    Parameters
    ----------
    x : Tensor (B, L, C)
    weights : tuple of Tensor
        The other arguments of `selected`.
    n_known : int
        How many of the tokens are from before the stretch, for the convolution alone.
    start : Tensor (B, H, N, P), optional
        The state at the end of the stretch before.
    """
    y, *made = _forward(*_cast(x, weights), n_known, start)
    return y, made[-1]


def _cast(x: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    kernel, kernel_bias, select, step_bias, decay, skip = weights
    alike = (w.to(x.dtype) for w in (kernel, kernel_bias, select, skip))
    return x, *alike, step_bias.float(), decay.float()


def _forward(
    x: Tensor,
    kernel: Tensor,
    kernel_bias: Tensor,
    select: Tensor,
    skip: Tensor,
    step_bias: Tensor,
    decay: Tensor,
    n_known: int = 0,
    start: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Return what tokens become, and for the way back what it was made of."""
    heard = causal.heard(x, kernel, kernel_bias)[:, n_known:]
    tokens = functional.silu(heard)
    n_heads = len(decay)
    n_states = (len(select) - n_heads) // 2
    steps, b, c = (tokens @ select.T).split([n_heads, n_states, n_states], dim=-1)
    dt = functional.softplus(steps.float() + step_bias)
    heads = tokens.unflatten(2, (n_heads, -1))
    parts = scan.chunked(heads, dt, b, c)
    y, made = scan.read(*parts[:2], parts[1] * decay[:, None], *parts[2:], start)
    y = torch.addcmul(scan.joined(y, tokens.shape[1]), tokens, skip)
    return y, heard, tokens, *parts, *made


class _Selected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        kernel, _, select, skip, _, decay = weights
        y, *made = _forward(x, *weights)
        ctx.save_for_backward(x, kernel, select, skip, decay, *made)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        x, kernel, select, skip, decay, heard, tokens, *made = ctx.saved_tensors
        heads, dt, b, c, *made = made
        n_steps, n_heads = x.shape[1], len(decay)
        g_heads = scan.chunked_heads(g.unflatten(2, (n_heads, -1)))
        d_heads, d_dt, d_shrinking, db, dc = scan.read_back(
            g_heads, heads, dt, b, c, scan.Made(*made)
        )
        d_steps = (d_dt + d_shrinking * decay[:, None]) * -torch.expm1(-dt)  # softplus's slope
        d_steps = d_steps.transpose(2, 3).flatten(1, 2)[:, :n_steps]
        db, dc = (part.flatten(1, 2)[:, :n_steps] for part in (db, dc))
        d_select = torch.cat([d_steps.to(g.dtype), db, dc], dim=-1).flatten(0, 1)
        d_tokens = torch.addcmul(scan.joined(d_heads, n_steps), g, skip)
        d_tokens.flatten(0, 1).addmm_(d_select, select)
        d_heard = torch.ops.aten.silu_backward(d_tokens, heard)
        dx, d_kernel, d_kernel_bias = causal.heard_back(d_heard, x, kernel)
        return (
            dx,
            d_kernel,
            d_kernel_bias,
            d_select.T @ tokens.flatten(0, 1),
            (g * tokens).sum((0, 1)),
            d_steps.sum((0, 1)),
            (d_shrinking * dt).sum((0, 1, 3)),
        )
