"""Remarks -> the journal, and whoever wants to know of new entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from listen_embed.monitor.debounce import Debouncer
from listen_embed.monitor.events import Entry, Event, Remark
from listen_embed.monitor.journal import Checkpoint, Journal, TracePoint
from listen_embed.monitor.sources.source import Source

OnEntries = Callable[[Sequence[Entry]], None]


class Recorder:
    """Journals remarks at once; trace points wait for the next checkpoint.

    Parameters
    ----------
    journal : Journal
        Where to.
    source : Source
        Whose sound it is; told what it may forget.
    debouncer : Debouncer
        Whose memory belongs to a checkpoint.
    on_entries : callable or None
        Told of every new entry.
    """

    def __init__(
        self, journal: Journal, source: Source, debouncer: Debouncer, on_entries: OnEntries | None
    ) -> None:
        self._journal, self._source = journal, source
        self._debouncer = debouncer
        self._on_entries = on_entries
        self._trace: list[TracePoint] = []

    def trace(self, point: TracePoint) -> None:
        """Keep a point of the timelines."""
        self._trace.append(point)

    def write(self, remarks: Sequence[Remark], at: Checkpoint) -> None:
        """Journal remarks that were made where listening stands at."""
        if remarks:
            self._tell(self._journal.append([self._event(remark, at) for remark in remarks]))

    def write_checkpoint(
        self, remarks: Sequence[Remark], at: Checkpoint, needed: int | None
    ) -> None:
        """Journal remarks together with the place to go on from after a crash.

        `needed` is the first sample that would be wanted then; the source may forget the others.
        """
        trace, self._trace = self._trace, []
        entries = self._journal.append(
            [self._event(remark, at) for remark in remarks],
            source=self._source.name,
            checkpoint=replace(at, memory=self._debouncer.memory()),
            trace=trace,
        )
        if needed is not None:
            self._source.keep(at.clock, needed)
        self._tell(entries)

    def _event(self, remark: Remark, at: Checkpoint) -> Event:
        wall = at.wall_start + remark.sample / at.rate
        place = self._source.name, at.clock, remark.sample, at.rate, wall
        return Event(*place, remark.kind, remark.data)

    def _tell(self, entries: Sequence[Entry]) -> None:
        if entries and self._on_entries is not None:
            self._on_entries(entries)
