"""The monitor's memory on disk: events, how far each sink has come, where to go on, the last hours.

In: events, checkpoints, trace points. Out: the same, in order, after any crash.

One SQLite file in WAL mode. Events are committed with ``synchronous=FULL`` before anybody hears of
them, so what a subscriber has seen is always in the journal. Numbers have no holes: a subscriber
that sees one knows that its broker lost something. Finding an event again (after a crash the sound
since the last checkpoint is heard once more) adds nothing, because its id is made of its place.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from listen_embed.errors import ListenEmbedError
from listen_embed.monitor.events import Entry, Event

_VERSION = "1"
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, clock TEXT NOT NULL,
    sample INTEGER NOT NULL, rate INTEGER NOT NULL, wall REAL NOT NULL, kind TEXT NOT NULL,
    data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cursors (sink TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (source TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trace (
    wall REAL NOT NULL, label TEXT, score REAL NOT NULL, anomaly INTEGER NOT NULL,
    latency_ms REAL NOT NULL, spectrum BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS trace_by_wall ON trace (wall);
"""
_COLUMNS = "number, source, clock, sample, rate, wall, kind, data"


class JournalError(ListenEmbedError, OSError):
    """The journal cannot be opened, read or written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where listening stands: enough to go on as if it had never stopped.

    Attributes
    ----------
    clock : str
        The source's sample clock.
    rate : int
        Its samples per second.
    wall_start : float
        When its sample 0 was, seconds since 1970.
    next_hop : int
        Index of the first hop not decided yet.
    dropped : int
        Hops given up under overload so far.
    done : bool
        The source has ended.
    memory : dict
        `Debouncer.memory`.
    """

    clock: str
    rate: int
    wall_start: float
    next_hop: int = 0
    dropped: int = 0
    done: bool = False
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TracePoint:
    """One second of the page's timelines; `spectrum` holds one byte per band."""

    wall: float
    state: str | None
    score: float
    anomaly: bool
    latency_ms: float
    spectrum: bytes


class Journal:
    """An open journal; every thread opens its own.

    Parameters
    ----------
    path : path-like
        The SQLite file, made where it does not exist.
    durable : bool
        Whether a commit waits for the disk. Cursors need not: an old one only sends twice.

    Raises
    ------
    JournalError
        It cannot be opened, or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable: bool = True) -> None:
        self.path = os.fspath(path)
        with self._explained():
            self._db = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._prepare()

    def _prepare(self) -> None:
        with self._transaction():
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            fresh = [("version", _VERSION), ("run", uuid.uuid4().hex)]
            self._db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", fresh)
        self.run = str(self.remembered("run"))
        if (version := self.remembered("version")) != _VERSION:
            raise JournalError(
                f"{self.path}: a journal of version {version}; this program writes {_VERSION}. "
                "Give another --journal"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(
                f"journal {self.path}: {error}; check the disk, or give another --journal"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def append(
        self,
        events: Iterable[Event] = (),
        *,
        source: str = "",
        checkpoint: Checkpoint | None = None,
        trace: Sequence[TracePoint] = (),
    ) -> list[Entry]:
        """Commit events, a source's checkpoint and trace points together; return new entries."""
        with self._explained(), self._transaction():
            entries = list(self._insert(events))
            if checkpoint is not None:
                body = json.dumps({name: getattr(checkpoint, name) for name in _CHECKPOINT_FIELDS})
                self._db.execute("REPLACE INTO checkpoints VALUES (?, ?)", (source, body))
            self._db.executemany(
                "INSERT INTO trace VALUES (?, ?, ?, ?, ?, ?)",
                [(p.wall, p.state, p.score, p.anomaly, p.latency_ms, p.spectrum) for p in trace],
            )
        return entries

    def _insert(self, events: Iterable[Event]) -> Iterator[Entry]:
        number = self.last_number()
        for event in events:
            row = (
                number + 1,
                event.id,
                event.source,
                event.clock,
                event.sample,
                event.rate,
                event.wall,
                event.kind,
                json.dumps(dict(event.data), allow_nan=False),
            )
            done = self._db.execute(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
            if done.rowcount:
                number += 1
                yield Entry(number, self.run, event)

    def last_number(self) -> int:
        """Return the newest event's number, 0 where there is none."""
        newest = self._db.execute("SELECT MAX(number) FROM events").fetchone()[0] or 0
        return max(int(newest), int(self.remembered("pruned") or 0))

    def after(self, number: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries behind `number`, in order."""
        query = f"SELECT {_COLUMNS} FROM events WHERE number > ? ORDER BY number LIMIT ?"
        with self._explained():
            return [self._entry(row) for row in self._db.execute(query, (number, limit))]

    def _entry(self, row: Sequence[Any]) -> Entry:
        number, source, clock, sample, rate, wall, kind, data = row
        event = Event(source, clock, sample, rate, wall, kind, json.loads(data))
        return Entry(number, self.run, event)

    def since(self, wall: float, limit: int) -> tuple[list[Entry], list[TracePoint]]:
        """Return the newest entries (at most `limit`) and trace points since a moment, in order."""
        events = f"SELECT {_COLUMNS} FROM events WHERE wall >= ? ORDER BY number DESC LIMIT ?"
        points = "SELECT * FROM trace WHERE wall >= ? ORDER BY wall"
        with self._explained():
            entries = [self._entry(row) for row in self._db.execute(events, (wall, limit))]
            rows = self._db.execute(points, (wall,)).fetchall()
        return entries[::-1], [TracePoint(w, b, s, bool(a), m, c) for w, b, s, a, m, c in rows]

    def register(self, sink: str) -> int:
        """Make a sink known and return its cursor; a new one starts behind what is there."""
        with self._explained(), self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO cursors VALUES (?, ?)", (sink, self.last_number())
            )
        return self.cursor(sink)

    def cursor(self, sink: str) -> int:
        """Return the number of the last event that a sink has delivered."""
        with self._explained():
            row = self._db.execute("SELECT number FROM cursors WHERE sink = ?", (sink,)).fetchone()
        return int(row[0]) if row else 0

    def advance(self, sink: str, number: int) -> None:
        """Note that a sink has delivered everything up to `number`."""
        with self._explained():
            self._db.execute("REPLACE INTO cursors VALUES (?, ?)", (sink, number))

    def checkpoint(self, source: str) -> Checkpoint | None:
        """Return where listening to a source stands."""
        query = "SELECT body FROM checkpoints WHERE source = ?"
        with self._explained():
            row = self._db.execute(query, (source,)).fetchone()
        return Checkpoint(**json.loads(row[0])) if row else None

    def remembered(self, key: str) -> str | None:
        """Return a value kept by `remember`."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def remember(self, key: str, value: str) -> None:
        """Keep a small value across restarts."""
        with self._explained():
            self._db.execute("REPLACE INTO meta VALUES (?, ?)", (key, value))

    def prune(self, *, events_before: float, trace_before: float, sinks: Sequence[str]) -> None:
        """Forget old trace points, and old events that every one of `sinks` has delivered."""
        with self._explained(), self._transaction():
            self._db.execute("DELETE FROM trace WHERE wall < ?", (trace_before,))
            self._db.execute("REPLACE INTO meta VALUES ('pruned', ?)", (str(self.last_number()),))
            marks = ", ".join("?" * len(sinks))
            delivered = self._db.execute(
                f"SELECT MIN(number) FROM cursors WHERE sink IN ({marks})", tuple(sinks)
            ).fetchone()[0]
            upto = self.last_number() if delivered is None else delivered
            self._db.execute(
                "DELETE FROM events WHERE wall < ? AND number <= ?", (events_before, upto)
            )

    def close(self) -> None:
        """Close the file; what is committed stays."""
        self._db.close()


_CHECKPOINT_FIELDS = tuple(Checkpoint.__dataclass_fields__)


@contextmanager
def sole_owner(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a journal against a second monitor; a crash lets go by itself.

    Raises
    ------
    JournalError
        Another monitor holds it.
    """
    # SQLite's own locks are the one kind that is portable and dies with the process.
    guard = sqlite3.connect(f"{os.fspath(path)}-owner", timeout=0.5, isolation_level=None)
    try:
        guard.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        guard.close()
        raise JournalError(
            f"journal {os.fspath(path)}: another monitor holds it ({error}); "
            "stop that one, or give another --journal"
        ) from error
    try:
        yield
    finally:
        guard.close()
