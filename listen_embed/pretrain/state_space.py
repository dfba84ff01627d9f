"""The state-space block: tokens pass through a selective scan forwards, and one backwards.

Source: Zhu et al., "Vision Mamba" (ICML 2024), algorithm 1, which SSAMBA took over; the scans are
those of Mamba (a decay for every channel and state) or Mamba-2 (one for a head).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from listen_embed.pretrain import causal, scan, selective

_EXPANSION = 2
_N_STATES = 16
_KERNEL = 4
_HEAD_WIDTH = 64
# Longer sounds go through a block by stretches of so many tokens.
_STRETCH = 2048
# Step sizes at the start. Source: mamba, mamba_simple.py, dt_min and dt_max.
_FASTEST, _SLOWEST = 0.1, 0.001

Decay = Literal["head", "channel"]


class Direction(nn.Module):
    """One way through the tokens: causal convolution, then the selective scan.

    Parameters
    ----------
    inner : int
        Channels.
    decay : {"head", "channel"}
    rank : int
        Of the steps' sizes, where every channel has its own.
    """

    def __init__(self, inner: int, decay: Decay, rank: int) -> None:
        super().__init__()
        self.decay: Decay = decay
        n_steps = inner // _HEAD_WIDTH if decay == "head" else rank
        self.widths = [n_steps, _N_STATES, _N_STATES]
        self.convolution = nn.Conv2d(
            inner, inner, (1, _KERNEL), groups=inner, padding=(0, _KERNEL - 1)
        )
        self.select = nn.Linear(inner, sum(self.widths), bias=False)
        if decay == "channel":
            self.step: nn.Module = nn.Linear(rank, inner, bias=False)
            states = torch.arange(1, _N_STATES + 1).float()
            self.log_decay = nn.Parameter(states.log().repeat(inner, 1))
            self.step_bias = nn.Parameter(_step_bias(inner))
            self.skip = nn.Parameter(torch.ones(inner))
        else:
            self.step = nn.Identity()
            self.log_decay = nn.Parameter(torch.linspace(1, _N_STATES, n_steps).log())
            self.step_bias = nn.Parameter(_step_bias(n_steps))
            self.skip = nn.Parameter(torch.ones(inner))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, L, inner); step t has heard x up to t."""
        if self.decay == "head":
            return selective.selected(x, self.weights())
        kernel, decay = self.convolution, -self.log_decay.float().exp()
        x = functional.silu(causal.convolved(x, kernel.weight, cast(Tensor, kernel.bias)))
        steps, b, c = self.select(x).split(self.widths, dim=-1)
        dt = functional.softplus(self.step(steps).float() + self.step_bias)
        y = scan.by_channel(x, dt, decay, b, c).to(x.dtype)
        return y + x * self.skip.to(x.dtype)

    def weights(self) -> selective.Weights:
        """Return what a scan by heads takes."""
        kernel, decay = self.convolution, -self.log_decay.float().exp()
        bias = cast(Tensor, kernel.bias)
        select = self.select.weight
        return selective.Weights(kernel.weight, bias, select, self.skip, self.step_bias, decay)

    def stretches(self, parts: Iterable[tuple[Tensor, int]]) -> Iterator[Tensor]:
        """Yield a long sound's stretches, each given with its number of tokens from before it."""
        state: Tensor | None = None
        weights = self.weights()
        for part, n_known in parts:
            y, state = selective.resumed(part, weights, n_known, state)
            yield y


class StateSpaceBlock(nn.Module):
    """Both directions, gated, behind a norm and beside a short cut.

    Parameters
    ----------
    width : int
    decay : {"head", "channel"}
    """

    def __init__(self, width: int, decay: Decay = "head") -> None:
        super().__init__()
        inner = _EXPANSION * width
        rank = math.ceil(width / 16)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.enter = nn.Linear(width, 2 * inner, bias=False)
        self.forwards = Direction(inner, decay, rank)
        self.backwards = Direction(inner, decay, rank)
        self.leave = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, L, width)."""
        is_long = x.shape[1] > _STRETCH and self.forwards.decay == "head"
        if is_long and not torch.is_grad_enabled():
            return self._in_stretches(x)
        inner, gate = self.enter(self.norm(x)).chunk(2, dim=-1)
        return self._left(x, self.forwards(inner), self.backwards(inner.flip(1)).flip(1), gate)

    def _left(self, x: Tensor, before: Tensor, behind: Tensor, gate: Tensor) -> Tensor:
        # Halved, as the published "v2" does.
        return x + 0.5 * self.leave((before + behind) * functional.silu(gate))  # type: ignore[no-any-return]

    def _in_stretches(self, x: Tensor) -> Tensor:
        """Return the same, a stretch after the other: what lies between stays small."""
        n = x.shape[1]
        begins = range(0, n, _STRETCH)
        flipped = x.flip(1)
        behind = torch.cat(list(self.backwards.stretches(self._inner(flipped))), dim=1).flip(1)
        left = []
        for begin, before in zip(begins, self.forwards.stretches(self._inner(x)), strict=True):
            here = slice(begin, begin + _STRETCH)
            gate = functional.linear(self.norm(x[:, here]), self.enter.weight.chunk(2)[1])
            left.append(self._left(x[:, here], before, behind[:, here], gate))
        return torch.cat(left, dim=1)

    def _inner(self, x: Tensor) -> Iterator[tuple[Tensor, int]]:
        for begin in range(0, x.shape[1], _STRETCH):
            n_known = min(begin, _KERNEL - 1)
            tokens = self.norm(x[:, begin - n_known : begin + _STRETCH])
            yield functional.linear(tokens, self.enter.weight.chunk(2)[0]), n_known


def _step_bias(n: int) -> Tensor:
    """Return what softplus turns into step sizes spread evenly over their logarithm."""
    sizes = torch.exp(torch.linspace(math.log(_SLOWEST), math.log(_FASTEST), n))
    return sizes + torch.log(-torch.expm1(-sizes))
