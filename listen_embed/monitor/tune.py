"""How often a threshold would have raised an alarm: hear a day of sound again and count.

In: a machine and a source. Out: alarms an hour and time in alarm, by threshold.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from listen_embed.monitor.debounce import Debouncer, DebounceRules
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.pipeline import Ear
from listen_embed.monitor.pipeline.hops import Heard
from listen_embed.monitor.pipeline.track import Track
from listen_embed.monitor.sources import Source


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a threshold would have done."""

    threshold: float
    n_alarms: int
    alarm_share: float
    hours: float

    @property
    def per_hour(self) -> float:
        """Alarms an hour."""
        return self.n_alarms / self.hours


def hear_again(
    source: Source, machine: Machine, ear: Ear, stop: threading.Event
) -> Iterator[float]:
    """Yield the anomaly score of every hop of a source."""
    track = Track(ear, source, None)
    for item in source.items(track.place(), stop):
        for found in track.take(item):
            if isinstance(found, Heard):
                yield machine.judge(found.embedding).score
        if stop.is_set():
            return


def outcome(scores: Sequence[float], rules: DebounceRules, hop_s: float) -> Outcome:
    """Return what rules would have done with the scores of consecutive hops, one or more."""
    decided, n_alarms, n_on = Debouncer(rules), 0, 0
    for hop, score in enumerate(scores):
        changed = decided.take_score(hop, score) is not None
        n_alarms += changed and decided.anomaly
        n_on += decided.anomaly
    return Outcome(rules.threshold, n_alarms, n_on / len(scores), len(scores) * hop_s / 3600)


def outcomes(
    scores: Sequence[float], rules: DebounceRules, hop_s: float, thresholds: Sequence[float]
) -> list[Outcome]:
    """Return what each threshold would have done."""
    return [outcome(scores, replace(rules, threshold=value), hop_s) for value in thresholds]
