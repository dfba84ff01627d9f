"""Work on many sound files in order, in this process or several, each with its own embedder.

In: tasks, and a function of an embedder and a task. Out: each task with its result or its error, in
the order of the tasks. Left to others: what the work is (`listen_embed.files`, the command line).
"""

from __future__ import annotations

import _thread
import dataclasses
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

from listen_embed import registry, store
from listen_embed.embedder import DEFAULT_HOP, Embedded, Embedder, PathLike
from listen_embed.errors import (
    AudioFileError,
    InputError,
    ListenEmbedError,
    taking_warnings,
    warn,
)
from listen_embed.progress import Progress, Unseen

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.connection import Connection

Task = TypeVar("Task")
Result = TypeVar("Result")
# Called with the seconds of the current file that are done.
Reach = Callable[[float], None]
Work = Callable[[Embedder, Task, Reach], Result]
# A worker's result, and the texts of the warnings on the way to it.
_Reply = tuple[Result | ListenEmbedError, list[str]]

# Tasks under way, waiting, or waiting to be taken, for each process: enough to keep it busy.
_IN_FLIGHT = 2
_LOOK_SECONDS = 0.2
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
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    # Closing our end tells the workers to stop, and so does our death.
    theirs, ours = context.Pipe(duplex=False)
    options = dataclasses.replace(options, threads=options.threads or 1, hush=True)
    pool = ProcessPoolExecutor(jobs, context, _begin, (options, theirs))
    under_way: deque[tuple[Task, Future[_Reply[Result]]]] = deque()
    with theirs, ours:
        try:
            for task in tasks:
                if len(under_way) >= _IN_FLIGHT * jobs:
                    yield _taken(*under_way.popleft())
                under_way.append((task, _submit(pool, work, task)))
            while under_way:
                yield _taken(*under_way.popleft())
        except BaseException:
            ours.close()
            raise
        finally:
            # Workers that were stopped are waited for, too: they tidy up after themselves.
            pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, work: Work[Task, Result], task: Task
) -> Future[_Reply[Result]]:
    """Hand over a task; a process started for it is born deaf to Ctrl-C, which is handled here."""
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(_reply, work, task)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_reply, work, task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _taken(task: Task, future: Future[_Reply[Result]]) -> tuple[Task, _Reply[Result]]:
    from concurrent.futures.process import BrokenProcessPool

    try:
        return task, future.result()
    except BrokenProcessPool as error:
        raise ListenEmbedError(
            f"{task}: a worker process ended abruptly, perhaps for want of memory; "
            "try again with fewer jobs"
        ) from error


class _Worker:
    """What a worker process keeps between tasks."""

    options: Options
    embedder: Embedder | None = None
    is_busy = False
    is_stopped = False


def _begin(options: Options, stop: Connection) -> None:
    _Worker.options = options
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_await_stop, args=(stop,), daemon=True).start()


def _await_stop(stop: Connection) -> None:
    """End the task at hand when the other end is closed, and an orphaned process altogether."""
    import multiprocessing

    stop.poll(None)
    _Worker.is_stopped = True
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        _thread.interrupt_main(signal.SIGTERM)
    parent = multiprocessing.parent_process()
    while _Worker.is_busy or (parent is not None and parent.is_alive()):
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _leave(number: int, frame: object) -> None:
    """Unwind, so that unfinished files are removed.

    Between tasks there are none, and an error there would break the queue for the other workers.
    """
    if _Worker.is_busy:
        sys.exit(128 + number)
    if not _Worker.is_stopped:
        os._exit(128 + number)


def _reply(work: Work[Task, Result], task: Task) -> _Reply[Result]:
    _Worker.is_busy = True
    try:
        # Tasks that were handed over before the stop still come after it.
        if _Worker.is_stopped:
            sys.exit()
        if _Worker.embedder is None:
            _Worker.embedder = _Worker.options.load()
        return _attempt_with_warnings(work, _Worker.embedder, task, Unseen().reach)
    finally:
        _Worker.is_busy = False


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
