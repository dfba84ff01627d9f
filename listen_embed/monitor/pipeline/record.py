"""Remarks -> the journal, and whoever wants to know of new entries."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from listen_embed.monitor.events import Entry, Event, Remark, Value
from listen_embed.monitor.journal import (
    Checkpoint,
    DamagedJournalError,
    Journal,
    JournalError,
)
from listen_embed.monitor.sources.source import Source
from listen_embed.monitor.trace import TracePoint

_log = logging.getLogger(__name__)
_RETRY_S = 1.0
# What waits while the journal cannot be written; of more, the oldest is given up.
_MAX_EVENTS, _MAX_POINTS = 10_000, 3600

OnEntries = Callable[[Sequence[Entry]], None]
OnProblem = Callable[[str | None], None]


class Recorder:
    """Journals remarks at once; trace points wait for the next checkpoint.

    A journal that cannot be written, because its disk is full, ends nothing: events and the latest
    checkpoint wait in memory until it can.

    Parameters
    ----------
    journal : Journal
        Where to.
    source : Source
        Whose sound it is; told what it may forget.
    on_entries : callable or None
        Told of every new entry.
    on_problem : callable or None
        Told why the journal cannot be written, and with None that it can again.
    """

    def __init__(
        self,
        journal: Journal,
        source: Source,
        on_entries: OnEntries | None,
        on_problem: OnProblem | None,
    ) -> None:
        self._journal, self._source = journal, source
        self._on_entries, self._on_problem = on_entries, on_problem
        self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._n_given_up = 0
        self._trace: deque[TracePoint] = deque(maxlen=_MAX_POINTS)
        self._checkpoint: tuple[Checkpoint, int | None] | None = None
        self._problem: str | None = None
        self._retry_at = 0.0
        self._sample = 0  # of the latest remark

    def trace(self, point: TracePoint) -> None:
        """Keep a point of the timelines."""
        self._trace.append(point)

    def write(self, remarks: Iterable[Remark], at: Checkpoint) -> None:
        """Journal remarks that were made where listening stands at."""
        self._add(remarks, at)
        if self._events:
            self._flush(at)

    def write_checkpoint(
        self, remarks: Iterable[Remark], at: Checkpoint, needed: int | None
    ) -> None:
        """Journal remarks together with the place to go on from after a crash.

        `needed` is the first sample that would be wanted then; the source may forget the others.
        """
        self._checkpoint = at, needed
        self._add(remarks, at)
        self._flush(at)

    def _add(self, remarks: Iterable[Remark], at: Checkpoint) -> None:
        for remark in remarks:
            self._n_given_up += len(self._events) == _MAX_EVENTS
            self._events.append(self._event(remark, at))
            self._sample = remark.sample

    def _event(self, remark: Remark, at: Checkpoint) -> Event:
        wall = at.wall_start + remark.sample / at.rate
        place = self._source.name, at.clock, remark.sample, at.rate, wall
        return Event(*place, remark.kind, remark.data)

    def _flush(self, at: Checkpoint) -> None:
        if self._problem is not None and time.monotonic() < self._retry_at:
            return
        try:
            entries = self._commit()
        except DamagedJournalError:
            raise
        except JournalError as error:
            self._wait(str(error))
            return
        if self._problem is not None:
            entries += self._go_on(at)
        if entries and self._on_entries is not None:
            self._on_entries(entries)

    def _commit(self) -> list[Entry]:
        asked: dict[str, Any] = {}
        if self._checkpoint is not None:
            asked = {"checkpoint": self._checkpoint[0], "trace": list(self._trace)}
        entries = self._journal.append(list(self._events), source=self._source.name, **asked)
        self._events.clear()
        if self._checkpoint is not None:
            (at, needed), self._checkpoint = self._checkpoint, None
            self._trace.clear()
            if needed is not None:
                self._source.keep(at.clock, needed)
        return entries

    def _wait(self, problem: str) -> None:
        self._retry_at = time.monotonic() + _RETRY_S
        if self._problem is None:
            _log.warning("%s; listening goes on", problem)
        self._problem = problem
        if self._on_problem is not None:
            self._on_problem(problem)

    def _go_on(self, at: Checkpoint) -> list[Entry]:
        """Journal that it could not be written for a while."""
        _log.info("the journal can be written again")
        data: dict[str, Value] = {"what": "written again", "lost_events": self._n_given_up}
        data = {**data, "detail": self._problem}
        self._problem, self._n_given_up = None, 0
        if self._on_problem is not None:
            self._on_problem(None)
        return self._journal.append([self._event(Remark("journal", self._sample, data), at)])
