"""Dask: a future for every shard, one thread in each process.

A process that dies is replaced by its nanny, and its futures done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice

import dask
from distributed import Client, KilledWorker, LocalCluster, as_completed

from listen_embed.bulk.engines import IN_FLIGHT, MAX_DEATHS, Work, given_up
from listen_embed.bulk.manifest import ShardRef
from listen_embed.bulk.shard import Report

# Dask looks at every worker's stack a hundred times a second, and at its memory; neither is needed.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.scheduler.allowed-failures": MAX_DEATHS,
    "distributed.worker.memory.terminate": False,
}


def run(
    work: Work, shards: Iterable[ShardRef], workers: int, address: str | None = None
) -> Iterator[Report]:
    """See `Engine.run`."""
    queue = iter(shards)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_QUIET))
        client = stack.enter_context(_client(stack, workers, address))
        under_way = {
            client.submit(work, ref, pure=False): ref for ref in islice(queue, IN_FLIGHT * workers)
        }
        results = as_completed(list(under_way))
        for future in results:
            yield _result(future, under_way.pop(future))
            for ref in islice(queue, 1):
                later = client.submit(work, ref, pure=False)
                under_way[later] = ref
                results.add(later)


def _result(future: object, ref: ShardRef) -> Report:
    try:
        report: Report = future.result()  # type: ignore[attr-defined]
    except KilledWorker as error:
        return given_up(ref, f"its worker died too often ({type(error).__name__})")
    return report


def _client(stack: ExitStack, workers: int, address: str | None) -> Client:
    if address:
        return Client(address)
    cluster = stack.enter_context(
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=50,
        )
    )
    return Client(cluster)
