"""The page's spectrogram column: a tone stands in its band, at its level."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed.monitor.spectrogram import N_BANDS, SpectrogramColumn


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 192000])
@pytest.mark.parametrize("hz", [200.0, 1000.0, 3500.0])
def test_a_tone_stands_in_its_band(rate: int, hz: float) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(rate // 5) / rate).astype(np.float32)
    column = np.frombuffer(SpectrogramColumn(rate)(tone), np.uint8)
    edges = np.geomspace(60.0, rate / 2, N_BANDS + 1)
    band = int(np.searchsorted(edges, hz)) - 1
    assert abs(int(np.argmax(column)) - band) <= (1 if rate < 100_000 else 6)
    assert len(column) == N_BANDS


def test_levels_in_decibels() -> None:
    tone = np.sin(2 * np.pi * 440.0 * np.arange(4096) / 8000).astype(np.float32)
    levels = [max(SpectrogramColumn(8000)(gain * tone)) for gain in (1.0, 0.1, 0.01)]
    assert np.diff(levels).tolist() == pytest.approx([-51, -51], abs=2)  # 20 dB of 100 in 255


def test_silence_is_zero_and_short_hops_work() -> None:
    assert set(SpectrogramColumn(48000)(np.zeros(4800, np.float32))) == {0}
    assert len(SpectrogramColumn(48000)(np.zeros(3, np.float32))) == N_BANDS
