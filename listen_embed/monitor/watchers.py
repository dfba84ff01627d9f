"""Whoever is told what the pipeline finds: senders, page, kept sound, the cleaner of the journal.

In: hops, entries and blocks on the pipeline's thread. Out: nothing that could hold it up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from listen_embed.monitor.audio_ring import AlarmKeeper, AudioRing
from listen_embed.monitor.block import Block
from listen_embed.monitor.config import MonitorConfig
from listen_embed.monitor.events import Entry
from listen_embed.monitor.journal import Journal, JournalError
from listen_embed.monitor.notify import Systemd
from listen_embed.monitor.pipeline import Hop
from listen_embed.monitor.sinks.sender import Sender, Sink

if TYPE_CHECKING:
    from listen_embed.monitor.page import Hub

_log = logging.getLogger(__name__)
_DAY_S = 86400.0
_HOUR_S = 3600.0
_STATUS_S = 1.0


class Watchers:
    """Passes on what the pipeline finds."""

    def __init__(
        self,
        journal: Journal,
        senders: Sequence[Sender],
        sinks: Sequence[Sink],
        keep_days: float,
        systemd: Systemd,
    ) -> None:
        self._systemd = systemd
        self._senders = senders
        self._told = [sink for sink in sinks if hasattr(sink, "tell_problems")]
        self._housekeeper = _Housekeeper(journal, senders, keep_days)
        self._journal_problem: str | None = None
        self._newest = journal.last_number()
        self._status_at = 0.0
        self.hub: Hub | None = None
        self.ring: AudioRing | None = None
        self.keeper: AlarmKeeper | None = None

    def keep_audio(self, config: MonitorConfig) -> None:
        """Keep the last sound in memory, and that of alarms in a folder if one is given."""
        self.ring = AudioRing(config.ring_s)
        if config.keep_audio is not None:
            most_bytes = round(config.keep_audio_mb * 1e6)
            self.keeper = AlarmKeeper(self.ring, Path(config.keep_audio), most_bytes)

    def block(self, block: Block, wall: float) -> None:
        """Take a block of sound that was first heard at `wall`."""
        self._systemd.alive()
        if self.ring is not None:
            self.ring.add(block, wall)
        if self.keeper is not None:
            self.keeper.look()

    def entries(self, entries: Sequence[Entry]) -> None:
        """Take new events."""
        self._newest = entries[-1].number
        for sender in self._senders:
            sender.wake()
        if self.hub is not None:
            self.hub.entries(entries)
        if self.keeper is not None:
            self.keeper.entries(entries)
        self._housekeeper.look()

    def hop(self, hop: Hop) -> None:
        """Take a hop, and once a second look how everybody is."""
        if self.hub is None:
            return
        if (now := time.monotonic()) - self._status_at > _STATUS_S:
            self._status_at = now
            self.hub.status = self.status()
        self.hub.hop(hop)

    def journal_problem(self, problem: str | None) -> None:
        """Take note of why the journal cannot be written, or that it can."""
        if problem == self._journal_problem:
            return
        self._journal_problem = problem
        self._status_at = 0.0
        for sink in self._told:
            sink.tell_problems([problem] if problem else [])

    def status(self) -> dict[str, Any]:
        """Return what is wrong, and how far the sinks are."""
        own = [self._journal_problem] if self._journal_problem else []
        waiting = [(s.name, s.problem, max(0, self._newest - s.delivered)) for s in self._senders]
        return {
            "problems": own + [problem for _, problem, _ in waiting if problem],
            "sinks": [{"name": n, "problem": p, "backlog": b} for n, p, b in waiting],
        }

    def finish(self) -> None:
        """Keep the sound of alarms that are still on."""
        if self.keeper is not None:
            self.keeper.finish()


class _Housekeeper:
    """Forget what is old, once an hour, on the pipeline's thread."""

    def __init__(self, journal: Journal, senders: Sequence[Sender], keep_days: float) -> None:
        self._journal = journal
        self._sinks = [sender.name for sender in senders]
        self._keep_s = keep_days * _DAY_S
        self._next = 0.0

    def look(self) -> None:
        """Prune if an hour has passed."""
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + _HOUR_S
        try:
            self._journal.prune(now=time.time(), keep_s=self._keep_s, sinks=self._sinks)
        except JournalError as error:  # an hour later there may be room
            _log.warning("%s", error)
