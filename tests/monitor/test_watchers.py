"""Whoever is told: how far sinks are, what is wrong, and the cleaning that a full disk puts off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from listen_embed.monitor.events import Entry, SinkError
from listen_embed.monitor.journal import Journal, JournalError
from listen_embed.monitor.notify import Systemd
from listen_embed.monitor.sinks.sender import Sender
from listen_embed.monitor.watchers import Watchers

from .world import entry, eventually


class Broken:
    """A sink that takes nothing, but can be told of problems."""

    name = "broken"

    def __init__(self) -> None:
        self.told: list[list[str]] = []

    def send(self, entries: Sequence[Entry]) -> None:
        raise SinkError("no broker")

    def tell_problems(self, problems: Sequence[str]) -> None:
        self.told.append(list(problems))

    def close(self) -> None:
        pass


def test_backlog_and_problems_are_told(tmp_path: Path) -> None:
    journal, sink = Journal(tmp_path / "j"), Broken()
    sender = Sender(sink, journal.path)
    watchers = Watchers(journal, [sender], [sink], 30.0, Systemd({}))
    assert watchers.status() == {
        "problems": [],
        "sinks": [{"name": "broken", "problem": None, "backlog": 0}],
    }
    sender.start()
    watchers.entries(journal.append([entry(n).event for n in range(3)]))
    eventually(lambda: sender.problem)
    assert watchers.status()["sinks"][0]["backlog"] == 3
    for problem in ("disk full", "disk full", None):
        watchers.journal_problem(problem)
    assert sink.told == [["disk full"], []]
    assert watchers.status()["problems"] == ["no broker"]
    assert not sender.finish(0.1)
    journal.close()


def test_cleaning_waits_for_a_disk_with_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "j")

    def full(**_: object) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(journal, "prune", full)
    watchers = Watchers(journal, [], [], 30.0, Systemd({}))
    watchers.entries(journal.append([entry(1).event]))
    assert "the disk is full" in caplog.text
    journal.close()
