"""Selective scans: linear recurrences whose decay and input depend on the sound, in plain PyTorch.

Both give what the recurrence gives step by step, for any length and without a kernel of their own:
`by_head` where all channels of a head forget alike, as matrix products inside chunks; `by_channel`
where every channel and state has a decay of its own, as the published weights have it.

Source: Gu & Dao, "Mamba" (arXiv 2312.00752), section 3.2; Dao & Gu, "Transformers are SSMs" (arXiv
2405.21060), section 6, whose chunked form `by_head` takes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 32


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
    x, dt = x.transpose(2, 3), dt.transpose(2, 3)  # (B, K, H, Q, ...)
    b, c = b[:, :, None], c[:, :, None]
    # The logarithm of what is left at each step of the state that its chunk began with.
    fading = (dt * decay.float()[:, None]).cumsum(3)
    y = _weights(fading, dt, b, c) @ x
    entering = b * (dt * (fading[..., -1:] - fading).exp()).to(b.dtype)[..., None]
    added = (entering.transpose(3, 4) @ x).float()
    before = _handed_on(added, fading[..., -1].exp()[..., None, None])
    y = y + (c * fading.exp().to(c.dtype)[..., None]) @ before.to(c.dtype)
    return y.transpose(2, 3).flatten(1, 2)[:, :n_steps]


def _chunks(x: Tensor, size: int) -> Tensor:
    """Return (B, K, size, ...) of (B, L, ...), zeros behind the end."""
    missing = -x.shape[1] % size
    padded = functional.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))
    return padded.reshape(len(x), -1, size, *x.shape[2:])


def _weights(fading: Tensor, dt: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return what each step reads of the inputs of its own chunk (B, K, H, Q, Q)."""
    size = fading.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=fading.device).tril()
    since = (fading[..., :, None] - fading[..., None, :]).masked_fill(~later, -torch.inf)
    left = since.exp() * dt[..., None, :]
    return left.to(c.dtype) * (c @ b.transpose(3, 4))


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
