"""Stretches of sound files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from listen_embed.errors import AudioFileError, InputError
from listen_embed.index.excerpt import excerpt, save

from ..program import write_sound


@pytest.mark.parametrize(("begin", "end"), [(0, None), (0, 0.5), (9.75, 10.5), (12, 40), (24, 25)])
def test_a_stretch_is_the_samples_between(tmp_path: Path, begin: float, end: float | None) -> None:
    path = write_sound(tmp_path / "a.wav", 25.0)
    samples, sr = soundfile.read(path, dtype="float32")
    last = None if end is None else round(end * sr)
    cut, rate = excerpt(path, begin, end)
    np.testing.assert_array_equal(cut, samples[round(begin * sr) : last])
    assert rate == sr


@pytest.mark.parametrize(("begin", "end"), [(-1, 2), (2, 2), (3, 1), (25, None), (30, 31)])
def test_no_stretch(tmp_path: Path, begin: float, end: float | None) -> None:
    with pytest.raises(InputError):
        excerpt(write_sound(tmp_path / "a.wav", 25.0), begin, end)
    with pytest.raises(AudioFileError):
        excerpt(tmp_path / "none.wav")


def test_what_is_saved_is_the_sound(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = rng.uniform(-0.9, 0.9, 8_000).astype(np.float32)
    save(tmp_path / "deep" / "a.flac", samples, 8_000)
    again, sr = soundfile.read(tmp_path / "deep" / "a.flac")
    assert sr == 8_000
    np.testing.assert_allclose(again, samples, atol=2**-15)
