"""The student that streams: it hears every step once, and remembers the rest in a fixed state.

A `Student`'s convolutions look at a short window of columns; what was a mean over the whole frame,
in its squeeze-excitations and at its end, is a mean over the past that fades. Beside that, gated
cells keep what a mean cannot say. Nothing looks ahead, and every memory fades, so the state stays
bounded however long the stream is.

The same code runs over whole crops, for training, and step by step, for the .tflite: only the
`Memory` differs.

Source: the cells are minGRU (Feng et al., "Were RNNs all we needed?", 2024, section 3.1), a
selective state-space layer whose state is diagonal; squeeze-excitation over a running mean is as in
streaming EfficientNets (Rybakov et al., Interspeech 2020, section 4).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from listen_embed.runtime import StateNames
from listen_embed.spec import FrontEnd
from listen_embed.training.network import (
    ConvNorm,
    HardSwish,
    InvertedResidual,
    SqueezeExcite,
    Student,
)

_FIRST_MEAN_SECONDS = 1.0
# Parts of a state that stand in one tensor: the CPU's delegate joins up to five.
_JOINED = 4
# Of the cells, at first: from one step to what a second or two holds.
_CELL_SECONDS = (0.1, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepping:
    """How a stream is cut into steps.

    Parameters
    ----------
    columns : int
        New columns of each step.
    window : int
        Columns that each step sees, the last ones of the step before among them.
    seconds : float
        Time from step to step.
    every : int
        Training compares the embeddings of every so many steps, the last one of a crop among them.
    """

    columns: int
    window: int
    seconds: float
    every: int

    def front_end(self, of_crops: FrontEnd) -> FrontEnd:
        """Return what a model hears in one step, where training's crops have such columns."""
        edge = of_crops.n_fft + (1 if of_crops.preemphasis else 0)
        n_samples = (self.window - 1) * of_crops.hop_samples + edge
        return replace(of_crops, frame_samples=n_samples, padding="none")

    def compared(self, steps: Tensor) -> Tensor:
        """Return every so many steps (B, T, n), counted from the last, and the mean of all."""
        first = (steps.shape[1] - 1) % self.every
        return torch.cat([steps[:, first :: self.every], steps.mean(1, keepdim=True)], 1)

    def windows(self, x: Tensor) -> Tensor:
        """Return (B, T, n_bands, window) of log-mels (B, 1, n_bands, n_steps)."""
        return x[:, 0].unfold(2, self.window, self.columns).permute(0, 2, 1, 3)


class Memory(Protocol):
    """What lets a layer know the past."""

    def mean(self, x: Tensor) -> Tensor:
        """Return the fading mean of x (N, C) up to each step."""

    def cells(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return cells (N, C) that move towards x (N, C), each keeping its share `keep` (N, C)."""


class WholeCrops:
    """The memory of training: all steps of B crops are there at once, as B * T rows.

    Parameters
    ----------
    n_crops : int
    n_steps : int
    keep : Tensor ()
        The share of a mean that stays from step to step.
    """

    def __init__(self, n_crops: int, n_steps: int, keep: Tensor) -> None:
        self._n_crops = n_crops
        at = torch.arange(n_steps, device=keep.device, dtype=keep.dtype)
        ago = at[:, None] - at
        shares = torch.where(ago >= 0, keep ** ago.clamp(min=0), torch.zeros_like(ago))
        self._shares = shares / shares.sum(1, keepdim=True)

    def mean(self, x: Tensor) -> Tensor:
        """Return the fading means, as one matrix product."""
        return (self._shares @ x.reshape(self._n_crops, -1, x.shape[-1])).reshape(x.shape)

    def cells(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return the cells, step after step."""
        shape = (self._n_crops, -1, x.shape[-1])
        kept, moves = keep.reshape(shape).unbind(1), ((1 - keep) * x).reshape(shape).unbind(1)
        cell = torch.zeros_like(moves[0])
        cells = []
        for share, move in zip(kept, moves, strict=True):
            cell = share * cell + move
            cells.append(cell)
        return torch.stack(cells, 1).reshape(x.shape)


class OneStep:
    """The memory of a stream: the state before a step, and what it becomes.

    Parameters
    ----------
    state : sequence of Tensor, float32 (1, n)
        Zeros at the start of a stream.
    keep : Tensor ()
        The share of a mean that stays from step to step.
    """

    def __init__(self, state: Sequence[Tensor], keep: Tensor) -> None:
        self._left = list(state)
        self._at = 0
        self._keep = keep
        # A mean of few steps is the mean of those, not of the zeros before them too.
        weight = keep * self._take(1) + 1
        self._share = 1 / weight
        self._next = [weight]

    def mean(self, x: Tensor) -> Tensor:
        """Return the fading mean, and keep its sum."""
        total = self._keep * self._take(x.shape[1]) + x
        self._next.append(total)
        return total * self._share

    def cells(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return the cells, and keep them."""
        cells = keep * self._take(x.shape[1]) + (1 - keep) * x
        self._next.append(cells)
        return cells

    def next_state(self) -> list[Tensor]:
        """Return the state after the step, float32 (1, n) each."""
        return [torch.cat(parts, dim=1) for parts in _grouped(self._next)]

    def _take(self, n: int) -> Tensor:
        """Return the next n values of the state, which lie in one tensor."""
        if self._at == self._left[0].shape[1]:
            self._left.pop(0)
            self._at = 0
        self._at += n
        return self._left[0][:, self._at - n : self._at]


def _grouped(parts: list[Any]) -> list[list[Any]]:
    """Return the parts of a state by the tensor that they stand in."""
    return [parts[i : i + _JOINED] for i in range(0, len(parts), _JOINED)]


class Streamer(nn.Module):
    """A student that streams; see the module's docstring.

    Parameters
    ----------
    student : Student
        Its convolutions, norms folded, and its squeeze-excitations are taken over.
    stepping : Stepping
    cells : int
        Gated cells.
    emb_dim : int
    settled : int
        Blocks, the stem before them included, that training leaves as they are: a short window
        makes little difference to the first ones, and they take most of the time.
    """

    def __init__(
        self, student: Student, stepping: Stepping, cells: int, emb_dim: int, settled: int = 0
    ) -> None:
        super().__init__()
        self.stepping = stepping
        self.ears = _with_plain_swishes(student)
        self.ears.to_embedding = nn.Identity()
        self.longest_keep = 1.0
        if settled:
            for part in (self.ears.stem, *self.ears.residuals[:settled]):
                part.requires_grad_(False)
        last = student.architecture.last
        first = math.exp(-stepping.seconds / _FIRST_MEAN_SECONDS)
        self.fading = nn.Parameter(torch.tensor(_logit(first)))
        self.to_cells = nn.Linear(2 * last, cells)
        self.to_keep = nn.Linear(2 * last, cells)
        self.swish = nn.Hardswish()
        self.to_embedding = nn.Linear(last + cells, emb_dim)
        shortest, longest = map(math.log10, _CELL_SECONDS)
        shares = [
            math.exp(-stepping.seconds / seconds)
            for seconds in torch.logspace(shortest, longest, cells).tolist()
        ]
        with torch.no_grad():
            self.to_keep.weight.mul_(0.1)
            self.to_keep.bias.copy_(torch.tensor([_logit(share) for share in shares]))

    @property
    def state_names(self) -> StateNames:
        """Names of each tensor of the state, before a step and after it."""
        return tuple((f"state_{i}", f"next_state_{i}") for i in range(len(self.state_sizes)))

    @property
    def state_sizes(self) -> list[int]:
        """Values of each tensor of the state.

        In order: the weight of the means, the sum of each channel, and the cells.
        """
        hidden = [block.hidden for block in self.ears.architecture.blocks if block.squeeze]
        parts = [1, *hidden, self.ears.architecture.last, self.to_cells.out_features]
        return [sum(group) for group in _grouped(parts)]

    @property
    def keep(self) -> Tensor:
        """The share () of a mean that stays from step to step."""
        return torch.sigmoid(self.fading)

    def bound(self) -> None:
        """From now on let no cell keep anything for longer than the means do.

        Cells that learn from short crops become sums, which a long stream would overfill.
        """
        self.longest_keep = float(self.keep.detach())

    @torch.no_grad()
    def set_readout(self, weight: Tensor, bias: Tensor) -> None:
        """Let the embedding be a linear map (emb_dim, n) of `pooled`, and a bias (emb_dim,)."""
        self.to_embedding.weight.copy_(weight)
        self.to_embedding.bias.copy_(bias)

    def pooled(self, x: Tensor) -> Tensor:
        """Return what the readout reads, (B, times + 1, n), of log-mels (B, 1, F, n_steps)."""
        windows = self.stepping.windows(x)
        rows = windows.reshape(-1, 1, *windows.shape[2:])
        memory = WholeCrops(windows.shape[0], windows.shape[1], self.keep)
        found = self._remembered(rows, memory)
        return self.stepping.compared(found.reshape(*windows.shape[:2], -1))

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings (B, times + 1, emb_dim) of log-mels (B, 1, n_bands, n_steps).

        Those after every so many steps, and their mean over all steps.
        """
        return self.to_embedding(self.pooled(x))  # type: ignore[no-any-return]

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the embedding (1, emb_dim) and the next state of a window and the state before.

        Parameters
        ----------
        x : Tensor, float32 (1, 1, n_bands, window)
        *state : Tensor, float32 (1, n)
            One for each of `state_sizes`.
        """
        memory = OneStep(state, self.keep)
        embedding = self.to_embedding(self._remembered(x, memory))
        return embedding, *memory.next_state()

    def _remembered(self, x: Tensor, memory: Memory) -> Tensor:
        """Return (N, last + cells) of windows (N, 1, n_bands, window)."""
        heard = self._heard(x, memory)
        mean = memory.mean(heard)
        both = torch.cat([heard, mean], dim=1)
        keep = torch.sigmoid(self.to_keep(both)) * self.longest_keep
        cells = memory.cells(self.swish(self.to_cells(both)), keep)
        return torch.cat([mean, cells], dim=1)

    def _heard(self, x: Tensor, memory: Memory) -> Tensor:
        """Return the channels (N, last) of each window."""
        x = self.ears.stem(x)
        for block in self.ears.residuals:
            x = _through(block, x, memory)
        return self.ears.mean(self.ears.last(x))  # type: ignore[no-any-return]


def _through(block: InvertedResidual, x: Tensor, memory: Memory) -> Tensor:
    """Return what an inverted residual makes of windows, its excitation told of the past."""
    y: Tensor = block.depthwise(block.expand(x))
    if isinstance(block.excite, SqueezeExcite):
        excite = block.excite
        mean = memory.mean(excite.mean(y))
        gate = excite.gate(excite.expand(excite.relu(excite.reduce(mean))))
        y = y * gate[:, :, None, None]
    y = block.project(y)
    return x + y if block.adds_input else y


def _with_plain_swishes(student: Student) -> Student:
    """Return a copy with torch's own hard-swish: in float it is one operator, and fast."""
    copied = copy.deepcopy(student)
    for module in copied.modules():
        if isinstance(module, ConvNorm) and isinstance(module[-1], HardSwish):
            module[-1] = nn.Hardswish()
    return copied


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
