"""Work on many sound files in order, in this process or several, each with its own embedder.

In: tasks, and a function of an embedder and a task. Out: each task with its result or its error, in
the order of the tasks. Left to others: what the work is (`listen_embed.files`, the command line).
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from numbers import Integral
from typing import Any, TypeVar

from listen_embed import pool, registry, store
from listen_embed.embedder import DEFAULT_HOP, Embedded, Embedder, PathLike
from listen_embed.errors import (
    AudioFileError,
    InputError,
    ListenEmbedError,
    taking_warnings,
    warn,
)
from listen_embed.progress import Progress, Unseen

Task = TypeVar("Task")
Result = TypeVar("Result")
# Called with the seconds of the current file that are done.
Reach = Callable[[float], None]
Work = Callable[[Embedder, Task, Reach], Result]
# A worker's result, and the texts of the warnings on the way to it.
_Reply = tuple[Result | ListenEmbedError, list[str]]

# Warnings of one kind that are told one by one.
_SHOWN_OF_A_KIND = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What makes an `Embedder`, in this process or another; see there.

    Parameters
    ----------
    hush : bool
        Drop LiteRT's notes on standard error: only for programs of ours, which own that stream.
    """

    model_type: PathLike | None = None
    emb_dim: int | None = None
    variant: str | None = None
    hop_size: float = DEFAULT_HOP
    center: bool = True
    frame_size: float | None = None
    threads: int | None = None
    hush: bool = False

    def load(self, progress: bool = False) -> Embedder:
        """Return the embedder; `progress` shows a bar if its model must be downloaded."""
        if not self.hush:
            return self._load(progress)
        spec = registry.find(self.model_type, self.emb_dim, self.variant)
        if spec.has_network:
            store.fetch(spec, progress)
        with _hushed():
            return self._load(progress=False)

    def _load(self, progress: bool) -> Embedder:
        return Embedder(
            self.model_type,
            self.emb_dim,
            variant=self.variant,
            hop_size=self.hop_size,
            center=self.center,
            frame_size=self.frame_size,
            threads=self.threads,
            progress=progress,
        )


def check_jobs(jobs: Any) -> int:
    """Return a number of processes, 0 being one per core, or raise `InputError`."""
    if isinstance(jobs, bool) or not isinstance(jobs, Integral) or jobs < 0:
        raise InputError(f"jobs is {jobs!r}; allowed are whole numbers, 0 meaning one per core")
    return int(jobs) or os.cpu_count() or 1


def reaching(pieces: Iterable[Embedded], reach: Reach) -> Iterator[Embedded]:
    """Yield pieces unchanged, telling how far they are."""
    for embedding, timestamps in pieces:
        if len(timestamps):
            reach(float(timestamps[-1]))
        yield embedding, timestamps


def in_order(
    work: Work[Task, Result],
    tasks: Iterable[Task],
    embedder: Embedder,
    options: Options,
    jobs: int,
    progress: Progress,
) -> Iterator[tuple[Task, Result | ListenEmbedError]]:
    """Yield every task with its result, or with the error of this package that ended it.

    Parameters
    ----------
    work : callable
        Given an embedder, a task, and a function to tell how far it is. With several processes it
        is a module's function, and tasks and results can be pickled.
    tasks : iterable
        Taken as they are needed.
    embedder : Embedder
        Made from `options`; used if there is one process.
    jobs : int
        Processes, at least 1. A model is loaded once in each.
    """
    if jobs == 1:
        replies = _here(work, tasks, embedder, progress)
    else:
        replies = _in_processes(work, tasks, options, jobs)
    summary = _Summary()
    for task, (result, messages) in replies:
        summary.tell(messages)
        progress.finish_file()
        yield task, result
    summary.finish()


class _Summary:
    """Warns as often as a reader reads on, and counts the rest."""

    def __init__(self) -> None:
        self._n_of: Counter[str] = Counter()

    def tell(self, messages: Iterable[str]) -> None:
        for message in messages:
            kind = self._kind(message)
            self._n_of[kind] += 1
            if self._n_of[kind] <= _SHOWN_OF_A_KIND:
                warn(message)

    def finish(self) -> None:
        for kind, n in self._n_of.items():
            if n > _SHOWN_OF_A_KIND:
                warn(f"{n - _SHOWN_OF_A_KIND} more files, {n} in all, with this warning: {kind}")

    @staticmethod
    def _kind(message: str) -> str:
        """Return a warning's last clause, which names no file."""
        return re.split(r"[:;] ", message)[-1]


def _here(
    work: Work[Task, Result], tasks: Iterable[Task], embedder: Embedder, progress: Progress
) -> Iterator[tuple[Task, _Reply[Result]]]:
    for task in tasks:
        yield task, _attempt_with_warnings(work, embedder, task, progress.reach)


def _attempt_with_warnings(
    work: Work[Task, Result], embedder: Embedder, task: Task, reach: Reach
) -> _Reply[Result]:
    messages: list[str] = []
    with taking_warnings(messages.append):
        return _attempt(work, embedder, task, reach), messages


def _attempt(
    work: Work[Task, Result], embedder: Embedder, task: Task, reach: Reach
) -> Result | ListenEmbedError:
    try:
        return work(embedder, task, reach)
    except ListenEmbedError as error:
        return error
    except BrokenPipeError:
        raise
    except (OSError, UnicodeError) as error:  # a disk that fails, a name that is no text
        return AudioFileError(str(error))


def _in_processes(
    work: Work[Task, Result], tasks: Iterable[Task], options: Options, jobs: int
) -> Iterator[tuple[Task, _Reply[Result]]]:
    options = dataclasses.replace(options, threads=options.threads or 1, hush=True)
    return pool.in_order(partial(_there, work, options), tasks, jobs)


def _there(work: Work[Task, Result], options: Options, task: Task) -> _Reply[Result]:
    return _attempt_with_warnings(work, _worker_embedder(options), task, Unseen().reach)


@lru_cache(maxsize=1)
def _worker_embedder(options: Options) -> Embedder:
    """Return a worker process's embedder, loaded for its first task."""
    return options.load()


@contextmanager
def _hushed() -> Iterator[None]:
    """Drop the notes that LiteRT writes to file descriptor 2, and pass everything else on.

    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU." has no switch: the logger's severity
    cannot be reached from Python, and no environment variable is read.
    """
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            notes.seek(0)
            os.write(2, b"".join(line for line in notes if not line.startswith(b"INFO: ")))
