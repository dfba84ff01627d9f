"""How sums of 32 bits become values of eight, in both of the roundings that one .tflite has.

``xnn`` is what LiteRT does through XNNPACK: a product in single precision, rounded to nearest,
halves to even. ``reference`` is what TensorFlow Lite for Microcontrollers does: an integer
multiplier of 31 bits and a shift. Source: gemmlowp's fixed-point documentation, and the TFLite
specification of 8-bit quantisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from listen_embed.device.steps import Factor, Factors
from listen_embed.errors import InputError
from listen_embed.graph import TensorInfo

_ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
_REAL_LIMITS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}
# Above this, adding 1.5 * 2^23 would no longer round to whole numbers.
_LARGEST_PRODUCT = float(1 << 21)
_SUM_SHIFT = 20  # of XNNPACK's addition: bits of the larger factor


def factor(real: float, single: np.float32 | None = None) -> Factor:
    """Return a positive real factor; `single` is given where the order of its making matters."""
    multiplier, shift = multiplier_of(real)
    return Factor(float(np.float32(real) if single is None else single), multiplier, shift)


def multiplier_of(real: float) -> tuple[int, int]:
    """Return an integer of 31 bits and a shift: ``real = multiplier * 2^(shift - 31)``."""
    if real == 0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        return 1 << 30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def product_factors(taken: TensorInfo, weights: TensorInfo, given: TensorInfo, n: int) -> Factors:
    """Return ``scale of input * scale of weights / scale of output`` for each of `n` channels."""
    scales = weights.scales if len(weights.scales) == n else weights.scales * n
    products = np.float32(taken.scales[0]) * np.array(scales, np.float32)
    single = products / np.float32(given.scales[0])
    real = [taken.scales[0] * scale / given.scales[0] for scale in scales]
    return Factors(tuple(factor(r, s) for r, s in zip(real, single, strict=True)))


def mul_factor(a: TensorInfo, b: TensorInfo, given: TensorInfo) -> Factor:
    """Return the factor of a product of two tensors."""
    single = np.float32(a.scales[0]) * np.float32(b.scales[0]) / np.float32(given.scales[0])
    return factor(a.scales[0] * b.scales[0] / given.scales[0], single)


def mean_factor(taken: TensorInfo, given: TensorInfo, n: int) -> Factor:
    """Return the factor of a sum of `n` values that becomes their mean."""
    ratio = taken.scales[0] / given.scales[0]
    multiplier, shift = multiplier_of(ratio)
    # The division by n is the reference's own: of the multiplier, rounded down.
    room = min(n.bit_length() - 1, 31 + shift)
    return Factor(float(_of_mean(taken, given, n)), (multiplier << room) // n, shift - room)


def mean_offset(taken: TensorInfo, given: TensorInfo, n: int) -> Factor:
    """Return what is added to a rescaled sum for the zero points; of no use in ``reference``."""
    moved = np.float32(taken.zero_points[0] * n) * _of_mean(taken, given, n)
    return Factor(float(np.float32(given.zero_points[0]) - moved), 0, 0)


def _of_mean(taken: TensorInfo, given: TensorInfo, n: int) -> np.float32:
    ratio = np.float32(taken.scales[0]) / np.float32(given.scales[0])
    return ratio * (np.float32(1) / np.float32(n))


@dataclass(frozen=True)
class SumFactors:
    """Of ``a + b`` in ``xnn``: whole factors, and a shift of the rounded sum."""

    a: int
    b: int
    shift: int


def sum_factors(a: TensorInfo, b: TensorInfo, given: TensorInfo) -> SumFactors:
    """Return whole factors of 21 bits at most, and their common shift."""
    ratios = [np.float32(x.scales[0]) / np.float32(given.scales[0]) for x in (a, b)]
    shift = _SUM_SHIFT - (math.frexp(float(max(ratios)))[1] - 1)
    whole = [int(np.rint(float(ratio) * 2.0**shift)) for ratio in ratios]
    return SumFactors(whole[0], whole[1], shift)


def reference_sum_factors(
    a: TensorInfo, b: TensorInfo, given: TensorInfo
) -> tuple[Factor, Factor, Factor]:
    """Return the factors of both operands, raised by a shift, and of their sum, whole numbers."""
    twice = 2 * max(a.scales[0], b.scales[0])
    out = twice / ((1 << _SUM_SHIFT) * given.scales[0])
    return factor(a.scales[0] / twice), factor(b.scales[0] / twice), factor(out)


def limits(given: TensorInfo, activation: int) -> tuple[int, int]:
    """Return the lowest and highest integer that an activation leaves of a tensor's values."""
    info = np.iinfo(given.type.lower())
    low, high = (
        _quantised(real, given, end)
        for real, end in zip(
            real_limits(given, activation), (int(info.min), int(info.max)), strict=True
        )
    )
    return max(low, int(info.min)), min(high, int(info.max))


def real_limits(given: TensorInfo, activation: int) -> tuple[float, float]:
    """Return the lowest and highest real value that an activation leaves."""
    name = _ACTIVATIONS[activation] if activation < len(_ACTIVATIONS) else "another"
    if name not in _REAL_LIMITS:
        raise InputError(f"{given.name}: {name} activation; allowed are {', '.join(_REAL_LIMITS)}")
    return _REAL_LIMITS[name]


def _quantised(real: float, given: TensorInfo, end: int) -> int:
    if math.isinf(real):
        return end
    return given.zero_points[0] + round(real / given.scales[0])


def check_products(largest_sums: Sequence[float], factors: Factors, name: str) -> None:
    """Raise `InputError` where a product could leave the range in which rounding is exact."""
    products = [s * f.single for s, f in zip(largest_sums, factors.each, strict=True)]
    if max(products) > _LARGEST_PRODUCT or max(largest_sums) >= 1 << 31:
        raise InputError(f"{name}: sums of up to {max(products):.3g} output steps are out of range")
