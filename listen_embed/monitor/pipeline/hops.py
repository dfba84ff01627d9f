"""An unbroken stretch of samples -> hops, each with its embedding.

Hop ``i`` of a sample clock is the frame that starts at ``round(i * hop)``, whenever listening
began: a stretch feeds its stream one hop at a time, from a place where hops are whole samples at
both rates. So the same samples give the same embeddings, whatever the block sizes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listen_embed.monitor.block import Block
from listen_embed.monitor.pipeline.grid import Ear, Grid


@dataclass(frozen=True, slots=True)
class Heard:
    """A hop as it was heard.

    Attributes
    ----------
    index : int
        Its number on the sample clock's grid.
    start, end : int
        The first sample of its frame, and the one after its last.
    embedding : ndarray, float32 (D,)
    samples : ndarray, float32 (n,)
        The latest samples of its frame, about a hop of them.
    begun : float
        When work on it began, `time.perf_counter` seconds.
    """

    index: int
    start: int
    end: int
    embedding: NDArray[np.float32]
    samples: NDArray[np.float32]
    begun: float


class Stretch:
    """Samples without a gap, from the first place at or behind `sample` where a hop may begin."""

    def __init__(self, ear: Ear, grid: Grid, sample: int) -> None:
        self._grid = grid
        self._hop_s = ear.hop_s
        self._stream = ear.open(grid.rate)
        self.first_hop = self._next_portion = grid.begin_at(sample)
        self.next_sample = grid.start(self.first_hop)
        """The sample that is wanted next."""
        self._waiting = np.zeros(0, np.float32)

    def push(self, block: Block) -> Iterator[Heard]:
        """Yield the hops that a block completes; what it repeats is left out."""
        samples = block.samples[max(0, self.next_sample - block.first) :]
        self.next_sample += len(samples)
        self._waiting = np.concatenate([self._waiting, samples])
        # One hop a portion, so that portions never depend on block sizes.
        while len(self._waiting) >= (n := self._portion()):
            portion, self._waiting = self._waiting[:n], self._waiting[n:]
            self._next_portion += 1
            yield from self._embed(portion)

    def finish(self) -> Iterator[Heard]:
        """Yield the last hops that were heard whole; the stretch is over."""
        for hop in self._embed(self._waiting, last=True):
            # The flush pads with zeros: a frame that nobody heard whole says nothing.
            if hop.end <= self.next_sample:
                yield hop

    def _portion(self) -> int:
        grid, number = self._grid, self._next_portion
        return grid.start(number + 1) - grid.start(number)

    def _embed(self, samples: NDArray[np.float32], *, last: bool = False) -> Iterator[Heard]:
        begun = time.perf_counter()
        embeddings, timestamps = self._stream.push(samples, last=last)
        for embedding, seconds in zip(embeddings, timestamps, strict=True):
            index = self.first_hop + round(float(seconds) / self._hop_s)
            place = index, self._grid.start(index), self._grid.end(index)
            yield Heard(*place, embedding, samples, begun)
            begun = time.perf_counter()
