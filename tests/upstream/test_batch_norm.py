"""A folded batch norm against the same norm applied after the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from listen_embed.errors import ConversionError
from listen_embed.upstream import batch_norm

from . import reference as ref


def test_folded_equals_applied_after(rng: Any) -> None:
    image = rng.standard_normal((6, 7, 3))
    kernel, bias = rng.standard_normal((3, 3, 3, 4)), rng.standard_normal(4)
    gamma, beta, mean, variance = *rng.standard_normal((3, 4)), rng.uniform(0.1, 2, 4)
    expected = ref.batch_norm(ref.conv2d(image, kernel, bias), gamma, beta, mean, variance, 1e-3)
    affine = batch_norm.affine(gamma, beta, mean, variance, epsilon=1e-3)
    weights, shifted = batch_norm.folded(kernel.transpose(3, 0, 1, 2), bias, affine)
    found = ref.conv2d(image, weights.transpose(1, 2, 3, 0), shifted)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_epsilon_keeps_a_constant_channel_finite() -> None:
    zero, one = np.zeros(1), np.ones(1)
    assert batch_norm.affine(one, zero, zero, zero, epsilon=1e-3).scale == pytest.approx(1e-3**-0.5)


def test_negative_variance_is_refused() -> None:
    with pytest.raises(ConversionError, match="negative"):
        batch_norm.affine(*np.ones((3, 2)), np.array([1.0, -0.5]), epsilon=1e-3)
