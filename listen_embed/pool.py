"""The one pool of worker processes: results in the order of the tasks, and a clean end to all.

Whoever stops listening, Ctrl-C, and this process's death all stop the workers, which unwind and so
remove what they had half written.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from listen_embed.errors import ListenEmbedError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.connection import Connection

Task = TypeVar("Task")
Result = TypeVar("Result")

# Tasks under way, waiting, or waiting to be taken, for each process: enough to keep it busy.
_IN_FLIGHT = 2
_LOOK_SECONDS = 0.2


def in_order(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    n_processes: int,
    *,
    ahead: int | None = None,
    begin: Callable[[], None] | None = None,
) -> Iterator[tuple[Task, Result]]:
    """Yield every task with its result, made by worker processes.

    Parameters
    ----------
    work : callable
        A module's function, or a `functools.partial` of one; it, tasks and results can be pickled.
        An error of it is raised here.
    tasks : iterable
        Taken as they are needed.
    n_processes : int
        At least 1.
    ahead : int, optional
        Tasks handed over before the oldest result is taken; by default two for each process.
    begin : callable, optional
        Called once in each process, before its first task.

    Raises
    ------
    ListenEmbedError
        A process died.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    # Closing our end tells the workers to stop, and so does our death.
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(n_processes, context, _begin, (theirs, begin))
    under_way: deque[tuple[Task, Future[Result]]] = deque()
    with theirs, ours:
        try:
            for task in tasks:
                if len(under_way) >= (ahead or _IN_FLIGHT * n_processes):
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
    pool: ProcessPoolExecutor, work: Callable[[Task], Result], task: Task
) -> Future[Result]:
    """Hand over a task; a process started for it is born deaf to Ctrl-C, which is handled here."""
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(_reply, work, task)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_reply, work, task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _taken(task: Task, future: Future[Result]) -> tuple[Task, Result]:
    from concurrent.futures.process import BrokenProcessPool

    try:
        return task, future.result()
    except BrokenProcessPool as error:
        raise ListenEmbedError(
            f"{task}: a worker process ended abruptly, perhaps for want of memory; "
            "try again with fewer jobs"
        ) from error


class _Worker:
    """What a worker process knows of itself."""

    is_busy = False
    is_stopped = False


def use_one_thread() -> None:
    """Keep a worker on its one core, as `begin`; the others have their own."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")


def _begin(stop: Connection, begin: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_await_stop, args=(stop,), daemon=True).start()
    if begin is not None:
        begin()


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


def _reply(work: Callable[[Task], Result], task: Task) -> Result:
    _Worker.is_busy = True
    try:
        # Tasks that were handed over before the stop still come after it.
        if _Worker.is_stopped:
            sys.exit()
        return work(task)
    finally:
        _Worker.is_busy = False
