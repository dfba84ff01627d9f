"""What a coordinator has done, in SQLite, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from listen_embed.errors import InputError
from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.messages import Founding
from listen_embed.fleet.learning.reptile import State

_TABLES = """
create table if not exists founding (run blob not null, agreement text not null);
create table if not exists states (
    round integer primary key, vector blob not null, rates blob not null, norms text not null);
create table if not exists updates (
    round integer not null, node text not null, content blob not null, primary key (round, node));
create table if not exists remarks (
    number integer primary key, round integer not null, node text not null, said text not null);
"""


class Record:
    """The journal of one run.

    Parameters
    ----------
    path : Path
        A file; made if there is none.

    Raises
    ------
    InputError
        The file cannot be opened, or is no journal of a fleet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # One thread at a time uses it; which one may change.
            self._database = sqlite3.connect(path, check_same_thread=False)
            self._database.execute("pragma journal_mode=wal")
            self._database.execute("pragma synchronous=full")
            self._database.executescript(_TABLES)
        except sqlite3.Error as error:
            raise InputError(
                f"{path}: no journal of a fleet can be kept there ({error})"
            ) from error

    def founding(self, wanted: Founding) -> Founding:
        """Return the run that the file holds, or begin the wanted one in an empty file.

        Raises
        ------
        InputError
            It holds a run that agreed on something else.
        """
        row = self._database.execute("select run, agreement from founding").fetchone()
        if row is None:
            with self._database:
                self._database.execute(
                    "insert into founding values (?, ?)", (wanted.run, wanted.agreement.json())
                )
            return wanted
        kept = Founding(bytes(row[0]), Agreement.parse(row[1]))
        try:
            kept.agreement.require(wanted.agreement)
        except InputError as error:
            raise InputError(
                f"{self._path} is the journal of another fleet: {error}; give another --journal"
            ) from error
        return kept

    def state(self) -> tuple[State, list[float]] | None:
        """Return the newest state and the usual norms, None where there is none."""
        row = self._database.execute(
            "select round, vector, rates, norms from states order by round desc limit 1"
        ).fetchone()
        if row is None:
            return None
        vector, rates = (np.frombuffer(part, "<f4").astype(np.float32) for part in row[1:3])
        return State(int(row[0]), vector, rates), [float(norm) for norm in json.loads(row[3])]

    def keep_state(self, state: State, norms: Iterable[float]) -> None:
        """Keep a state; what came before it is over, and its updates go."""
        with self._database:
            self._database.execute(
                "insert or replace into states values (?, ?, ?, ?)",
                (
                    state.round,
                    state.vector.astype("<f4").tobytes(),
                    state.rates.astype("<f4").tobytes(),
                    json.dumps(list(norms)),
                ),
            )
            self._database.execute("delete from states where round < ?", (state.round - 1,))
            self._database.execute("delete from updates where round < ?", (state.round,))

    def keep_update(self, round_: int, node: str, content: bytes) -> None:
        """Keep an update that was let in."""
        with self._database:
            self._database.execute(
                "insert or ignore into updates values (?, ?, ?)", (round_, node, content)
            )

    def updates(self, round_: int) -> list[tuple[str, bytes]]:
        """Return the updates let in for a round."""
        rows = self._database.execute(
            "select node, content from updates where round = ? order by rowid", (round_,)
        )
        return [(str(node), bytes(content)) for node, content in rows]

    def remark(self, round_: int, node: str, said: str) -> None:
        """Keep what happened to a node: lost, or refused and why."""
        with self._database:
            self._database.execute(
                "insert into remarks (round, node, said) values (?, ?, ?)", (round_, node, said)
            )

    def remarks(self) -> list[tuple[int, str, str]]:
        """Return what happened, oldest first: round, node, what."""
        rows = self._database.execute("select round, node, said from remarks order by number")
        return [(int(round_), str(node), str(said)) for round_, node, said in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()
