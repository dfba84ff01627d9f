"""Processes of this machine. One that dies is replaced, and its shard done again.

Python's own pool breaks as a whole when one of its processes is killed, and cannot tell whose task
it was; here each process has a pipe of its own. A process whose parent is gone leaves by itself.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from listen_embed.bulk.engines import MAX_DEATHS, Work, given_up
from listen_embed.bulk.manifest import ShardRef
from listen_embed.bulk.shard import Report

_GRACE_SECONDS = 5.0


@dataclass
class _Worker:
    """A process, the pipe to it, and what it has in hand."""

    process: SpawnProcess
    pipe: Connection
    task: _Task | None = None


@dataclass
class _Task:
    ref: ShardRef
    n_deaths: int = 0


def run(
    work: Work, shards: Iterable[ShardRef], workers: int, address: str | None = None
) -> Iterator[Report]:
    """See `Engine.run`; there is no address."""
    context = multiprocessing.get_context("spawn")
    tasks = (_Task(ref) for ref in shards)
    again: list[_Task] = []
    crew: list[_Worker] = []
    try:
        while True:
            while len(crew) < workers and (task := _next(again, tasks)):
                crew.append(_started(context, work, task))
            if not crew:
                return
            for worker in _ready(crew):
                report = _received(worker)
                if isinstance(report, Exception):
                    raise report
                if report is None:
                    crew.remove(worker)
                    yield from _after_death(worker, again)
                    continue
                yield report
                worker.task = _next(again, tasks)
                if not _is_given(worker):
                    crew.remove(worker)
                    again.extend([worker.task] if worker.task else [])
                    _dismiss(worker)
    finally:
        for worker in crew:
            _dismiss(worker, is_hasty=True)


def _next(again: list[_Task], tasks: Iterator[_Task]) -> _Task | None:
    return again.pop() if again else next(tasks, None)


def _started(context: SpawnContext, work: Work, task: _Task) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    worker = _Worker(process, ours, task)
    _is_given(worker)  # if it is dead already, waiting for it will tell
    return worker


def _is_given(worker: _Worker) -> bool:
    """Hand over the task; False if there is none, or the process is gone."""
    if worker.task is None:
        return False
    try:
        worker.pipe.send(worker.task.ref)
    except OSError:
        return False
    return True


def _ready(crew: list[_Worker]) -> list[_Worker]:
    """Wait until a worker has answered or is dead."""
    of = {worker.pipe: worker for worker in crew}
    return [of[pipe] for pipe in wait(list(of)) if isinstance(pipe, Connection)]


def _received(worker: _Worker) -> Report | Exception | None:
    """Return a worker's answer; None if it died before it gave one."""
    try:
        answer: Report | Exception = worker.pipe.recv()
    except (EOFError, OSError):
        return None
    return answer


def _after_death(worker: _Worker, again: list[_Task]) -> Iterator[Report]:
    worker.process.join()
    worker.pipe.close()
    task = worker.task
    assert task is not None
    task.n_deaths += 1
    if task.n_deaths < MAX_DEATHS:
        again.append(task)
        return
    yield given_up(
        task.ref,
        f"its worker died {task.n_deaths} times (exit code {worker.process.exitcode}), "
        "perhaps for want of memory; try fewer workers",
    )


def _dismiss(worker: _Worker, is_hasty: bool = False) -> None:
    worker.pipe.close()
    if is_hasty:
        worker.process.terminate()
    worker.process.join(_GRACE_SECONDS)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _serve(pipe: Connection, work: Work) -> None:
    """Do shards until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            ref: Any = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Report | Exception = work(ref)
        except Exception as error:
            answer = error
        try:
            pipe.send(answer)
        except OSError:
            return
