"""How far a job is, for a person who waits: a bar on a terminal, else a line each minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

from listen_embed.bulk.shard import Report

_LINE_SECONDS = 60.0


class Progress:
    """Told of every shard; used as a context.

    Parameters
    ----------
    n_files, n_done : int
        Recordings in all, and those that were done before.
    stream : text file
        Where to write; its being a terminal decides how.
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        n_files: int,
        n_done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._n_files = n_files
        self._n_before = n_done
        self._n_new = self._n_rows = self._n_failures = self._n_errors = 0
        self._stream = stream or sys.stderr
        self._clock = clock
        self._start = self._told_at = clock()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._n_files, initial=self._n_before, file=self._stream, unit=" files"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._n_new:
            self._say()

    def tell(self, report: Report) -> None:
        """Take note of a shard."""
        if report.error:
            self._n_errors += 1
        else:
            self._n_new += report.n_files
            self._n_rows += report.n_rows
            self._n_failures += report.n_failures
        if self._bar is not None:
            self._bar.set_postfix_str(self._failures(), refresh=False)
            self._bar.update(0 if report.error else report.n_files)
        elif self._clock() - self._told_at >= _LINE_SECONDS:
            self._told_at = self._clock()
            self._say()

    def line(self) -> str:
        """Return how far the job is."""
        n_done = self._n_before + self._n_new
        rate = self._n_new / max(1e-9, self._clock() - self._start)
        left = (self._n_files - n_done) / rate if rate else 0.0
        return (
            f"{n_done:,} of {self._n_files:,} files ({n_done / max(1, self._n_files):.1%}), "
            f"{rate:.1f} files/s, {_duration(left)} left, {self._n_rows:,} rows, {self._failures()}"
        )

    def _failures(self) -> str:
        text = f"{self._n_failures} bad files"
        return f"{text}, {self._n_errors} shards not done" if self._n_errors else text

    def _say(self) -> None:
        print(self.line(), file=self._stream, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{days} days {clock}" if days else clock
