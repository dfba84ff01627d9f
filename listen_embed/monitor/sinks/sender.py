"""A thread for each sink that brings it the journal's events."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from listen_embed.monitor.events import Entry, SinkError
from listen_embed.monitor.journal import Journal, JournalError

_log = logging.getLogger(__name__)
_BATCH = 64
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


class Sink(Protocol):
    """What a sender asks of a sink.

    Attributes
    ----------
    name : str
        Stable across restarts: its cursor's name. No secrets.
    """

    name: str

    def send(self, entries: Sequence[Entry]) -> None:
        """Return once all entries are delivered for good; raise `SinkError` if they are not."""

    def close(self) -> None:
        """Let go; a `send` under way ends with `SinkError`."""


class Sender:
    """A thread that brings the journal's events to one sink.

    Parameters
    ----------
    sink : Sink
        Where to.
    journal : path-like
        From where; the thread opens it itself.
    """

    def __init__(self, sink: Sink, journal: str | os.PathLike[str]) -> None:
        self.name = sink.name
        self.problem: str | None = None
        """Why the sink does not take events just now; None while it does."""
        self.delivered = 0
        """Number of the last event that the sink has."""
        self._sink = sink
        self._path = journal
        self._news = threading.Event()
        self._finish = threading.Event()
        self._abort = threading.Event()
        with_cursor = Journal(journal)
        self.delivered = with_cursor.register(sink.name)
        with_cursor.close()
        self._thread = threading.Thread(target=self._run, name=f"sender {sink.name}", daemon=True)

    def start(self) -> None:
        """Begin sending."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there are new entries."""
        self._news.set()

    def finish(self, timeout_s: float) -> bool:
        """Send what is there, for at most `timeout_s`; return whether all of it went out."""
        self._finish.set()
        self._news.set()
        self._thread.join(timeout_s)
        done = not self._thread.is_alive()
        self._abort.set()
        self._news.set()
        self._sink.close()
        self._thread.join(_LONGEST_WAIT_S)
        return done

    def _run(self) -> None:
        journal = Journal(self._path, durable=False)
        try:
            while not self._abort.is_set():
                self._news.clear()
                if not self._send_batch(journal):
                    if self._finish.is_set():
                        return
                    self._news.wait(1.0)
        finally:
            journal.close()

    def _send_batch(self, journal: Journal) -> bool:
        """Deliver the next entries; return whether there were any."""
        try:
            entries = journal.after(journal.cursor(self.name), _BATCH)
            if entries and self._deliver(entries):
                self.delivered = entries[-1].number
                journal.advance(self.name, entries[-1].number)
        except JournalError as error:  # the disk may come back; this thread must be there then
            _log.warning("%s", error)
            self.problem = str(error)
            return False
        return bool(entries)

    def _deliver(self, entries: Sequence[Entry]) -> bool:
        wait_s = _FIRST_WAIT_S
        while not self._abort.is_set():
            try:
                self._sink.send(entries)
            except SinkError as error:
                if self.problem is None:
                    _log.warning("%s; trying again until it works", error)
                self.problem = str(error)
                self._abort.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                if self.problem is not None:
                    _log.info("%s takes events again", self.name)
                self.problem = None
                return True
        return False


def finish_all(senders: Sequence[Sender], timeout_s: float) -> list[str]:
    """Finish all senders within one time limit; return the names of those that have events left."""
    deadline = time.monotonic() + timeout_s
    return [s.name for s in senders if not s.finish(max(0.0, deadline - time.monotonic()))]
