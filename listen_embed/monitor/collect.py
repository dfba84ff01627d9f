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

from listen_embed.errors import InputError
from listen_embed.monitor.block import Block
from listen_embed.monitor.machine import UNKNOWN
from listen_embed.monitor.sources import Notice, Source
from listen_embed.output import replacing


@dataclass(frozen=True, slots=True)
class Clip:
    """What was recorded: where it is, how long, its loudest sample relative to full scale."""

    path: Path
    seconds: float
    peak_db: float


def collect(
    source: Source, label: str, seconds: float, folder: Path, stop: threading.Event
) -> Clip:
    """Record one clip without gaps.

    Parameters
    ----------
    source : Source
        What to record.
    label : str
        The machine's state; also the folder's name.
    seconds : float
        How long.
    folder : Path
        Where labelled clips are.
    stop : threading.Event
        Ends the recording early.

    Raises
    ------
    InputError
        The label cannot be a folder's name, or the source ended or stalled before enough was heard.
    """
    _check_label(label)
    samples, rate = _record(source, seconds, stop)
    path = _write(samples, rate, folder / label)
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    return Clip(path, len(samples) / rate, 20 * float(np.log10(max(peak, 1e-6))))


def _check_label(label: str) -> None:
    forbidden = set('/\\:*?"<>|\0') & set(label)
    if not label.strip() or forbidden or label.startswith(".") or label == UNKNOWN:
        raise InputError(
            f"label {label!r}: give letters, digits, spaces, - and _, for example Mode1; "
            f"{UNKNOWN!r} is what the monitor calls sounds it does not know"
        )


def _record(
    source: Source, seconds: float, stop: threading.Event
) -> tuple[NDArray[np.float32], int]:
    """Return samples of one clock without gaps; a gap or another rate starts the clip anew."""
    parts: list[NDArray[np.float32]] = []
    last: Block | None = None
    for item in source.items(None, stop):
        if isinstance(item, Notice):
            if item.what in ("ended", "stalled"):
                raise InputError(f"{source.name} {item.what} before {seconds:g} s were recorded")
            continue
        if last is None or (item.clock, item.first) != (last.clock, last.end):
            parts = []
        last = item
        parts.append(item.samples)
        wanted = round(seconds * item.rate)
        if sum(map(len, parts)) >= wanted:
            return np.concatenate(parts)[:wanted], item.rate
    raise InputError(f"{source.name}: stopped before {seconds:g} s were recorded")


def _write(samples: NDArray[np.float32], rate: int, folder: Path) -> Path:
    import soundfile

    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.wav"
    with replacing(path) as file:
        soundfile.write(file, samples, rate, subtype="PCM_16", format="WAV")
    return path
