"""The last sound: cut by time, kept around alarms, never more than allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from listen_embed.errors import InputError
from listen_embed.monitor.audio_ring import AlarmKeeper, AudioRing

from .world import RATE, cut, entry, eventually, sound

SAMPLES = sound(("low", 60.0))


def filled(seconds: float = 60.0, start: float = 1000.0) -> AudioRing:
    ring = AudioRing(seconds)
    for block in cut(SAMPLES, 800):
        ring.add(block, start + block.first / RATE)
    return ring


def test_sound_is_cut_to_the_sample() -> None:
    found = filled().cut(1010.0, 1012.5)
    assert (found.wall, found.rate, len(found.samples)) == (1010.0, RATE, 2.5 * RATE)
    np.testing.assert_allclose(
        found.floats(), SAMPLES[10 * RATE :][: len(found.samples)], atol=1e-4
    )


def test_only_the_last_seconds_are_kept() -> None:
    ring = filled(20.0)
    assert ring.span() == pytest.approx((1039.9, 1060.0), abs=0.11)
    with pytest.raises(InputError, match="not kept any more"):
        ring.cut(1000.0, 1010.0)
    assert AudioRing(1.0).span() is None


def test_a_gap_ends_a_stretch() -> None:
    ring = AudioRing(60.0)
    for block in cut(SAMPLES[: 4 * RATE], 800):
        ring.add(block, 1000.0 + block.first / RATE + (10.0 if block.first >= 2 * RATE else 0.0))
    assert len(ring.cut(1000.0, 1020.0).samples) == 2 * RATE


def alarm(number: int, wall: float) -> object:
    begins = entry(number, "anomaly", what="begins", state="low", score=2.0, since_sample=0)
    return replace(begins, event=replace(begins.event, wall=wall, sample=10, rate=10))


def test_the_sound_around_an_alarm_is_kept_as_flac(tmp_path: Path) -> None:
    ring = AudioRing(120.0)
    keeper = AlarmKeeper(ring, tmp_path / "kept", 10**8)
    for block in cut(SAMPLES, 800):
        ring.add(block, 1000.0 + block.first / RATE)
        keeper.look()
        if block.first == 30 * RATE:
            keeper.entries([alarm(7, 1030.0)])
    eventually(keeper.files)
    path = keeper.files()[7]
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    # From ten seconds before it began, a second before it was known, to ten seconds after.
    np.testing.assert_allclose(samples, SAMPLES[19 * RATE : 40 * RATE], atol=1e-4)
    assert path.name == "alarm-7-19700101T001659.flac"


def test_an_alarm_at_the_end_is_kept_as_far_as_it_was_heard(tmp_path: Path) -> None:
    keeper = AlarmKeeper(filled(), tmp_path, 10**8)
    keeper.entries([alarm(7, 1058.0)])
    keeper.look()
    assert keeper.files() == {}
    keeper.finish()
    assert soundfile.info(keeper.files()[7]).duration == pytest.approx(13.0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--keep-audio .*/file"):
        AlarmKeeper(filled(), tmp_path / "file", 10**6)


def test_the_oldest_goes_when_there_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "mine.flac").write_bytes(b"x" * 10**6)
    keeper = AlarmKeeper(filled(), tmp_path, 10**6)
    keeper.entries([alarm(1, 1030.0)])
    keeper.finish()
    size = keeper.files()[1].stat().st_size
    keeper = AlarmKeeper(filled(), tmp_path, int(2.5 * size))
    keeper.entries([alarm(number, 1030.0) for number in range(2, 12)])
    keeper.finish()
    assert sorted(keeper.files()) == [10, 11]
    assert (tmp_path / "mine.flac").exists()
