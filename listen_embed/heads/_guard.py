"""Samples that are never learnt, and the last weights that did well on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from listen_embed.heads._running import STEPS_PER_UNIT, root
from listen_embed.heads._single import Singles

CAPACITY = 8
ENOUGH = 4  # fewer held-out samples judge nobody
# Mean loss by which weights may be worse than the last good ones: one sample in 20 turned over.
MARGIN = np.float32(0.05)


@dataclass
class HeldOut:
    """The newest held-out samples, standardised, as int8: a 32nd of a deviation a step.

    Attributes
    ----------
    rows : ndarray, int8 (n, D), n <= CAPACITY
    codes : ndarray, int16 (n,)
        Their classes.
    count : int
        How many ever came.
    """

    rows: NDArray[np.int8]
    codes: NDArray[np.int16]
    count: int

    @classmethod
    def empty(cls, width: int) -> Self:
        """Return one that holds nothing."""
        return cls(np.zeros((0, width), np.int8), np.zeros(0, np.int16), 0)

    def add(self, row: Singles, code: int) -> None:
        """Keep a standardised row (D,) in place of the oldest."""
        steps = row / root(len(row)) * np.float32(STEPS_PER_UNIT)
        kept = np.trunc(np.clip(steps, -127, 127)).astype(np.int8)
        place = self.count % CAPACITY
        rest = slice(place + 1, None)
        self.rows = np.concatenate([self.rows[:place], kept[None], self.rows[rest]])
        self.codes = np.concatenate(
            [self.codes[:place], np.array([code], np.int16), self.codes[rest]]
        )
        self.count += 1

    @property
    def samples(self) -> Singles:
        """The kept rows as they were standardised, float32 (n, D)."""
        units = self.rows.astype(np.float32) / np.float32(STEPS_PER_UNIT)
        return np.asarray(units * root(self.rows.shape[1]), np.float32)
