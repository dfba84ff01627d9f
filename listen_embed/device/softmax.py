"""Exponentials of an int8 softmax as tables, in both of the roundings that one .tflite has."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from listen_embed.device.rescale import multiplier_of

N_STEPS = 256  # by which a value may lie below its row's peak
_ONE = (1 << 31) - 1
# In front of the point of what is exponentiated, and behind it.
_WHOLE_BITS, _PART_BITS = 5, 26
_QUARTER = 1 << (_PART_BITS - 2)
# 2^31 times exp(-1/4), exp(-1/2), exp(-1), ... exp(-16), exp(-1/8) and 1/3. Source: gemmlowp.
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_EIGHTH, _THIRD = 1895147668, 715827883


def single_exponentials(scale: float, beta: float) -> NDArray[np.float32]:
    """Return exp of 0, -1, -2, ... steps in single precision, as LiteRT does, float32 (256,)."""
    step = np.float32(-np.float32(scale) * np.float32(beta))
    powers = step * np.arange(N_STEPS, dtype=np.float32)
    return np.exp(powers.astype(np.float64)).astype(np.float32)


def whole_exponentials(scale: float, beta: float) -> NDArray[np.int64]:
    """Return 2^31 times the same in integers, as TensorFlow Lite for Microcontrollers does.

    Source: gemmlowp's ``exp_on_negative_values``, and TFLite's ``PreprocessSoftmaxScaling``.
    """
    real = min(beta * scale * (1 << (31 - _WHOLE_BITS)), float(_ONE))
    multiplier, shift = multiplier_of(real)
    lowest = math.floor(((1 << _WHOLE_BITS) - 1) * (1 << _PART_BITS) / (1 << shift))
    return np.array(
        [_exponential(_product(-i << shift, multiplier)) if i <= lowest else 0
         for i in range(N_STEPS)]
    )  # fmt: skip


def _exponential(value: int) -> int:
    """Return 2^31 * exp(value / 2^26) of a value up to 0."""
    if value == 0:
        return _ONE
    rest = (value & (_QUARTER - 1)) - _QUARTER
    found = _within_a_quarter(rest << _WHOLE_BITS)
    quarters = (rest - value) // _QUARTER
    for bit, power in enumerate(_POWERS):
        if quarters >> bit & 1:
            found = _product(found, power)
    return found


def _within_a_quarter(value: int) -> int:
    """Return 2^31 * exp(value / 2^31) of a value from -1/4 to 0: Taylor's row around -1/8."""
    x = value + (1 << 28)
    square = _product(x, x)
    fourth = _halved(_product(square, square), 2)
    row = _halved(_product(fourth + _product(square, x), _THIRD) + square, 1)
    return _EIGHTH + _product(_EIGHTH, x + row)


def _product(a: int, b: int) -> int:
    """Return a * b / 2^31, to nearest, halves up; C's division, which cuts towards zero."""
    product = a * b
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    return nudged >> 31 if nudged >= 0 else -(-nudged >> 31)


def _halved(value: int, exponent: int) -> int:
    """Return value / 2^exponent, to nearest, halves away from zero."""
    half = 1 << (exponent - 1)
    return (value + half) >> exponent if value >= 0 else -((-value + half) >> exponent)
