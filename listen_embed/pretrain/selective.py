"""Convolution, selection and scan of one direction as a single step of the gradient.

What a CPU's time goes to is passing over memory: gradients of tokens that several parts have used
are added up here where they arise, and what is cheap to make again is not kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from listen_embed.pretrain import causal, scan


class Weights(NamedTuple):
    """What a direction has learnt.

    Attributes
    ----------
    kernel, kernel_bias : Tensor (C, 1, 1, K), (C,)
        Of the convolution of every channel.
    select : Tensor (H + 2 N, C)
        What turns a token into the heads' steps, and into how the N states are written and read.
    skip : Tensor (C,)
        How much of the convolution stays.
    step_bias, decay : Tensor (H,)
    """

    kernel: Tensor
    kernel_bias: Tensor
    select: Tensor
    skip: Tensor
    step_bias: Tensor
    decay: Tensor

    def beside(self, x: Tensor) -> Weights:
        """Return what is multiplied with tokens in their dtype."""
        return Weights(
            self.kernel.to(x.dtype),
            self.kernel_bias.to(x.dtype),
            self.select.to(x.dtype),
            self.skip.to(x.dtype),
            self.step_bias.float(),
            self.decay.float(),
        )


def selected(x: Tensor, weights: Weights) -> Tensor:
    """Return what tokens (B, L, C) become on their way in one direction, in their dtype."""
    weights = weights.beside(x)
    if x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return cast(Tensor, _Selected.apply(x, *weights))  # type: ignore[no-untyped-call]
    return _forward(x, weights)[0]


def resumed(
    x: Tensor, weights: Weights, n_known: int, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the same for a stretch of a sound, and the state at its end; without gradients.

    Parameters
    ----------
    x : Tensor (B, L, C)
    weights : Weights
    n_known : int
        How many of the tokens are from before the stretch, for the convolution alone.
    start : Tensor (B, H, N, P), optional
        The state at the end of the stretch before.
    """
    y, *made = _forward(x, weights.beside(x), n_known, start)
    return y, made[-1]


def _forward(
    x: Tensor, weights: Weights, n_known: int = 0, start: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return what tokens become, and for the way back what it was made of."""
    kernel, kernel_bias, select, skip, step_bias, decay = weights
    heard = causal.heard(x, kernel, kernel_bias)[:, n_known:]
    tokens = functional.silu(heard)
    n_heads = len(decay)
    n_states = (len(select) - n_heads) // 2
    steps, b, c = torch.split(tokens @ select.T, [n_heads, n_states, n_states], dim=-1)
    dt = functional.softplus(steps.float() + step_bias)
    parts = scan.chunked(_heads(tokens, n_heads), dt, b, c)
    y, made = scan.read(*parts[:2], parts[1] * decay[:, None], *parts[2:], start)
    y = torch.addcmul(scan.joined(y, tokens.shape[1]), tokens, skip)
    return y, heard, tokens, *parts, *made


def _heads(x: Tensor, n_heads: int) -> Tensor:
    """Return (B, L, H, P) of (B, L, C)."""
    return x.reshape(*x.shape[:2], n_heads, -1)


class _Selected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        kernel, _, select, skip, _, decay = weights
        y, *made = _forward(x, Weights(*weights))
        ctx.save_for_backward(x, kernel, select, skip, decay, *made)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        x, kernel, select, skip, decay, heard, tokens, *made = ctx.saved_tensors
        heads, dt, b, c, *made = made
        n_steps, n_heads = x.shape[1], len(decay)
        g_heads = scan.chunked_heads(_heads(g, n_heads))
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
