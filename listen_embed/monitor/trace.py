"""Points of the page's timelines, and fewer of them for longer ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

_DAY_S = 86400.0
# Seconds between points -> seconds for which such points are kept.
KEPT_S = {1: _DAY_S, 60: 7 * _DAY_S, 900: 400 * _DAY_S}
STEPS_S = tuple(KEPT_S)


@dataclass(frozen=True, slots=True)
class TracePoint:
    """One moment of the timelines.

    Attributes
    ----------
    wall : float
        Seconds since 1970.
    state : str or None
    score : float
        Anomaly score.
    anomaly : bool
        Whether the alarm is on.
    latency_ms : float
        From a hop's last sample to its judgement.
    level_db : float
        RMS, dB of full scale.
    x, y : float or None
        The embedding's place on the machine's map.
    spectrum : bytes
        One byte per band, see `listen_embed.monitor.spectrogram`.
    """

    wall: float
    state: str | None
    score: float
    anomaly: bool
    latency_ms: float
    level_db: float
    x: float | None
    y: float | None
    spectrum: bytes

    def values(self) -> tuple[Any, ...]:
        """Return its fields in order."""
        return tuple(getattr(self, name) for name in self.__slots__)


def merged(points: Iterable[TracePoint], step_s: int) -> Iterator[TracePoint]:
    """Yield a point for each `step_s` seconds that have any; an alarm in them is never lost."""
    for _, group in groupby(points, key=lambda point: point.wall // step_s):
        yield _merge(list(group))


def _merge(points: list[TracePoint]) -> TracePoint:
    highest = max(points, key=lambda point: point.score)
    return TracePoint(
        wall=points[-1].wall,
        state=Counter(point.state for point in points).most_common(1)[0][0],
        score=highest.score,
        anomaly=any(point.anomaly for point in points),
        latency_ms=max(point.latency_ms for point in points),
        level_db=float(np.mean([point.level_db for point in points])),
        x=highest.x,
        y=highest.y,
        spectrum=_mean_spectrum([point.spectrum for point in points]),
    )


def _mean_spectrum(columns: list[bytes]) -> bytes:
    if len({len(column) for column in columns}) > 1:  # the source's rate has changed
        return columns[-1]
    stacked = np.frombuffer(b"".join(columns), np.uint8).reshape(len(columns), -1)
    return bytes(stacked.mean(axis=0).round().astype(np.uint8))
