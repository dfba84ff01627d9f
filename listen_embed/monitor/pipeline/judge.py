"""Hops -> judgements, and the remarks that follow: changes of state, alarms, heart-beats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from listen_embed.monitor.debounce import Debouncer, DebounceRules, Judgement
from listen_embed.monitor.events import Remark, Value
from listen_embed.monitor.pipeline.health import Loudness, SoundCheck, loudness
from listen_embed.monitor.pipeline.hops import Heard
from listen_embed.monitor.profile import Profile


class Listener(Protocol):
    """What the pipeline asks of a machine; tests stand in for it."""

    @property
    def profile(self) -> Profile:
        """What was found out about the machine while it was learnt."""

    def judge(self, embedding: NDArray[np.float32]) -> Judgement:
        """Return what one embedding (D,) says."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a hop says by itself, and what is held to be true with it; remarks where that is new."""

    judgement: Judgement
    state: str | None
    anomaly: bool
    loudness: Loudness
    remarks: tuple[Remark, ...]


class Judge:
    """Judges hops one after the other.

    Parameters
    ----------
    machine : Listener
        Embedding to judgement; may be replaced at any time.
    rules : DebounceRules
        Judgements to states and alarms.
    hop_s : float
        Seconds between hops.
    memory : mapping
        What `memory` of an earlier one returned.
    """

    def __init__(
        self, machine: Listener, rules: DebounceRules, hop_s: float, memory: Mapping[str, Any]
    ) -> None:
        self.machine = machine
        self._debouncer = Debouncer(rules, memory.get("debounce", {}))
        self._check = SoundCheck(hop_s, memory.get("sound", {}))

    def memory(self) -> dict[str, Any]:
        """Return all that it knows as plain values for JSON."""
        return {"debounce": self._debouncer.memory(), "sound": self._check.memory()}

    @property
    def wrong(self) -> list[str]:
        """What is wrong with the sound just now."""
        return self._check.wrong

    def begin(self, sample: int, rate: int) -> Iterator[Remark]:
        """Yield what is wrong with a clock's sample rate."""
        learnt = self.machine.profile.rate
        if rate < learnt:
            data: dict[str, Value] = {"what": "low rate", "on": True, "rate_hz": rate}
            yield Remark("health", sample, {**data, "learnt_rate_hz": learnt})

    def hear(self, hop: Heard) -> Judged:
        """Return what a hop says."""
        judgement, heard = self.machine.judge(hop.embedding), loudness(hop)
        remarks = [*self._changes(hop, judgement)]
        decided, profile = self._debouncer, self.machine.profile
        remarks += self._check.take(hop, heard, decided.state, profile)
        return Judged(judgement, decided.state, decided.anomaly, heard, tuple(remarks))

    def _changes(self, hop: Heard, judgement: Judgement) -> Iterator[Remark]:
        decided = self._debouncer
        since = decided.take_label(hop.start, judgement.label)
        if since is not None:
            data: dict[str, Value] = {"state": decided.state, "since_sample": since}
            share = round(judgement.probability, 3)
            yield Remark("state", hop.end, {**data, "probability": share})
        since = decided.take_score(hop.start, judgement.score)
        if since is not None:
            yield Remark("anomaly", hop.end, self._alarm(since, judgement.score))

    def _alarm(self, since: int, score: float) -> dict[str, Value]:
        return {
            "what": "begins" if self._debouncer.anomaly else "ends",
            "state": self._debouncer.state,
            "since_sample": since,
            "score": short(score),
            "threshold": short(self._debouncer.rules.threshold),
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
