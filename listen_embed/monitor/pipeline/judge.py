"""Hops -> judgements, and the remarks that follow: changes of state, alarms, heart-beats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from listen_embed.monitor.debounce import Debouncer, Judgement
from listen_embed.monitor.events import Remark, Value
from listen_embed.monitor.pipeline.hops import Heard


class Listener(Protocol):
    """What the pipeline asks of a machine; tests stand in for it."""

    def judge(self, embedding: NDArray[np.float32]) -> Judgement:
        """Return what one embedding (D,) says."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a hop says by itself, and what is held to be true with it; remarks where that is new."""

    judgement: Judgement
    state: str | None
    anomaly: bool
    remarks: tuple[Remark, ...]


class Judge:
    """Judges hops one after the other.

    Parameters
    ----------
    machine : Listener
        Embedding to judgement.
    debouncer : Debouncer
        Judgements to states and alarms.
    """

    def __init__(self, machine: Listener, debouncer: Debouncer) -> None:
        self._machine = machine
        self.debouncer = debouncer

    def hear(self, hop: Heard) -> Judged:
        """Return what a hop says."""
        judgement = self._machine.judge(hop.embedding)
        remarks = tuple(self._changes(hop, judgement))
        return Judged(judgement, self.debouncer.state, self.debouncer.anomaly, remarks)

    def _changes(self, hop: Heard, judgement: Judgement) -> Iterator[Remark]:
        decided = self.debouncer
        since = decided.take_label(hop.start, judgement.label)
        if since is not None:
            shares = {"probability": round(judgement.probability, 3)}
            data: dict[str, Value] = {"state": decided.state, "since_sample": since, **shares}
            yield Remark("state", hop.end, data)
        since = decided.take_score(hop.start, judgement.score)
        if since is not None:
            yield Remark("anomaly", hop.end, self._alarm(since, judgement.score))

    def _alarm(self, since: int, score: float) -> dict[str, Value]:
        return {
            "what": "begins" if self.debouncer.anomaly else "ends",
            "state": self.debouncer.state,
            "since_sample": since,
            "score": short(score),
            "threshold": short(self.debouncer.rules.threshold),
        }


def heartbeat(hop: Heard, judged: Judged, dropped: int) -> Remark:
    """Return the remark that all is well with the monitor itself."""
    data: dict[str, Value] = {
        "state": judged.state,
        "anomaly": judged.anomaly,
        "score": short(judged.judgement.score),
        "dropped_hops": dropped,
    }
    return Remark("heartbeat", hop.end, data)


def short(value: float) -> float:
    """Return a number to four digits, as people and JSON want it."""
    return float(f"{value:.4g}")
