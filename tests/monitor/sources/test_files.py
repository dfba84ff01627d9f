"""Sound files and folders: their samples, in order, from where listening stopped."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import soundfile

from listen_embed.monitor.block import Block
from listen_embed.monitor.sources import Notice, Place, open_source

from ..world import RATE, play, sound, write_wav

SAMPLES = sound(("low", 2.0), ("high", 1.0))


def test_a_file_gives_its_samples_and_ends(tmp_path: Path) -> None:
    source = open_source(str(write_wav(tmp_path / "a.wav", SAMPLES)))
    samples, notices = play(source)
    np.testing.assert_allclose(samples, SAMPLES, atol=2**-15)
    assert notices == ["ended"]
    assert source.name == "file:a.wav"
    assert source.limit_s == float("inf")


def test_a_file_goes_on_where_it_stopped_and_changed_files_start_anew(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", SAMPLES)
    stop = threading.Event()
    first = next(iter(open_source(str(path)).items(None, stop)))
    assert isinstance(first, Block)

    def starts(place: Place) -> list[tuple[str, int]]:
        items = list(open_source(str(path)).items(place, stop))
        return [(b.clock, b.first) for b in items if isinstance(b, Block) and len(b.samples)]

    assert starts(Place(first.clock, 12000))[0] == (first.clock, 12000)
    again = starts(Place(first.clock, 12000, done=True))[0]
    assert again[1] == 0
    assert again[0] != first.clock
    write_wav(path, SAMPLES[:9000])
    assert starts(Place(first.clock, 12000))[0][1] == 0


def test_real_time_takes_its_time(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", SAMPLES[: RATE // 2])
    begun = time.monotonic()
    samples, notices = play(open_source(f"{path}?pace=2"))
    assert 0.2 < time.monotonic() - begun < 2.0
    assert (len(samples), notices) == (RATE // 2, ["ended"])


def test_a_folder_plays_its_files_by_name_each_on_its_own_clock(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, part in (
        ("b/z.wav", SAMPLES[:100]),
        ("a.wav", SAMPLES[:50]),
        ("c.flac", SAMPLES[:70]),
    ):
        write_wav(tmp_path / name, part)
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "bad.wav").write_bytes(b"RIFFgarbage")
    items = list(open_source(str(tmp_path)).items(None, threading.Event()))
    blocks = [(i.clock, len(i.samples)) for i in items if isinstance(i, Block)]
    assert blocks == [("1:a.wav", 50), ("1:b/z.wav", 100), ("1:c.flac", 70)]
    assert [i.what for i in items if isinstance(i, Notice)] == ["garbage", "ended"]
    later = list(open_source(str(tmp_path)).items(Place("1:b/z.wav", 40), threading.Event()))
    assert [(i.clock, i.first) for i in later if isinstance(i, Block) and len(i.samples)] == [
        ("1:b/z.wav", 40),
        ("1:c.flac", 0),
    ]
    over = list(open_source(str(tmp_path)).items(Place("1:c.flac", 0, True), threading.Event()))
    assert isinstance(over[0], Block)
    assert over[0].clock == "2:a.wav"


def test_a_truncated_file_is_garbage_or_short_but_no_exception(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.flac", SAMPLES)
    path.write_bytes(path.read_bytes()[:-2000])
    samples, notices = play(open_source(str(path)))
    assert notices[-1] == "ended"
    assert len(samples) <= len(SAMPLES)


def test_nan_in_a_file_is_garbage(tmp_path: Path) -> None:

    bad = SAMPLES.copy()
    bad[RATE + 5] = np.nan
    soundfile.write(tmp_path / "a.wav", bad, RATE, subtype="FLOAT")
    samples, notices = play(open_source(str(tmp_path / "a.wav")))
    assert notices == ["garbage", "ended"]
    assert not samples[RATE : 2 * RATE].any()
