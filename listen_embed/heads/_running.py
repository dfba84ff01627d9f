"""Mean and spread of all that was heard, one by one.

Source: Welford, "Note on a method for calculating corrected sums of squares and products",
Technometrics 4, 1962.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from listen_embed.heads._single import Singles, total

MAX_COUNT = 2**24  # up to here single precision counts exactly
STEPS_PER_UNIT = 32  # of a standardised value kept as int8
_FURTHEST = np.float32(127 / STEPS_PER_UNIT)


@dataclass
class Running:
    """Running mean and sum of squares, single precision.

    Attributes
    ----------
    count : int
        Rows that came, `MAX_COUNT` at most: from there on the oldest fade.
    mean, squares : ndarray, float32 (D,)
        Mean, and sum of squared distances from it.
    """

    count: int
    mean: Singles
    squares: Singles

    @classmethod
    def empty(cls, width: int) -> Self:
        """Return what nothing was heard of."""
        return cls(0, np.zeros(width, np.float32), np.zeros(width, np.float32))

    def add(self, row: Singles) -> None:
        """Take one row, float32 (D,)."""
        self.count = min(self.count + 1, MAX_COUNT)
        before = row - self.mean
        self.mean = self.mean + before / np.float32(self.count)
        self.squares = self.squares + before * (row - self.mean)

    @property
    def scale(self) -> Singles:
        """What values are divided by: their deviation, or the average one where that is larger."""
        spread = np.sqrt(self.squares / np.float32(max(self.count, 1)))
        average = total(spread) / np.float32(len(spread))
        return np.asarray(np.maximum(spread, average if average > 0 else 1), np.float32)

    def standardised(self, rows: Singles) -> Singles:
        """Return rows (N, D) in deviations from the mean, 127/32 at most, over the root of D."""
        units = np.clip((rows - self.mean) / self.scale, -_FURTHEST, _FURTHEST)
        return np.asarray(units * root(len(self.mean)), np.float32)


def root(width: int) -> np.float32:
    """Return what makes a standardised row of this width about as long as 1."""
    return np.float32(1 / np.sqrt(width))
