"""Recording labelled clips: exact length, no gaps, safe names."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from listen_embed.errors import InputError
from listen_embed.monitor.collect import collect
from listen_embed.monitor.sources import Notice, open_source

from .world import RATE, Blocks, cut, sound, write_wav

SAMPLES = sound(("low", 3.0))


def record(source: object, folder: Path, label: str = "Mode 1", seconds: float = 1.5) -> Path:
    return collect(source, label, seconds, folder, threading.Event())[0].path


def test_a_clip_has_the_first_seconds_at_the_sources_rate(tmp_path: Path) -> None:
    source = open_source(str(write_wav(tmp_path / "a.wav", SAMPLES)))
    path = record(source, tmp_path / "clips")
    samples, rate = soundfile.read(path, dtype="float32")
    assert (rate, path.parent.name, path.suffix) == (RATE, "Mode 1", ".wav")
    np.testing.assert_allclose(samples, SAMPLES[: RATE * 3 // 2], atol=2**-14)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_gap_starts_the_clip_anew(tmp_path: Path) -> None:
    blocks = cut(SAMPLES, 800)
    source = Blocks(*blocks[:5], *blocks[7:])
    source.limit_s = 2.0  # a live one
    path = record(source, tmp_path)
    np.testing.assert_allclose(
        soundfile.read(path)[0], SAMPLES[7 * 800 :][: RATE * 3 // 2], atol=2**-14
    )


@pytest.mark.parametrize("what", ["ended", "stalled"])
def test_too_little_sound_is_an_error_and_no_file(tmp_path: Path, what: str) -> None:
    with pytest.raises(InputError, match=f"{what} before 1.5 s"):
        record(Blocks(*cut(SAMPLES[:RATE], 800), Notice(what)), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["", " ", "a/b", "..", ".x", "a\\b", "unknown", "x\0"])
def test_labels_that_are_no_folder_names_are_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(InputError, match="label"):
        record(Blocks(*cut(SAMPLES, 800)), tmp_path, label)


def test_a_folder_of_short_clips_gives_clips(tmp_path: Path) -> None:
    for number in range(4):
        write_wav(tmp_path / f"{number}.wav", SAMPLES[:RATE])
    clips = collect(
        open_source(str(tmp_path)), "a", 2.5, tmp_path.parent / "clips", threading.Event()
    )
    assert [clip.seconds for clip in clips] == [1.0, 1.0, 0.5]
    with pytest.raises(InputError, match=r"ended before 20 s were there, after 4\.00 s"):
        record(open_source(str(tmp_path)), tmp_path.parent / "out", seconds=20.0)
