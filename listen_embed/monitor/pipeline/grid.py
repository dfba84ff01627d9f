"""Where the hops of a sample clock lie, and how to get embeddings of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from listen_embed.framing import hop_in_samples, start_of

# Sound heard before frames count when listening resumes through a resampler: more than its filter.
_WARM_S = 0.5


class EmbeddingStream(Protocol):
    """What the pipeline asks of an embedder's stream."""

    def push(
        self, block: NDArray[np.float32], last: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the embeddings (T, D) and timestamps (T,) that became complete."""


@dataclass(frozen=True, slots=True)
class Ear:
    """How to get a stream of embeddings.

    Attributes
    ----------
    open : callable
        Source rate -> a stream whose frames start at 0, one hop apart, not centred.
    rate : int
        The model's own sample rate.
    frame_s, hop_s : float
        Length of a frame, step between frames, seconds.
    """

    open: Callable[[int], EmbeddingStream]
    rate: int
    frame_s: float
    hop_s: float


class Grid:
    """Where the hops of a clock lie in the source's samples."""

    def __init__(self, rate: int, ear: Ear) -> None:
        self.rate = rate
        self.hop = hop_in_samples(ear.hop_s, rate)
        self.frame = round(ear.frame_s * rate)
        at_model = hop_in_samples(ear.hop_s, ear.rate)
        # A new stream may begin at every multiple of this: there its frames fall on whole samples.
        self.step = lcm(self.hop.denominator, at_model.denominator)
        resampled = 0 if rate == ear.rate else _WARM_S
        self.warm = ceil(Fraction(repr(resampled)) * rate / self.hop)

    def start(self, index: int) -> int:
        """Return the first sample of hop `index`."""
        return start_of(index, self.hop)

    def end(self, index: int) -> int:
        """Return the sample after the frame of hop `index`."""
        return self.start(index) + self.frame

    def begin_at(self, sample: int) -> int:
        """Return the first hop from `sample` on where a stream may begin."""
        return ceil(sample / (self.hop * self.step)) * self.step

    def begin_before(self, index: int) -> int:
        """Return the hop where a stream must begin for hop `index` to be as it was."""
        return max(0, index - self.warm) // self.step * self.step
