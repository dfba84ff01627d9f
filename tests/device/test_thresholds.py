"""Whole multipliers against single precision, sum by sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from listen_embed.device.thresholds import Multipliers, multipliers

HIGH = 60_000
SUMS = np.arange(-HIGH, HIGH + 1)


def found(factors: list[float], zero: int) -> tuple[Multipliers, NDArray[np.float32]]:
    single = np.array(factors, np.float32)
    ends = np.full(len(single), HIGH)
    return multipliers(single, -ends, ends, zero), single


def by_multiplier(of: Multipliers, number: int, zero: int) -> Any:
    high = (SUMS * int(of.each[number])) >> 32
    return ((high + of.offset(zero)) >> of.shift).clip(-128, 127)


def by_factor(factor: np.float32, zero: int) -> Any:
    return (np.rint(SUMS.astype(np.float32) * factor).astype(int) + zero).clip(-128, 127)


@pytest.mark.parametrize("zero", [-128, -7, 0, 93, 127])
def test_every_sum_becomes_what_single_precision_makes_of_it(zero: int) -> None:
    of, factors = found(np.exp(np.random.default_rng(1).uniform(-9, -3, 60)).tolist(), zero)
    whole = [number for number, each in enumerate(of.each) if each >= 0]
    assert len(whole) > 45
    for number in whole:
        assert np.array_equal(by_multiplier(of, number, zero), by_factor(factors[number], zero))


def test_ties_to_even_are_no_multiple_and_keep_their_factor() -> None:
    of, factors = found([1 / 256], 0)
    assert of.each[0] < 0
    bits = (of.each & np.int32(0x7FFFFFFF)).view(np.float32)
    assert np.array_equal(bits, factors)


def test_sums_that_cannot_be_ask_for_nothing() -> None:
    """Up to here a multiplier agrees at every sum, and not a step farther."""
    single, zeros = np.array([1 / 256], np.float32), np.zeros(1, np.int64)
    assert multipliers(single, zeros, zeros + 127, 0).each[0] >= 0
    assert multipliers(single, zeros - 1000, zeros + 1000, 0).each[0] < 0


def test_the_smallest_factor_leaves_every_sum_at_zero() -> None:
    of, _ = found([1e-9, 0.25], 5)
    assert np.array_equal(np.unique(by_multiplier(of, 0, 5)), [5])
