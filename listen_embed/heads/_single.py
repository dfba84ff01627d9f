"""Single precision that a microcontroller repeats bit for bit.

Sums run from the first value to the last, the exponential is a polynomial, and nothing is fused:
what IEEE 754 leaves open is decided here, and alike in C (``listen_online.c``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]

_ROWS_AT_ONCE = 128
_LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts, the first short enough that its multiples are exact (Cody and Waite, 1980).
_LN2_HIGH, _LN2_LOW = np.float32(0.693145751953125), np.float32(1.42860682030941723e-6)
_LOWEST = np.float32(-87.0)  # below, the result would be no normal number any more
_TAYLOR = [np.float32(1 / term) for term in (720, 120, 24, 6, 2, 1, 1)]


def total(values: Singles) -> Singles:
    """Return the sum over the last axis, (..., n) -> (...,), the first value first."""
    return np.add.accumulate(values, axis=-1, dtype=np.float32)[..., -1]


def dot(rows: Singles, weights: Singles) -> Singles:
    """Return the products (N, K) of rows (N, D) with weights (K, D)."""
    found = np.empty((len(rows), len(weights)), np.float32)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        found[part] = total(rows[part, None, :] * weights)
    return found


def exp(exponents: Singles) -> Singles:
    """Return e to the power of numbers not above 0; the least is e to the power of -87."""
    bounded = np.maximum(exponents, _LOWEST)
    twos = (bounded * _LOG2_E - np.float32(0.5)).astype(np.int32)
    whole = twos.astype(np.float32)
    rest = (bounded - whole * _LN2_HIGH) - whole * _LN2_LOW
    found = np.full_like(rest, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        found = found * rest + coefficient
    power: Singles = ((twos + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.asarray(found * power, np.float32)


def softmax(logits: Singles) -> Singles:
    """Return exp(logits), (N, K), each row divided by its sum."""
    powers = exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / total(powers)[:, None], np.float32)
