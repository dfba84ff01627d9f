"""Selective scans: linear recurrences whose decay and input depend on the sound, in plain PyTorch.

Both give what the recurrence gives step by step, for any length and without a kernel of their own:
`by_head` where all channels of a head forget alike, as matrix products inside chunks; `by_channel`
where every channel and state has a decay of its own, as the published weights have it.

Source: Gu & Dao, "Mamba" (arXiv 2312.00752), section 3.2; Dao & Gu, "Transformers are SSMs" (arXiv
2405.21060), section 6, whose chunked form `by_head` takes.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

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
    given = x
    x, dt, b, c = chunked(x, dt.float(), b, c)
    shrinking = dt * decay.float()[:, None]
    if x.requires_grad and torch.is_grad_enabled():
        y = cast(Tensor, _ByHead.apply(x, dt, shrinking, b, c))  # type: ignore[no-untyped-call]
    else:
        y = read(x, dt, shrinking, b, c)[0]
    return joined(y, n_steps).reshape(given.shape)


def chunked(x: Tensor, dt: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `by_head` takes in K chunks of Q steps.

    Behind the end are silent steps, which neither forget nor add: x (B, K, H, Q, P), dt
    (B, K, H, Q), b and c (B, K, Q, N).
    """
    dt, b, c = (_chunks(part) for part in (dt, b, c))
    return chunked_heads(x), dt.transpose(2, 3), b, c


def chunked_heads(x: Tensor) -> Tensor:
    """Return (B, K, H, Q, P) of (B, L, H, P)."""
    return _chunks(x).transpose(2, 3).contiguous()


def joined(y: Tensor, n_steps: int) -> Tensor:
    """Return (B, L, H * P) of (B, K, H, Q, P): the way back."""
    return y.transpose(2, 3).flatten(3).flatten(1, 2)[:, :n_steps]


class Made(NamedTuple):
    """What the way back of a scan needs of the way there.

    Attributes
    ----------
    fading : Tensor (B, K, H, Q)
        The logarithm of what is left at each step of the state that its chunk began with.
    left : Tensor (B, K, H, Q, Q)
        What is left at each step (row) of each input (column) of its chunk.
    before : Tensor (B, K, H, N, P)
        The state that each chunk began with.
    after : Tensor, float32 (B, H, N, P)
        The state at the end.
    """

    fading: Tensor
    left: Tensor
    before: Tensor
    after: Tensor


def read(
    x: Tensor, dt: Tensor, shrinking: Tensor, b: Tensor, c: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Made]:
    """Scan what `chunked` gave, and return y (B, K, H, Q, P).

    Parameters
    ----------
    x, dt, b, c : Tensor
    shrinking : Tensor (B, K, H, Q)
        dt times the decay.
    start : Tensor (B, H, N, P), optional
        The state that a scan of what came before has left.
    """
    fading = shrinking.cumsum(-1)
    left = _left(fading, dt).to(c.dtype)
    inside = left * (c @ b.transpose(2, 3)).tril()[:, :, None]
    added = (b[:, :, None] * _enters(fading, dt, b)).transpose(3, 4) @ x
    states = _handed_on(added.float(), _kept(fading), start)
    before = states[:, :-1].to(c.dtype)
    reads = c[:, :, None] * _remains(fading, c)
    return _plus(inside, x, reads @ before), Made(fading, left, before, states[:, -1])


def read_back(
    g: Tensor, x: Tensor, dt: Tensor, b: Tensor, c: Tensor, made: Made
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `read`'s arguments, given that of y."""
    fading, left, before, _ = made
    alike = (c @ b.transpose(2, 3)).tril_()
    remains, enters = _remains(fading, c), _enters(fading, dt, b)
    entering, reads = b[:, :, None] * enters, c[:, :, None] * remains
    d_added = _handed_back((reads.transpose(3, 4) @ g).float(), _kept(fading))
    handed = (d_added * before).sum((-1, -2)) * fading[..., -1].exp()
    d_added = d_added.to(g.dtype)
    d_inside, d_entering = g @ x.transpose(3, 4), x @ d_added.transpose(3, 4)
    d_reads = g @ before.transpose(3, 4)
    dx = _plus((left * alike[:, :, None]).transpose(3, 4), g, entering @ d_added)
    heard = d_inside * left
    d_alike = heard.sum(2).tril_()
    db = (enters * d_entering).sum(2) + d_alike.transpose(2, 3) @ c
    dc = (remains * d_reads).sum(2) + d_alike @ b
    d_fading, d_log_dt = _faded((heard * alike[:, :, None]).float(), _summed(d_entering, entering))
    d_fading[..., -1] += handed
    d_fading += _summed(d_reads, reads)
    d_shrinking = d_fading.flip(-1).cumsum(-1).flip(-1)
    return dx, d_log_dt / dt.clamp(min=_TINY), d_shrinking, db, dc


def _faded(inside: Tensor, entering: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of `fading` and of the steps' logarithms (B, K, H, Q).

    Parameters
    ----------
    inside : Tensor (B, K, H, Q, Q)
        The gradient of the logarithm of what each step (row) reads of each input (column).
    entering : Tensor (B, K, H, Q)
        That of how much of each input is left at its chunk's end.
    """
    d_log_dt = inside.sum(-2) + entering
    # An input has not faded yet at its own step, and the last one not at its chunk's end.
    inside.tril_(-1)
    entering[..., -1] = 0
    d_fading = inside.sum(-1) - inside.sum(-2) - entering
    d_fading[..., -1] += entering.sum(-1)
    return d_fading, d_log_dt


class _ByHead(torch.autograd.Function):
    """The scan with its gradient written out, which passes over memory a third as often."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, shrinking: Tensor, b: Tensor, c: Tensor) -> Tensor:
        y, made = read(x, dt, shrinking, b, c)
        ctx.save_for_backward(x, dt, b, c, *made)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        x, dt, b, c, *made = ctx.saved_tensors
        return read_back(g.contiguous(), x, dt, b, c, Made(*made))


def _plus(a: Tensor, b: Tensor, so_far: Tensor) -> Tensor:
    """Add the products a @ b of all heads to what is there, in place."""
    flat = so_far.flatten(0, 2).baddbmm_(a.flatten(0, 2), b.flatten(0, 2))
    return flat.view_as(so_far)


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
    d_added = torch.zeros_like(d_before)
    for chunk in reversed(range(d_before.shape[1] - 1)):
        behind = chunk + 1
        torch.addcmul(
            d_before[:, behind], d_added[:, behind], kept[:, behind], out=d_added[:, chunk]
        )
    return d_added


def _summed(x: Tensor, y: Tensor) -> Tensor:
    """Return the sums of products over the last axis, float32."""
    return (x * y).sum(-1, dtype=torch.float32)


def _chunks(x: Tensor, size: int = 0) -> Tensor:
    """Return (B, K, size, ...) of (B, L, ...), zeros behind the end."""
    size = size or min(_CHUNK, x.shape[1])
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
    before = _handed_on(state, (fading[:, :, -1, :, None] * decay).exp())[:, :-1]
    y = torch.stack(inside, dim=2) + _read_later(before, fading, decay, c)
    return y.flatten(1, 2)[:, :n_steps]


def _handed_on(added: Tensor, kept: Tensor, start: Tensor | None = None) -> Tensor:
    """Return the states that chunks begin with, and the last ends with (B, K + 1, ...)."""
    states = [torch.zeros_like(added[:, 0]) if start is None else start]
    for chunk in range(added.shape[1]):
        states.append(states[-1] * kept[:, chunk] + added[:, chunk])
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
