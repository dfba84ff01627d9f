"""What a monitor reports: events with a sample clock, an identity and one JSON form.

In: a place on the sample clock and what was found there. Out: `Event`, and `Entry` once journalled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from listen_embed.errors import ListenEmbedError

Kind = Literal[
    "state", "anomaly", "heartbeat", "overload", "source", "clock", "journal", "health", "machine"
]
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to be noted at a sample; `checkpoint`: together with the place it was found at."""

    kind: Kind
    sample: int
    data: Mapping[str, Value]
    checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something found at a place on a sample clock.

    Attributes
    ----------
    source, clock : str
        Whose samples are counted.
    sample, rate : int
        Where, and how many samples make a second.
    wall : float
        Seconds since 1970, UTC: when the clock's sample 0 was, plus ``sample / rate``.
    kind : str
        state, anomaly, heartbeat, overload, source, clock, journal, health or machine.
    data : mapping
        What was found; JSON values.
    """

    source: str
    clock: str
    sample: int
    rate: int
    wall: float
    kind: Kind
    data: Mapping[str, Value] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """16 hex digits made of source, clock, sample, kind and what; the same when found again."""
        what = (self.source, self.clock, self.sample, self.kind, self.data.get("what"))
        return hashlib.blake2b(json.dumps(what).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in the journal: `number` counts from 1 without holes in the journal named `run`."""

    number: int
    run: str
    event: Event

    def message(self) -> dict[str, Value]:
        """Return the event as every JSON sink sends it."""
        event = self.event
        return {
            "id": event.id,
            "run": self.run,
            "number": self.number,
            "kind": event.kind,
            "source": event.source,
            "clock": event.clock,
            "sample": event.sample,
            "time_s": event.sample / event.rate,
            "wall": iso(event.wall),
            **event.data,
        }

    def json(self) -> str:
        """Return `message` as one line of JSON."""
        return json.dumps(self.message(), ensure_ascii=False, allow_nan=False)


class SinkError(ListenEmbedError):
    """A sink did not take an event; it is tried again."""


def iso(wall: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(wall, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
