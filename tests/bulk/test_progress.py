"""How far a job is, with and without a terminal."""

from __future__ import annotations

import io

from listen_embed.bulk.progress import Progress
from listen_embed.bulk.shard import Report


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_each_minute() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(1_000, 200, stream, clock) as progress:
        for _ in range(6):
            clock.now += 25
            progress.tell(Report("p", 50, n_rows=500, n_failures=1))
        assert len(stream.getvalue().splitlines()) == 2
        clock.now += 60
        progress.tell(Report("p", 50, error="StorageError: down"))
    lines = stream.getvalue().splitlines()
    assert lines[0] == (
        "350 of 1,000 files (35.0%), 2.0 files/s, 0:05:25 left, 1,500 rows, 3 bad files"
    )
    assert lines[2].endswith("3,000 rows, 6 bad files, 1 shards not done")
    assert len(lines) == 4


def test_days_are_left() -> None:
    clock = Clock()
    progress = Progress(10_000_000, 0, io.StringIO(), clock)
    clock.now = 3_600
    progress.tell(Report("p", 36_000))
    assert "11 days 12:46:40 left" in progress.line()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    with Progress(100, 20, stream) as progress:
        progress.tell(Report("p", 50, n_failures=2))
        progress.tell(Report("p", 30, error="down"))
    assert "70/100" in stream.getvalue()
    assert "2 bad files, 1 shards not done" in stream.getvalue()
