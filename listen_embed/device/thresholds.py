"""Whole multipliers that round every sum to what single precision rounds it to.

XNNPACK rescales a sum in single precision, which costs a processor many instructions. A product
with a whole number and a shift costs three, and is the same function of the sum where it passes to
the next value at the same sums. There are at most 255 of these thresholds; a multiplier is looked
for that agrees at each of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]

_BITS = 31  # of a multiplier
_NEAR = 3  # sums around the real threshold, among which the one in single precision is


@dataclass(frozen=True)
class Multipliers:
    """What stands for factors in C.

    Attributes
    ----------
    each : ndarray, int32 (channels,)
        A sum becomes ``(sum * multiplier / 2^32 + offset) >> shift``. Where no multiplier gives
        the same as single precision there is a negative number: the factor's bits, and a sign.
    shift : int
        1 to 22.
    """

    each: NDArray[np.int32]
    shift: int

    def offset(self, zero: int) -> int:
        """Return what is added before the shift, for a zero point and a half."""
        return (zero << self.shift) + (1 << (self.shift - 1))


def multipliers(factors: NDArray[np.float32], low: Whole, high: Whole, zero: int) -> Multipliers:
    """Return whole multipliers for factors in single precision.

    Parameters
    ----------
    factors : ndarray, float32 (channels,)
        Positive.
    low, high : ndarray, int64 (channels,)
        The least and the greatest sum that can be.
    zero : int
        Of the output, -128 to 127.
    """
    shift = min(22, max(1, math.floor(-1 - math.log2(factors.max()))))
    steps = np.arange(-127 - zero, 128 - zero)
    least, most = _bounds(_thresholds(factors, steps), steps, shift, (low, high))
    middle = (least + most) // 2
    is_found = (least <= most) & (middle < 1 << _BITS)
    odd = factors.view(np.int32).astype(np.int64) - (1 << _BITS)
    return Multipliers(np.where(is_found, middle, odd).astype(np.int32), shift)


def _thresholds(factors: NDArray[np.float32], steps: Whole) -> Whole:
    """Return the first sum that becomes each step or more, (channels, steps)."""
    wide = factors.astype(np.float64)[:, None]
    sums = np.ceil((steps - 0.5) / wide).astype(np.int64) + _NEAR
    for _ in range(2 * _NEAR):
        before = (sums - 1).astype(np.float32) * factors[:, None]
        sums -= np.rint(before) >= steps
    return sums


def _bounds(
    sums: Whole, steps: Whole, shift: int, ends: tuple[Whole, Whole]
) -> tuple[Whole, Whole]:
    """Return the least and the greatest multiplier that pass to every step where they should.

    `sums` are the thresholds, `ends` the least and the greatest sum of each channel.
    """
    low, high = (end[:, None] for end in ends)
    products = np.broadcast_to((2 * steps - 1) << (31 + shift), sums.shape)
    # From a threshold on, the product is that of its step, or more; before it, it is less.
    reached = _at_least(np.maximum(sums, low), products, sums <= high)
    before = _at_least(-np.minimum(sums - 1, high), 1 - products, sums > low)
    return np.maximum(reached[0], before[0]), np.minimum(reached[1], before[1])


def _at_least(sums: Whole, products: Whole, counts: NDArray[np.bool_]) -> tuple[Whole, Whole]:
    """Return between which multipliers ``sums * multiplier >= products``, where that counts."""
    up = -(-products // np.maximum(sums, 1))
    down = -products // np.maximum(-sums, 1)
    least = np.where(counts & (sums > 0), up, 0).max(1)
    most = np.where(counts & (sums < 0), down, 1 << _BITS).min(1)
    is_lost = (counts & (sums == 0) & (products > 0)).any(1)
    return least, np.where(is_lost, -1, most)
