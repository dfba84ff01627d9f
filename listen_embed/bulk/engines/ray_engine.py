"""Ray: a task for every shard. Ray keeps its processes, so each loads the model once.

Tasks, not actors: actors that take every CPU leave none for anything else of the cluster. A process
that dies is replaced by Ray, and its task done again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from listen_embed.bulk.engines import IN_FLIGHT, MAX_DEATHS, Work, given_up
from listen_embed.bulk.manifest import ShardRef
from listen_embed.bulk.shard import Report


def run(
    work: Work, shards: Iterable[ShardRef], workers: int, address: str | None = None
) -> Iterator[Report]:
    """See `Engine.run`."""
    queue = iter(shards)
    with _connected(workers, address):
        shared = ray.put(work)
        task = ray.remote(num_cpus=1, max_retries=MAX_DEATHS)(_do)
        under_way: dict[Any, ShardRef] = {}
        while True:
            for ref in islice(queue, IN_FLIGHT * workers - len(under_way)):
                under_way[task.remote(shared, ref)] = ref
            if not under_way:
                return
            (done,), _ = ray.wait(list(under_way), num_returns=1)
            yield _result(done, under_way.pop(done))


def _do(work: Work, ref: ShardRef) -> Report:
    return work(ref)


def _result(done: Any, ref: ShardRef) -> Report:
    try:
        report: Report = ray.get(done)
    except RayTaskError as error:
        raise error.as_instanceof_cause() from error
    except RayError as error:
        return given_up(ref, f"its worker died too often ({type(error).__name__})")
    return report


@contextmanager
def _connected(workers: int, address: str | None) -> Iterator[None]:
    """Join a cluster, or have one of this machine's for as long as it takes."""
    if ray.is_initialized():
        yield
        return
    size = {} if address else {"num_cpus": workers, "include_dashboard": False}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address or "local", logging_level=logging.WARNING, log_to_driver=False, **size)
    try:
        yield
    finally:
        ray.shutdown()
