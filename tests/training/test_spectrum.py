"""The steady spectrum: what passes by leaves it alone, what stays shows where it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed.training.spectrum import reduce_spectrum, steady_spectrum

N_BANDS, N_LOW, EMB_DIM = 128, 90, 64


@pytest.fixture(scope="module")
def log_mels() -> Any:
    """Return smooth spectra with lines, in columns that fluctuate."""
    rng = np.random.default_rng(0)
    tilt = np.linspace(0, -2, N_BANDS) * rng.random((400, 1))
    lines = rng.standard_normal((400, N_BANDS)) * (rng.random((400, N_BANDS)) < 0.2)
    columns = 0.1 * rng.standard_normal((400, N_BANDS, 46))
    return (tilt[:, :, None] + lines[:, :, None] + columns).astype(np.float32)


@pytest.fixture(scope="module")
def reduction(log_mels: Any) -> Any:
    return reduce_spectrum(steady_spectrum(log_mels), EMB_DIM, N_LOW)


def test_it_is_the_lower_quartile_and_the_mean_rise() -> None:
    ramp = np.arange(9, dtype=np.float32)[None, None].repeat(2, axis=1)
    ramp[0, 1] = ramp[0, 1, ::-1]
    np.testing.assert_array_equal(steady_spectrum(ramp), [[2, 2, 1, 0]])


def test_what_passes_by_leaves_the_levels_alone(log_mels: Any) -> None:
    knocked = log_mels.copy()
    knocked[:, :, 10:15] += 30
    quiet, noisy = (steady_spectrum(x)[:, :N_BANDS] for x in (log_mels, knocked))
    assert np.abs(noisy - quiet).max() < 0.15
    assert np.abs(knocked.mean(axis=2) - log_mels.mean(axis=2)).min() > 3


def test_values_are_standardised(log_mels: Any, reduction: Any) -> None:
    values = reduction(steady_spectrum(log_mels))
    assert (values.shape, values.dtype) == ((400, EMB_DIM), np.float32)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-3)


def test_gain_changes_nothing(log_mels: Any, reduction: Any) -> None:
    louder = reduction(steady_spectrum(log_mels + 3))
    np.testing.assert_allclose(louder, reduction(steady_spectrum(log_mels)), atol=1e-3)


def test_every_level_has_its_own_place(reduction: Any) -> None:
    levels, flicker = reduction.matrix[:N_BANDS, :-5], reduction.matrix[N_BANDS:, -5:]
    places = np.abs(levels).argmax(axis=0)
    assert list(places) == sorted(set(places))
    assert (places < N_LOW).sum() > 8 * (places >= N_LOW).sum()
    assert not reduction.matrix[N_BANDS:, :-5].any()
    assert not reduction.matrix[:N_BANDS, -5:].any()
    owners = (flicker > 0).sum(axis=1)
    assert list(owners) == [1] * N_LOW + [0] * (N_BANDS - N_LOW)


def test_a_line_counts_more_than_the_smooth_spectrum(log_mels: Any, reduction: Any) -> None:
    line, hump = log_mels.copy(), log_mels.copy()
    line[:, 40] += 1
    hump[:, 30:51] += 1
    base, by_line, by_hump = (reduction(steady_spectrum(x)) for x in (log_mels, line, hump))
    place = np.abs(by_line - base).mean(axis=0).argmax()
    assert np.abs(by_line - base)[:, place].mean() > np.abs(by_hump - base)[:, place].mean()


def test_variance_kept_rises_to_what_a_regression_explains(log_mels: Any, reduction: Any) -> None:
    spectra = steady_spectrum(log_mels).astype(np.float64)
    centred, values = spectra - spectra.mean(axis=0), reduction(steady_spectrum(log_mels))
    rest = centred - values @ np.linalg.lstsq(values, centred, rcond=None)[0]
    explained = 1 - np.square(rest).sum() / np.square(centred).sum()
    assert np.all(np.diff(reduction.variance_kept) >= 0)
    assert reduction.variance_kept[-1] == pytest.approx(explained, abs=1e-4)
