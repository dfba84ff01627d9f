"""The last minutes of sound, and what is kept of it around alarms.

In: blocks with the time of their first sample, entries. Out: stretches of sound by time; FLAC files
in a folder whose size is bounded.
"""

from __future__ import annotations

import io
import logging
import re
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.atomic import replacing
from listen_embed.errors import InputError, OutputError
from listen_embed.monitor.block import Block
from listen_embed.monitor.events import Entry

_log = logging.getLogger(__name__)
_FULL = 32767.0
_SEAM_S = 0.05
# Sound kept before an alarm began and after it was known; a long alarm is kept so far.
_BEFORE_S, _AFTER_S = 10.0, 10.0
_NAME = re.compile(r"alarm-(\d{1,12})-\d{8}T\d{6}\.flac")


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of sound: int16 samples (n,), their rate, and when the first one was."""

    samples: NDArray[np.int16]
    rate: int
    wall: float

    @property
    def end(self) -> float:
        """When the last sample was."""
        return self.wall + len(self.samples) / self.rate

    def flac(self) -> bytes:
        """Return it as a FLAC file."""
        import soundfile

        buffer = io.BytesIO()
        soundfile.write(buffer, self.samples, self.rate, subtype="PCM_16", format="FLAC")
        return buffer.getvalue()

    def floats(self) -> NDArray[np.float32]:
        """Return the samples in [-1, 1]."""
        return self.samples.astype(np.float32) / np.float32(_FULL)


class AudioRing:
    """The last seconds of sound; written by one thread, read by any.

    Parameters
    ----------
    seconds : float
        How much is kept.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._parts: deque[Sound] = deque()
        self._lock = threading.Lock()

    def add(self, block: Block, wall: float) -> None:
        """Take a block whose first sample was at `wall`."""
        samples = np.round(np.clip(block.samples, -1, 1) * _FULL).astype(np.int16)
        with self._lock:
            self._parts.append(Sound(samples, block.rate, wall))
            while self._parts and self._parts[0].end < wall - self._seconds:
                self._parts.popleft()

    def span(self) -> tuple[float, float] | None:
        """Return from when to when there is sound, None where there is none."""
        with self._lock:
            return (self._parts[0].wall, self._parts[-1].end) if self._parts else None

    def cut(self, since: float, until: float) -> Sound:
        """Return the sound between two moments, up to the first gap.

        Raises
        ------
        InputError
            None of it is there any more.
        """
        with self._lock:
            parts = [part for part in self._parts if part.end > since and part.wall < until]
        whole: list[Sound] = []
        for part in parts:
            if whole and (part.rate != whole[0].rate or part.wall - whole[-1].end > _SEAM_S):
                break
            whole.append(part)
        if not whole:
            raise InputError(f"that sound is not kept any more; {self._seconds:g} s are")
        samples = np.concatenate([part.samples for part in whole])
        rate, start = whole[0].rate, whole[0].wall
        first = max(0, round((since - start) * rate))
        last = max(first, round((until - start) * rate))
        return Sound(samples[first:last], rate, start + first / rate)


class AlarmKeeper:
    """Keeps the sound around every alarm as FLAC.

    Parameters
    ----------
    ring : AudioRing
        Where sound comes from.
    folder : Path
        Where it goes.
    most_bytes : int
        How large the folder may become; the oldest alarms go first.
    """

    def __init__(self, ring: AudioRing, folder: Path, most_bytes: int) -> None:
        self._ring, self._folder, self._most_bytes = ring, folder, most_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--keep-audio {folder}: {error.strerror or error}") from error
        self._waiting: list[tuple[int, float, float]] = []

    def entries(self, entries: Sequence[Entry]) -> None:
        """Take note of alarms that begin."""
        for entry in entries:
            event = entry.event
            if event.kind == "anomaly" and event.data["what"] == "begins":
                heard_s = (event.sample - int(event.data["since_sample"] or 0)) / event.rate
                since = event.wall - heard_s - _BEFORE_S
                self._waiting.append((entry.number, since, event.wall + _AFTER_S))

    def look(self) -> None:
        """Write what is complete; in a thread, for a disk may be slow."""
        span = self._ring.span()
        if not self._waiting or span is None:
            return
        due = [row for row in self._waiting if span[1] >= row[2]]
        if due:
            self._waiting = [row for row in self._waiting if row not in due]
            threading.Thread(target=self._write, args=(due,), name="alarm keeper").start()

    def finish(self) -> None:
        """Write what there is of the last alarms."""
        due, self._waiting = self._waiting, []
        self._write(due)

    def _write(self, due: list[tuple[int, float, float]]) -> None:
        for number, since, until in due:
            try:
                sound = self._ring.cut(since, until)
                moment = datetime.fromtimestamp(sound.wall, UTC)
                name = f"alarm-{number}-{moment:%Y%m%dT%H%M%S}.flac"
                with replacing(self._folder / name) as file:
                    file.write(sound.flac())
            except (InputError, OutputError) as error:
                _log.warning("the sound of alarm %d is not kept: %s", number, error)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        kept = self.files()
        sizes = {path: path.stat().st_size for path in kept.values()}
        total = sum(sizes.values())
        for number in sorted(kept):
            if total <= self._most_bytes:
                return
            total -= sizes[kept[number]]
            kept[number].unlink(missing_ok=True)

    def files(self) -> dict[int, Path]:
        """Return the kept sound by the number of its alarm."""
        found: dict[int, Any] = {}
        for path in self._folder.iterdir():
            if (match := _NAME.fullmatch(path.name)) is not None:
                found[int(match[1])] = path
        return found
