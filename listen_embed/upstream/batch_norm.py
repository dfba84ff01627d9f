"""Batch normalisation at inference is a scale and a shift; both fit into the layer before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError


class Affine(NamedTuple):
    """Scale and shift of a batch normalisation, float64 ``(channels,)`` each."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def affine(
    gamma: NDArray[Any],
    beta: NDArray[Any],
    mean: NDArray[Any],
    variance: NDArray[Any],
    *,
    epsilon: float,
) -> Affine:
    """Return the scale and shift that a batch normalisation applies at inference.

    Raises
    ------
    ConversionError
        A variance is negative.
    """
    if variance.size and variance.min() < 0:
        raise ConversionError(f"A batch norm's variance is negative ({variance.min():g}).")
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    return Affine(scale, beta - mean * scale)


def folded(weights: NDArray[Any], bias: NDArray[Any], norm: Affine) -> tuple[Any, Any]:
    """Return weights and bias (output channels on axis 0) with the affine map applied after."""
    scale = norm.scale.reshape(-1, *(1,) * (weights.ndim - 1))
    return weights * scale, bias * norm.scale + norm.shift
