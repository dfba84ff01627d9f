"""Moments joined in any way, and shrinkage as scikit-learn does it."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from listen_embed.heads._covariance import Moments, ledoit_wolf, whitening

from .world import clouds


def shrunk(x: np.ndarray) -> np.ndarray:
    moments = Moments.of(x)
    covariance = moments.scatter / len(x)
    return ledoit_wolf(covariance, moments.quartic / len(x), len(x), x.shape[1])


@pytest.mark.parametrize(("n_rows", "emb_dim"), [(10, 40), (50, 20), (2000, 8), (300, 128)])
def test_shrinkage_is_that_of_scikit_learn(n_rows: int, emb_dim: int) -> None:
    x = clouds(n_rows, 3, emb_dim, seed=0)[0].astype(np.float64)
    expected = LedoitWolf().fit(x).covariance_
    np.testing.assert_allclose(shrunk(x), expected, rtol=1e-6, atol=1e-9)


def test_the_width_counts_dimensions_without_spread(rng: np.random.Generator) -> None:
    x = np.hstack([rng.normal(size=(20, 5)), np.zeros((20, 7))])
    moments, part = Moments.of(x), Moments.of(x[:, :5])
    whole = ledoit_wolf(moments.scatter / 20, moments.quartic / 20, 20, 12)
    inside = ledoit_wolf(part.scatter / 20, part.quartic / 20, 20, 12)
    np.testing.assert_allclose(inside, whole[:5, :5], rtol=1e-12, atol=1e-12)


def test_no_independent_sample_gives_a_sphere() -> None:
    np.testing.assert_allclose(ledoit_wolf(np.diag([4.0, 0.0]), 16.0, 0, 2), 2 * np.eye(2))


@pytest.mark.parametrize("emb_dim", [1, 64, 65, 200])
def test_whitening_makes_unit_covariance(emb_dim: int, rng: np.random.Generator) -> None:
    x = rng.normal(size=(3 * emb_dim, emb_dim))
    covariance = x.T @ x / len(x)
    w = whitening(covariance)
    np.testing.assert_allclose(w.T @ covariance @ w, np.eye(emb_dim), atol=1e-9)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_joined_moments_are_those_of_all_rows(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=3) + rng.exponential(size=(size, 3)) for size in sizes]
    joined = reduce(Moments.joined, map(Moments.of, parts), Moments.none(3))
    expected = Moments.of(np.vstack(parts))
    assert joined.count == expected.count
    for name in ("mean", "scatter", "cubic", "quartic"):
        np.testing.assert_allclose(
            getattr(joined, name), getattr(expected, name), rtol=1e-9, atol=1e-9, err_msg=name
        )


def test_moments_are_what_they_are_called(rng: np.random.Generator) -> None:
    x = rng.exponential(size=(50, 4))
    moments, y = Moments.of(x), x - x.mean(axis=0)
    length = np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(moments.scatter, np.cov(x.T) * 49)
    np.testing.assert_allclose(moments.cubic, (length[:, None] ** 2 * y).sum(axis=0))
    np.testing.assert_allclose(moments.quartic, (length**4).sum())
