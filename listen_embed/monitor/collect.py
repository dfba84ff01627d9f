"""Record labelled clips of a machine.

In: a source and a label. Out: ``<folder>/<label>/<time>.wav``, mono, 16 bit, at the source's rate.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed.atomic import replacing
from listen_embed.errors import InputError
from listen_embed.monitor.block import Block
from listen_embed.monitor.machine import UNKNOWN
from listen_embed.monitor.sources import Source

_CAN_WAIT = float("inf")

Piece = tuple[NDArray[np.float32], int]


@dataclass(frozen=True, slots=True)
class Clip:
    """What was recorded: where it is, how long, its loudest sample relative to full scale."""

    path: Path
    seconds: float
    peak_db: float


def collect(
    source: Source, label: str, seconds: float, folder: Path, stop: threading.Event
) -> list[Clip]:
    """Record sound without gaps; files of a folder become a clip each.

    Parameters
    ----------
    source : Source
        What to record.
    label : str
        The machine's state; also the folder's name.
    seconds : float
        How long, all clips together.
    folder : Path
        Where labelled clips are.
    stop : threading.Event
        Ends the recording early.

    Raises
    ------
    InputError
        The label cannot be a folder's name, or the source ended or stalled before enough was heard.
    """
    check_label(label)
    return [save_clip(*piece, folder / label) for piece in _record(source, seconds, stop)]


def check_label(label: str) -> None:
    """Raise `InputError` unless a label can be a folder's name."""
    forbidden = set('/\\:*?"<>|\0') & set(label)
    if not label.strip() or forbidden or label.startswith(".") or label == UNKNOWN:
        raise InputError(
            f"label {label!r}: give letters, digits, spaces, - and _, for example Mode1; "
            f"{UNKNOWN!r} is what the monitor calls sounds it does not know"
        )


def save_clip(samples: NDArray[np.float32], rate: int, folder: Path) -> Clip:
    """Write a clip of a label under a name made of the time."""
    import soundfile

    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.wav"
    with replacing(path) as file:
        soundfile.write(file, samples, rate, subtype="PCM_16", format="WAV")
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    return Clip(path, len(samples) / rate, 20 * float(np.log10(max(peak, 1e-6))))


class _Tape:
    """Pieces of sound without gaps."""

    def __init__(self) -> None:
        self._pieces: list[tuple[list[NDArray[np.float32]], int]] = []
        self._last: Block | None = None

    def add(self, block: Block, *, keeps: bool) -> None:
        """Take a block; behind a gap begin another piece, and forget those before or keep them."""
        last, self._last = self._last, block
        if last is None or (block.clock, block.first) != (last.clock, last.end):
            self._pieces = [*(self._pieces if keeps else []), ([], block.rate)]
        self._pieces[-1][0].append(block.samples)

    def seconds(self) -> float:
        """Return how long the pieces are together."""
        return sum(sum(map(len, parts)) / rate for parts, rate in self._pieces)

    def cut(self, seconds: float) -> list[Piece]:
        """Return the pieces, together exactly so long."""
        found: list[Piece] = []
        for parts, rate in self._pieces:
            samples = np.concatenate(parts)[: max(0, round(seconds * rate))]
            seconds -= len(samples) / rate
            found.append((samples, rate))
        return [piece for piece in found if len(piece[0])]


def _record(source: Source, seconds: float, stop: threading.Event) -> list[Piece]:
    """Return sound without gaps; where it can wait, as in a folder, in several pieces."""
    tape = _Tape()
    for item in source.items(None, stop):
        if isinstance(item, Block):
            tape.add(item, keeps=source.limit_s == _CAN_WAIT)
            if tape.seconds() >= seconds - 1e-9:
                return tape.cut(seconds)
        elif item.what in ("ended", "stalled"):
            heard = f"after {tape.seconds():.2f} s"
            raise InputError(f"{source.name} {item.what} before {seconds:g} s were there, {heard}")
    raise InputError(f"{source.name}: stopped before {seconds:g} s were recorded")
