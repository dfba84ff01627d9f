"""Each augmentation alone does what its name says, by the measure that it is set in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed.training.augment import NONE, Augmentation, add_at_snr, augment, coloured_noise

from .sounds import SR, decibels, noise, rms, silence, tone

N = SR  # a second


def once(crop: Any, other: Any = None, seed: int = 0, **how: Any) -> Any:
    """Return a crop after the augmentations that are named, and no others."""
    other = noise(2, seed=77) if other is None else other
    rng = np.random.default_rng(seed)
    result = augment(crop, other, SR, N, rng, replace(NONE, **how))
    assert result.shape == (N,)
    assert result.dtype == np.float32
    assert np.abs(result).max() <= 1
    return result


def transfer(changed: Any, original: Any) -> Any:
    """Return the gain that each of 4001 frequencies, 1 Hz apart, went through."""
    return np.abs(np.fft.rfft(changed)) / np.abs(np.fft.rfft(original[:N]))


def test_nothing_asked_nothing_changed() -> None:
    crop = noise(1.5)
    result = once(crop)
    np.testing.assert_array_equal(result, crop[:N])
    assert not np.shares_memory(result, crop)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.0])
def test_mix_adds_the_other_crop_at_its_level(snr_db: float) -> None:
    crop, other = tone(500, 2), noise(2, seed=3, level=0.02)
    added = once(crop, other, mix=1, mix_snr_db=(snr_db, snr_db)) - crop[:N]
    assert decibels(rms(crop[:N]) / rms(added)) == pytest.approx(snr_db, abs=0.01)
    assert np.corrcoef(added, other[:N])[0, 1] > 0.9999


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_speed_moves_pitch(factor: float) -> None:
    result = once(tone(1000, 2), speed=1, speed_range=(factor, factor))
    assert np.abs(np.fft.rfft(result)).argmax() == round(1000 * factor)


def test_equaliser_stays_within_its_gains_and_is_smooth() -> None:
    crop = noise(1)
    gains = 20 * np.log10(transfer(once(crop, equalise=1, equalise_db=9.0), crop))
    assert np.abs(gains).max() < 9.01
    assert np.ptp(gains) > 3
    assert np.abs(np.diff(gains[100:])).max() < 0.2
    np.testing.assert_allclose(once(crop, equalise=1, equalise_db=0.0), crop, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_band_limits_only_take_away(seed: int) -> None:
    crop = noise(1)
    gains = transfer(once(crop, seed=seed, band_limit=1), crop)
    assert gains[1:-1].max() < 1.001
    assert gains[1] < 0.02
    assert gains.argmax() > 100
    assert np.all(np.diff(gains[1:20]) > 0)
    assert gains[-2] < 0.75


@pytest.mark.parametrize("seed", range(5))
def test_reverb_is_a_fading_tail(seed: int) -> None:
    click = silence(1)
    click[0] = 0.5
    response = once(click, seed=seed, reverb=1) / 0.5
    tail = response[1:]
    assert response[0] == pytest.approx(1, abs=0.3)
    assert -15.5 < decibels(np.linalg.norm(tail)) < 0.5
    early, late = np.split(response[: N // 2], 2)
    assert np.linalg.norm(early[1:]) > 2 * np.linalg.norm(late)


def test_noise_has_its_level() -> None:
    crop = tone(500, 1)
    added = once(crop, noise=1, noise_snr_db=(10.0, 10.0)) - crop
    assert decibels(rms(crop) / rms(added)) == pytest.approx(10, abs=0.01)
    assert abs(np.corrcoef(added, crop)[0, 1]) < 0.1


@pytest.mark.parametrize("gain_db", [-25.0, 6.0])
def test_gain_is_measured(gain_db: float) -> None:
    crop = noise(1, level=0.05)
    result = once(crop, gain=1, gain_db=(gain_db, gain_db))
    assert decibels(rms(result) / rms(crop)) == pytest.approx(gain_db, abs=0.001)


def test_too_loud_is_clipped_as_a_converter_does() -> None:
    crop = tone(50, 1, level=0.5)
    result = once(crop, gain=1, gain_db=(12.0, 12.0))
    np.testing.assert_allclose(result, (crop * 10**0.6).clip(-1, 1), rtol=1e-5)


def test_silence_takes_a_head_or_a_tail() -> None:
    crop = noise(1)
    ends = set()
    for seed in range(20):
        result = once(crop, seed=seed, silence=1)
        zero = np.flatnonzero(result == 0)
        assert 0.04 * N < len(zero) < 0.96 * N
        assert np.all(np.diff(zero) == 1)
        kept = np.delete(np.arange(N), zero)
        np.testing.assert_array_equal(result[kept], crop[kept])
        ends.add("head" if zero[0] == 0 else "tail")
        assert zero[0] == 0 or zero[-1] == N - 1
    assert ends == {"head", "tail"}


def test_the_generator_decides_everything() -> None:
    how = Augmentation()
    crop, other = noise(1.3, 1), noise(1.3, 2)
    kept = crop.copy(), other.copy()

    def drawn(seed: int) -> Any:
        return augment(crop, other, SR, N, np.random.default_rng(seed), how)

    results = [drawn(seed) for seed in range(12)]
    for seed, result in enumerate(results):
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
        np.testing.assert_array_equal(result, drawn(seed))
    assert len({result.tobytes() for result in results}) == 12
    np.testing.assert_array_equal(crop, kept[0])
    np.testing.assert_array_equal(other, kept[1])


def test_a_crop_must_be_longer_when_speed_may_rise() -> None:
    assert Augmentation(speed_range=(0.8, 1.25)).stretch == 1.25
    assert Augmentation(speed_range=(0.5, 0.9)).stretch == 1.0


def test_silence_has_no_level_to_add_at() -> None:
    crop = noise(1)
    np.testing.assert_array_equal(add_at_snr(crop, silence(1), 0), crop)
    np.testing.assert_array_equal(add_at_snr(silence(1), crop, 0), silence(1))


@pytest.mark.parametrize("slope", [-1.0, 0.0, 2.0, 3.0])
def test_coloured_noise_has_no_offset(slope: float) -> None:
    for seed in range(10):
        sound = coloured_noise(N, slope, np.random.default_rng(seed))
        assert abs(np.mean(sound, dtype=np.float64)) < 1e-5
        assert rms(sound) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0, 2.0])
def test_coloured_noise_falls_with_its_slope(slope: float) -> None:
    rng = np.random.default_rng(1)
    power = 0
    for _ in range(20):
        sound = coloured_noise(N, slope, rng)
        assert sound.dtype == np.float32
        assert np.std(sound) == pytest.approx(1, abs=1e-3)
        power = power + np.abs(np.fft.rfft(sound)) ** 2
    frequencies = np.arange(10, N // 2)
    fitted = np.polyfit(np.log(frequencies), np.log(power[10 : N // 2]), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.05)
