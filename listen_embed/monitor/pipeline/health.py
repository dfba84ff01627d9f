"""Whether what is heard can be judged at all: silence, clipping, a level far from what was learnt.

In: hops with the state that is held to be true. Out: remarks when something begins or ends to be
wrong. What is remembered is plain values and part of every checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from listen_embed.monitor.block import level_db
from listen_embed.monitor.events import Remark, Value
from listen_embed.monitor.pipeline.hops import Heard
from listen_embed.monitor.profile import Level, Profile

# A dead microphone or a muted input gives exact zeros; an open one never does.
_DEAD = 1e-5
_FULL_SCALE = 0.999
_CLIPPED_SHARE = 0.001
_OFF_DB = 12.0
# Seconds that something must last to be told, and to be over.
_LASTS_S = {"silent": 2.0, "clipping": 1.0, "too quiet": 10.0, "too loud": 10.0}
_SMOOTH_S = 5.0


@dataclass(frozen=True, slots=True)
class Loudness:
    """Level and peak of a hop, dB of full scale."""

    rms_db: float
    peak_db: float


def loudness(hop: Heard) -> Loudness:
    """Return how loud a hop is."""
    peak = float(np.abs(hop.samples).max()) if len(hop.samples) else 0.0
    peak_db = 20 * float(np.log10(max(peak, 1e-6)))
    return Loudness(level_db(hop.samples), peak_db)


class SoundCheck:
    """Watches the sound itself.

    Parameters
    ----------
    hop_s : float
        Seconds between hops.
    memory : mapping
        What `memory` of an earlier one returned.
    """

    def __init__(self, hop_s: float, memory: Mapping[str, Any]) -> None:
        self._needed = {what: max(1, round(s / hop_s)) for what, s in _LASTS_S.items()}
        self._weight = min(1.0, hop_s / _SMOOTH_S)
        self._wrong: dict[str, bool] = dict(memory.get("wrong", {}))
        self._count: dict[str, int] = dict(memory.get("count", {}))
        self._level_db: float | None = memory.get("level_db")

    def memory(self) -> dict[str, Any]:
        """Return all that it knows as plain values for JSON."""
        counts = {"wrong": dict(self._wrong), "count": dict(self._count)}
        return {**counts, "level_db": self._level_db}

    @property
    def wrong(self) -> list[str]:
        """What is wrong just now."""
        return [what for what, is_so in self._wrong.items() if is_so]

    def take(
        self, hop: Heard, heard: Loudness, state: str | None, profile: Profile
    ) -> Iterator[Remark]:
        """Yield what begins or ends to be wrong with a hop, by what was learnt of its state."""
        level = self._smooth(heard.rms_db)
        for what, is_so in self._signs(hop, heard, level, profile.level_of(state)):
            if self._settles(what, is_so):
                data: dict[str, Value] = {"what": what, "on": is_so, "level_db": round(level, 1)}
                yield Remark("health", hop.end, data)

    def _smooth(self, rms_db: float) -> float:
        before = rms_db if self._level_db is None else self._level_db
        self._level_db = before + self._weight * (rms_db - before)
        return self._level_db

    def _signs(
        self, hop: Heard, heard: Loudness, level_db: float, learnt: Level | None
    ) -> Iterator[tuple[str, bool]]:
        silent = heard.peak_db < 20 * np.log10(_DEAD)
        yield "silent", bool(silent)
        clipped = int(np.count_nonzero(np.abs(hop.samples) >= _FULL_SCALE))
        yield "clipping", clipped > _CLIPPED_SHARE * len(hop.samples)
        if learnt is not None:
            yield "too quiet", not silent and level_db < learnt.low_db - _OFF_DB
            yield "too loud", level_db > learnt.high_db + _OFF_DB

    def _settles(self, what: str, is_so: bool) -> bool:
        """Count hops that say otherwise; return whether they are now enough."""
        if is_so == self._wrong.get(what, False):
            self._count[what] = 0
            return False
        self._count[what] = self._count.get(what, 0) + 1
        if self._count[what] < self._needed[what]:
            return False
        self._wrong[what], self._count[what] = is_so, 0
        return True
