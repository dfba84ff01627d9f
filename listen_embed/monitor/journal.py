"""The monitor's memory on disk: events, how far each sink has come, where to go on, the timelines.

In: events, checkpoints, trace points. Out: the same, in order, after any crash.

One SQLite file in WAL mode. Events are committed with ``synchronous=FULL`` before anybody hears of
them, so what a subscriber has seen is always in the journal. Numbers have no holes: a subscriber
that sees one knows that its broker lost something. Finding an event again (after a crash the sound
since the last checkpoint is heard once more) adds nothing, because its id is made of its place.
"""

from __future__ import annotations

import json
import numbers
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from math import inf
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_type_hints

from listen_embed.errors import ListenEmbedError
from listen_embed.monitor.events import Entry, Event, Value
from listen_embed.monitor.trace import KEPT_S, STEPS_S, TracePoint, merged

_Record = TypeVar("_Record")

_VERSION = "2"
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, clock TEXT NOT NULL,
    sample INTEGER NOT NULL, rate INTEGER NOT NULL, wall REAL NOT NULL, kind TEXT NOT NULL,
    data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_wall ON events (wall);
CREATE TABLE IF NOT EXISTS cursors (sink TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (source TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS timeline (
    step_s INTEGER NOT NULL, wall REAL NOT NULL, state TEXT, score REAL NOT NULL,
    anomaly INTEGER NOT NULL, latency_ms REAL NOT NULL, level_db REAL NOT NULL,
    x REAL, y REAL, spectrum BLOB NOT NULL, PRIMARY KEY (step_s, wall)) WITHOUT ROWID;
"""
# Version 1 kept its timelines and checkpoints in another form; its events stay.
_FROM_VERSION_1 = "DROP TABLE IF EXISTS trace; DELETE FROM checkpoints"
_COLUMNS = "number, source, clock, sample, rate, wall, kind, data"
_POINT = "wall, state, score, anomaly, latency_ms, level_db, x, y, spectrum"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class JournalError(ListenEmbedError, OSError):
    """The journal cannot be opened, read or written."""


class DamagedJournalError(JournalError):
    """The journal's bytes are not what was written."""


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
        What the parts of the pipeline remember.
    """

    clock: str
    rate: int
    wall_start: float
    next_hop: int = 0
    dropped: int = 0
    done: bool = False
    memory: dict[str, Any] = field(default_factory=dict)


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
        check_folder(self.path)
        with self._legible():
            self._db = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        self._refuse_strangers()
        with self._transaction():
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            fresh = [("version", _VERSION), ("run", uuid.uuid4().hex)]
            self._db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", fresh)
            if self.remembered("version") == "1":
                for statement in _FROM_VERSION_1.split(";"):
                    self._db.execute(statement)
                self._db.execute("REPLACE INTO meta VALUES ('version', ?)", (_VERSION,))
        self.run = str(self.remembered("run"))
        if (version := self.remembered("version")) != _VERSION:
            raise JournalError(
                f"{self.path}: a journal of version {version}; this program writes {_VERSION}. "
                "Give another --journal"
            )

    def _refuse_strangers(self) -> None:
        names = {row[0] for row in self._db.execute("SELECT name FROM sqlite_master")}
        if names and "meta" not in names:
            raise JournalError(f"{self.path}: another program's database; give another --journal")

    def check(self) -> None:
        """Raise `DamagedJournalError` unless pages are sound and what going on needs is legible."""
        with self._explained():
            said = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            raise DamagedJournalError(f"journal {self.path}: {said}")
        self._read_what_going_on_needs()

    def _read_what_going_on_needs(self) -> None:
        with self._explained():
            sources = self._db.execute("SELECT source FROM checkpoints").fetchall()
            sinks = self._db.execute("SELECT sink FROM cursors").fetchall()
        self.last_number()
        for (source,) in sources:
            self.checkpoint(source)
        for (sink,) in sinks:
            self.cursor(sink)
        for fine_s, coarse_s in pairwise(STEPS_S):
            self._points(fine_s, self._newest(coarse_s), inf)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            kind = DamagedJournalError if code in _DAMAGED else JournalError
            raise kind(
                f"journal {self.path}: {error}; check the disk, or give another --journal"
            ) from error

    @contextmanager
    def _legible(self) -> Iterator[None]:
        """Explain what the disk says, and also what cannot have been written by a monitor."""
        try:
            with self._explained():
                yield
        except (TypeError, ValueError, ArithmeticError) as error:
            raise DamagedJournalError(
                f"journal {self.path}: damaged ({error}); move it away, or give another --journal"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk ends the transaction by itself
                self._db.execute("ROLLBACK")
            raise

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
                body = json.dumps(asdict(checkpoint))
                self._db.execute("REPLACE INTO checkpoints VALUES (?, ?)", (source, body))
            self._insert_points(STEPS_S[0], trace)
            if trace:
                self._roll_up()
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

    def _insert_points(self, step_s: int, points: Iterable[TracePoint]) -> None:
        self._db.executemany(
            "REPLACE INTO timeline VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((step_s, *point.values()) for point in points),
        )

    def _roll_up(self) -> None:
        """Make the points of longer steps whose time is over out of those of the next shorter."""
        for fine_s, coarse_s in pairwise(STEPS_S):
            newest = self._newest(coarse_s)
            since = (newest // coarse_s + 1) * coarse_s if newest else 0.0
            until = self._newest(fine_s) // coarse_s * coarse_s
            if since < until:
                points = self._points(fine_s, since, until)
                self._insert_points(coarse_s, merged(points, coarse_s))

    def _newest(self, step_s: int) -> float:
        query = "SELECT MAX(wall) FROM timeline WHERE step_s = ?"
        with self._legible():
            return float(self._db.execute(query, (step_s,)).fetchone()[0] or 0.0)

    def _points(self, step_s: int, since: float, until: float) -> list[TracePoint]:
        query = (
            f"SELECT {_POINT} FROM timeline WHERE step_s = ? AND wall >= ? AND wall < ? "
            "ORDER BY wall"
        )
        with self._legible():
            rows = self._db.execute(query, (step_s, since, until))
            return [_checked(TracePoint(w, s, v, bool(a), *rest)) for w, s, v, a, *rest in rows]

    def last_number(self) -> int:
        """Return the newest event's number, 0 where there is none."""
        with self._legible():
            newest = self._db.execute("SELECT MAX(number) FROM events").fetchone()[0] or 0
            return max(int(newest), int(self.remembered("pruned") or 0))

    def after(self, number: int, limit: int) -> list[Entry]:
        """Return up to `limit` entries behind `number`, in order."""
        query = f"SELECT {_COLUMNS} FROM events WHERE number > ? ORDER BY number LIMIT ?"
        with self._legible():
            return [self._entry(row) for row in self._db.execute(query, (number, limit))]

    def _entry(self, row: Sequence[Any]) -> Entry:
        number, source, clock, sample, rate, wall, kind, data = row
        event = _checked(Event(source, clock, sample, rate, wall, kind, json.loads(data)))
        entry = _checked(Entry(number, self.run, event))
        entry.json()  # raises where it could not be sent
        return entry

    def events(
        self, since: float, until: float, limit: int, without: Sequence[str] = ()
    ) -> list[Entry]:
        """Return the newest entries between two moments, at most `limit`, in order."""
        marks = ", ".join("?" * len(without))
        query = (
            f"SELECT {_COLUMNS} FROM events WHERE wall >= ? AND wall < ? AND kind NOT IN ({marks}) "
            "ORDER BY number DESC LIMIT ?"
        )
        with self._legible():
            rows = self._db.execute(query, (since, until, *without, limit)).fetchall()
            return [self._entry(row) for row in rows[::-1]]

    def trace(self, since: float, until: float, step_s: int = 1) -> list[TracePoint]:
        """Return the points of one of `STEPS_S` between two moments, in order.

        What is not rolled up to a longer step yet is added in the shorter one.
        """
        with self._legible():
            points = self._points(step_s, since, until)
            for finer_s in reversed(STEPS_S[: STEPS_S.index(step_s)]):
                rest = points[-1].wall + 1e-6 if points else since
                points += self._points(finer_s, rest, until)
            return list(merged(points, step_s)) if step_s > STEPS_S[0] else points

    def register(self, sink: str) -> int:
        """Make a sink known and return its cursor; a new one starts behind what is there."""
        with self._legible(), self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO cursors VALUES (?, ?)", (sink, self.last_number())
            )
        return self.cursor(sink)

    def cursor(self, sink: str) -> int:
        """Return the number of the last event that a sink has delivered."""
        with self._legible():
            row = self._db.execute("SELECT number FROM cursors WHERE sink = ?", (sink,)).fetchone()
            return int(row[0]) if row else 0

    def advance(self, sink: str, number: int) -> None:
        """Note that a sink has delivered everything up to `number`."""
        with self._explained():
            self._db.execute("REPLACE INTO cursors VALUES (?, ?)", (sink, number))

    def checkpoint(self, source: str) -> Checkpoint | None:
        """Return where listening to a source stands."""
        query = "SELECT body FROM checkpoints WHERE source = ?"
        with self._legible():
            row = self._db.execute(query, (source,)).fetchone()
            return _checked(Checkpoint(**json.loads(row[0]))) if row else None

    def remembered(self, key: str) -> str | None:
        """Return a value kept by `remember`."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def remember(self, key: str, value: str) -> None:
        """Keep a small value across restarts."""
        with self._explained():
            self._db.execute("REPLACE INTO meta VALUES (?, ?)", (key, value))

    def prune(self, *, now: float, keep_s: float, sinks: Sequence[str]) -> None:
        """Forget what is older than `keep_s`, but no event that one of `sinks` still needs.

        Points of short steps go earlier: they are kept as long as the page shows them.
        """
        with self._explained(), self._transaction():
            for step_s, kept_s in KEPT_S.items():
                before = now - min(keep_s, kept_s)
                self._db.execute(
                    "DELETE FROM timeline WHERE step_s = ? AND wall < ?", (step_s, before)
                )
            self._db.execute("REPLACE INTO meta VALUES ('pruned', ?)", (str(self.last_number()),))
            marks = ", ".join("?" * len(sinks))
            delivered = self._db.execute(
                f"SELECT MIN(number) FROM cursors WHERE sink IN ({marks})", tuple(sinks)
            ).fetchone()[0]
            upto = self.last_number() if delivered is None else delivered
            self._db.execute(
                "DELETE FROM events WHERE wall < ? AND number <= ?", (now - keep_s, upto)
            )

    def close(self) -> None:
        """Close the file; what is committed stays."""
        self._db.close()


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise `JournalError` unless a journal can be in the folder that is asked for."""
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise JournalError(f"journal {os.fspath(path)}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise JournalError(
            f"journal {os.fspath(path)}: the folder {folder} cannot be written; "
            "give --journal in another, or mend its permissions"
        )


def open_checked(path: str | os.PathLike[str]) -> tuple[Journal, Path | None]:
    """Return a sound journal; a damaged one is set aside under a name with its date, and told.

    Raises
    ------
    JournalError
        It cannot be opened for another reason: a human must look.
    """
    try:
        return _open_sound(path), None
    except DamagedJournalError:
        aside = _set_aside(Path(path))
        return Journal(path), aside


def _open_sound(path: str | os.PathLike[str]) -> Journal:
    journal = Journal(path)
    try:
        journal.check()
    except BaseException:
        journal.close()
        raise
    return journal


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def _checked(record: _Record) -> _Record:
    """Return a record from the file, or raise where a field is of another type than it states."""
    for name, kind in _KINDS[type(record)]:
        if not isinstance(getattr(record, name), kind):
            raise TypeError(f"{name} is {getattr(record, name)!r:.80}")
    return record


def _kinds(record: type[Any]) -> list[tuple[str, Any]]:
    """Return what a record's fields can be told by; what none of the few kinds fits is left out."""
    kinds = {float: numbers.Real, Mapping[str, Value]: dict, dict[str, Any]: dict}
    hints = {name: kinds.get(hint, hint) for name, hint in get_type_hints(record).items()}
    return [(name, kind) for name, kind in hints.items() if isinstance(kind, type | UnionType)]


_KINDS: dict[Any, list[tuple[str, Any]]] = {
    record: _kinds(record) for record in (Event, Entry, Checkpoint, TracePoint)
}


@contextmanager
def sole_owner(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a journal against a second monitor; a crash lets go by itself.

    Raises
    ------
    JournalError
        Another monitor holds it.
    """
    check_folder(path)
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
