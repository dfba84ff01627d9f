"""The thread that delivers at least once and in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from listen_embed.monitor.events import Entry, Event, SinkError
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.sinks.sender import Sender, finish_all

from ..world import eventually


def event(sample: int) -> Event:
    return Event("s", "c", sample, 10, 1e9, "state", {"state": "a"})


class Flaky:
    """A sink that fails as it is told."""

    name = "flaky"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.numbers: list[int] = []

    def send(self, entries: Sequence[Entry]) -> None:
        self.numbers += [entry.number for entry in entries]
        if self.failures:
            self.failures -= 1
            raise SinkError("not today")

    def close(self) -> None:
        pass


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    book = Journal(tmp_path / "j.sqlite")
    yield book
    book.close()


def test_everything_arrives_in_order_across_restarts(journal: Journal) -> None:
    sink = Flaky()
    for start in (0, 100, 200):
        sender = Sender(sink, journal.path)
        sender.start()
        journal.append([event(start + n) for n in range(100)])
        sender.wake()
        assert sender.finish(10)
    assert sink.numbers == list(range(1, 301))


def test_a_failing_sink_gets_the_same_again_and_its_problem_is_known(journal: Journal) -> None:
    sink = Flaky(failures=2)
    sender = Sender(sink, journal.path)
    sender.start()
    journal.append([event(1), event(2)])
    sender.wake()
    eventually(lambda: sender.problem == "not today")
    eventually(lambda: journal.cursor("flaky") == 2)
    assert sender.finish(5)
    assert sender.problem is None
    assert sink.numbers == [1, 2] * 3


def test_what_a_dead_sink_leaves_goes_out_at_the_next_start(journal: Journal) -> None:
    sender = Sender(Flaky(failures=10**9), journal.path)
    sender.start()
    journal.append([event(1)])
    assert finish_all([sender], 0.2) == ["flaky"]
    alive = Flaky()
    sender = Sender(alive, journal.path)
    sender.start()
    assert finish_all([sender], 5.0) == []
    assert alive.numbers == [1]
