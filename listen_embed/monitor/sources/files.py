"""Sound files and folders of them, as fast as possible or at a pace."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from listen_embed.finder import sounds_in
from listen_embed.monitor.block import Block, to_mono
from listen_embed.monitor.sources.source import (
    BLOCK_S,
    Item,
    Maker,
    Notice,
    Place,
    finite,
    seconds_of,
)

_FILE_BLOCK_S = 1.0


def _file_items(path: Path, clock: str, first: int, stop: threading.Event) -> Iterator[Item]:
    """Yield a sound file from sample `first` on; a damaged one is a notice."""
    import soundfile

    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            rate, position = int(file.samplerate), min(first, len(file))
            file.seek(position)
            if position:  # resumed: say where, even if nothing is left
                yield Block(np.zeros(0, np.float32), rate, position, clock)
            while not stop.is_set():
                samples = file.read(int(rate * _FILE_BLOCK_S), dtype="float32", always_2d=True)
                if not len(samples):
                    return
                yield finite(to_mono(samples), rate, position, clock)
                position += len(samples)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        yield Notice("garbage", f"{path.name}: {error}")


class FileItems:
    """One file; its clock names its content and how often it has been played from the start."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        stat = self._path.stat()
        content = f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
        clock, first = _next_pass(place, content)
        yield from _file_items(self._path, clock, first, stop)
        if not stop.is_set():
            yield Notice("ended")


class FolderItems:
    """A folder's sound files by name; clocks are ``<pass>:<path in the folder>``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        turn, resume_at, first = 1, "", 0
        if place is not None and ":" in place.clock:
            number, resume_at = place.clock.split(":", 1)
            turn, first = int(number), place.sample
            if place.done:
                turn, resume_at, first = turn + 1, "", 0
        for path in sound_files(self._path):
            name = path.relative_to(self._path).as_posix()
            if name >= resume_at and not stop.is_set():
                start = first if name == resume_at else 0
                yield from _file_items(path, f"{turn}:{name}", start, stop)
        if not stop.is_set():
            yield Notice("ended")


def sound_files(folder: Path) -> list[Path]:
    """Return the sound files in a folder and below, ordered by their path's text."""
    found = sorted(sounds_in(folder), key=lambda sound: sound.below.as_posix())
    return [sound.path for sound in found]


def _next_pass(place: Place | None, content: str) -> tuple[str, int]:
    if place is None or not place.clock.startswith(content):
        return f"{content}-1", 0
    if not place.done:
        return place.clock, place.sample
    return f"{content}-{int(place.clock.rsplit('-', 1)[1]) + 1}", 0


def paced(make: Maker, pace: float) -> Maker:
    """Hold blocks back until their last sample would have been heard, `pace` times real time."""

    def items(place: Place | None, stop: threading.Event) -> Iterator[Item]:
        due = time.monotonic()
        for item in make(place, stop):
            for part in _parts(item):
                due += seconds_of(part) / pace
                if stop.wait(max(0.0, due - time.monotonic())):
                    return
                yield part

    return items


def _parts(item: Item) -> Iterator[Item]:
    if isinstance(item, Notice):
        yield item
        return
    step = max(1, int(item.rate * BLOCK_S))
    for start in range(0, len(item.samples), step):
        part = item.samples[start : start + step]
        yield Block(part, item.rate, item.first + start, item.clock)
