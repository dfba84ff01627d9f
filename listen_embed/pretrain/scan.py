"""Selective scans: linear recurrences whose decay and input depend on the sound, in plain PyTorch.

Both give what the recurrence gives step by step, for any length and without a kernel of their own:
`by_head` where all channels of a head forget alike, as matrix products inside chunks; `by_channel`
where every channel and state has a decay of its own, as the published weights have it.

Source: Gu & Dao, "Mamba" (arXiv 2312.00752), section 3.2; Dao & Gu, "Transformers are SSMs" (arXiv
2405.21060), section 6, whose chunked form `by_head` takes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 32
_FINITE = 80.0  # the exponential of it still is
_TINY = 1e-30


def by_head(x: Tensor, dt: Tensor, decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return y of ``h[t] = exp(dt[t] decay) h[t-1] + dt[t] b[t] x[t]'``, ``y[t] = c[t]' h[t]``.

    Parameters
    ----------
    x : Tensor (B, L, H, P)
        Channels P of heads H.
    dt : Tensor (B, L, H)
        Step sizes, positive.
    decay : Tensor (H,)
        Negative.
    b, c : Tensor (B, L, N)
        How the input enters the N states, and how they are read; heads share them.

    Returns
    -------
    Tensor (B, L, H, P)
        In x's dtype; decays are float32 throughout.
    """
    n_steps = x.shape[1]
    size = min(_CHUNK, n_steps)
    # Silent steps behind the end: they neither forget nor add.
    x, dt, b, c = (_chunks(part, size) for part in (x, dt.float(), b, c))
    x, dt = x.transpose(2, 3).contiguous(), dt.transpose(2, 3)  # (B, K, H, Q, ...)
    shrinking = dt * decay.float()[:, None]
    if x.requires_grad and torch.is_grad_enabled():
        y = _ByHead.apply(x, dt, shrinking, b, c)
    else:
        y = _read(x, dt, shrinking, b, c)[0]
    return y.transpose(2, 3).flatten(1, 2)[:, :n_steps]  # type: ignore[no-any-return]


class _ByHead(torch.autograd.Function):
    """The scan with its gradient written out, which passes over memory a third as often.

    Source: Dao & Gu, "Transformers are SSMs", listing 1, and mamba, ssd_combined.py, for the
    products of values and gradients that stand for the decays' own gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, shrinking: Tensor, b: Tensor, c: Tensor) -> Tensor:
        y, fading, left, before = _read(x, dt, shrinking, b, c)
        ctx.save_for_backward(x, dt, fading, b, c, left, before, y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        x, dt, fading, b, c, left, before, y = ctx.saved_tensors
        g = g.contiguous()
        remains = _remains(fading, c)
        enters = _enters(fading, dt, b)
        d_before = ((c[:, :, None] * remains).transpose(3, 4) @ g).float()
        d_added = _handed_back(d_before, _kept(fading)).to(g.dtype)
        alike = (c @ b.transpose(2, 3)).tril_()
        dx = (left * alike[:, :, None]).transpose(3, 4) @ g + (b[:, :, None] * enters) @ d_added
        d_alike = (left * (g @ x.transpose(3, 4))).sum(2).tril_()
        db = (enters * (x @ d_added.transpose(3, 4))).sum(2) + d_alike.transpose(2, 3) @ c
        dc = (remains * (g @ before.transpose(3, 4))).sum(2) + d_alike @ b
        pulled = _summed(x, dx)
        d_fading = _summed(g, y) - pulled
        # What a chunk hands on has faded for as long as the chunk is.
        d_fading[:, :-1, :, -1] += _summed(d_added[:, :-1], before[:, 1:]).sum(-1)
        d_shrinking = d_fading.flip(-1).cumsum(-1).flip(-1)
        return dx, pulled / dt.clamp(min=_TINY), d_shrinking, db, dc


def _read(
    x: Tensor, dt: Tensor, shrinking: Tensor, b: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y (B, K, H, Q, P), and for the way back what it was made of.

    The logarithm of what is left at each step of the state that its chunk began with; of what is
    left at each step of every input of its chunk; the state that each chunk began with.
    """
    fading = shrinking.cumsum(-1)
    left = _left(fading, dt).to(c.dtype)
    inside = left * (c @ b.transpose(2, 3)).tril()[:, :, None]
    added = (b[:, :, None] * _enters(fading, dt, b)).transpose(3, 4) @ x
    before = _handed_on(added.float(), _kept(fading)).to(c.dtype)
    y = inside @ x + (c[:, :, None] * _remains(fading, c)) @ before
    return y, fading, left, before


def _left(fading: Tensor, dt: Tensor) -> Tensor:
    """Return what is left at each step (row) of each input (column) of its chunk.

    Inputs that are yet to come have some finite value.
    """
    came = fading - dt.log()
    return (fading[..., :, None] - came[..., None, :]).clamp(max=_FINITE).exp()


def _enters(fading: Tensor, dt: Tensor, b: Tensor) -> Tensor:
    """Return how much of each input is left at its chunk's end (B, K, H, Q, 1)."""
    return (dt * (fading[..., -1:] - fading).exp()).to(b.dtype)[..., None]


def _remains(fading: Tensor, c: Tensor) -> Tensor:
    """Return how much each step has of the state that its chunk began with (B, K, H, Q, 1)."""
    return fading.exp().to(c.dtype)[..., None]


def _kept(fading: Tensor) -> Tensor:
    """Return how much of a state is left behind a chunk (B, K, H, 1, 1)."""
    return fading[..., -1].exp()[..., None, None]


def _handed_back(d_before: Tensor, kept: Tensor) -> Tensor:
    """Return the gradient of what each chunk adds: all those behind it begin with it."""
    backwards = _handed_on(d_before.flip(1), kept.flip(1))
    return backwards.flip(1)


def _summed(x: Tensor, y: Tensor) -> Tensor:
    """Return the sums of products over the last axis, float32."""
    return (x * y).sum(-1, dtype=torch.float32)


def _chunks(x: Tensor, size: int) -> Tensor:
    """Return (B, K, size, ...) of (B, L, ...), zeros behind the end."""
    missing = -x.shape[1] % size
    padded = functional.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))
    return padded.reshape(len(x), -1, size, *x.shape[2:])


def by_channel(x: Tensor, dt: Tensor, decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the same for decays of every channel and state.

    Inside a chunk all steps wait for those before them, but the chunks go side by side; then what
    each of them leaves is handed on.

    Parameters
    ----------
    x, dt : Tensor (B, L, D)
    decay : Tensor (D, N)
    b, c : Tensor (B, L, N)

    Returns
    -------
    Tensor (B, L, D)
    """
    n_steps = x.shape[1]
    size = max(1, round(n_steps**0.5))
    x, dt, b, c = (_chunks(part.float(), size) for part in (x, dt, b, c))
    state = x.new_zeros(*x.shape[:2], *decay.shape)
    inside, fading = [], dt.cumsum(2)
    for step in range(size):
        forgets = (dt[:, :, step, :, None] * decay).exp()
        enters = (dt[:, :, step] * x[:, :, step])[..., None] * b[:, :, step, None]
        state = state * forgets + enters
        inside.append((state * c[:, :, step, None]).sum(-1))
    before = _handed_on(state, (fading[:, :, -1, :, None] * decay).exp())
    y = torch.stack(inside, dim=2) + _read_later(before, fading, decay, c)
    return y.flatten(1, 2)[:, :n_steps]


def _handed_on(added: Tensor, kept: Tensor) -> Tensor:
    """Return the states that each chunk begins with: what those before it added, and kept."""
    state = torch.zeros_like(added[:, 0])
    states = []
    for chunk in range(added.shape[1]):
        states.append(state)
        state = state * kept[:, chunk] + added[:, chunk]
    return torch.stack(states, dim=1)


def _read_later(before: Tensor, fading: Tensor, decay: Tensor, c: Tensor) -> Tensor:
    """Return what every step reads of the states that its chunk began with (B, K, Q, D)."""
    steps = range(fading.shape[2])
    left = ((fading[:, :, q, :, None] * decay).exp() * before for q in steps)
    return torch.stack(
        [(h * c[:, :, q, None]).sum(-1) for q, h in zip(steps, left, strict=True)], 2
    )


def by_steps(x: Tensor, dt: Tensor, decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the same, one step after the other: the definition, which tests compare with.

    Takes the arguments of `by_head` or of `by_channel`.
    """
    with_heads = x.ndim == 4
    per_channel = decay[:, None, None] if with_heads else decay
    state: Tensor | None = None
    ys = []
    for t in range(x.shape[1]):
        step = dt[:, t, :, None, None] if with_heads else dt[:, t, :, None]
        weight = b[:, t, None, None] if with_heads else b[:, t, None]
        enters = step * x[:, t, ..., None] * weight
        state = enters if state is None else state * (step * per_channel).exp() + enters
        reading = c[:, t, None, None] if with_heads else c[:, t, None]
        ys.append((state * reading).sum(-1))
    return torch.stack(ys, dim=1)
