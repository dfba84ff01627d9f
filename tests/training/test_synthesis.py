"""Made-up machines: finite, level, repeatable, and each another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed.training.synthesis import machine


def made(seed: int, sr: int = 16_000, seconds: float = 1) -> Any:
    return machine(round(seconds * sr), sr, np.random.default_rng(seed))


@pytest.mark.parametrize("sr", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("seconds", [0.5, 2])
def test_machines_are_finite_and_have_one_level(sr: int, seconds: float) -> None:
    for seed in range(8):
        sound = made(seed, sr, seconds)
        assert sound.shape == (round(seconds * sr),)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert np.std(sound, dtype=np.float64) == pytest.approx(0.1, abs=1e-4)
        assert abs(sound.mean()) < 0.05


def test_the_seed_decides_which_machine() -> None:
    np.testing.assert_array_equal(made(3), made(3))


def test_machines_have_spectra_of_their_own() -> None:
    def bands(seed: int) -> Any:
        power = np.abs(np.fft.rfft(made(seed))) ** 2
        return np.log10([part.mean() for part in np.array_split(power[20:], 40)])

    spectra = np.array([bands(seed) for seed in range(20)])
    distances = np.sqrt(((spectra[:, None] - spectra) ** 2).mean(axis=2))  # in bels
    assert np.min(distances[~np.eye(20, dtype=bool)]) > 0.1
    assert np.median(distances) > 0.8


def test_a_machine_is_steady() -> None:
    """One machine's two halves are more alike than two machines."""

    def bands(sound: Any) -> Any:
        power = np.abs(np.fft.rfft(sound)) ** 2
        return np.log10([part.mean() for part in np.array_split(power[20:], 40)])

    halves = np.array(
        [[bands(h) for h in np.split(made(seed, seconds=2), 2)] for seed in range(15)]
    )
    distances = np.sqrt(((halves[:, 0, None] - halves[None, :, 1]) ** 2).mean(axis=2))
    assert np.all(distances.argmin(axis=1) == np.arange(15))


def test_machines_reach_the_highest_frequencies() -> None:
    def share_above(hertz: int, seed: int) -> float:
        power = np.abs(np.fft.rfft(made(seed, 48_000))) ** 2
        return float(power[hertz:].sum() / power.sum())

    assert np.mean([share_above(16_000, seed) > 0.01 for seed in range(20)]) > 0.3
