"""Engines: each takes work and shards, and yields reports as they come; a page each.

All give a shard to another worker when one dies, keep a few shards in flight for each worker, and
hold no result longer than it takes to yield it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from listen_embed.bulk.manifest import ShardRef
from listen_embed.bulk.shard import Report
from listen_embed.errors import InputError, MissingExtraError

Work = Callable[[ShardRef], Report]

# Engine -> its module and the package that its extra, of the same name, brings.
ENGINES = {"local": "", "ray": "ray", "dask": "distributed"}
# Times that a shard may take its worker down before it is given up.
MAX_DEATHS = 4
# Shards in flight for each worker: one under way, one waiting.
IN_FLIGHT = 2


class Engine(Protocol):
    """What an engine's module has."""

    def run(
        self, work: Work, shards: Iterable[ShardRef], workers: int, address: str | None
    ) -> Iterator[Report]:
        """Yield a report for every shard, in any order.

        Parameters
        ----------
        work : callable
            Can be pickled.
        shards : iterable of ShardRef
            Taken as they are needed.
        workers : int
            Processes that work at a time.
        address : str or None
            A cluster that runs already; None starts one on this machine.
        """


def engine(name: str) -> Engine:
    """Return an engine by its name.

    Raises
    ------
    InputError
        No such engine.
    MissingExtraError
        Its package is not installed.
    """
    if name not in ENGINES:
        raise InputError(f"engine is {name!r}; allowed are {', '.join(ENGINES)}")
    try:
        if ENGINES[name]:
            importlib.import_module(ENGINES[name])
    except ImportError as error:
        raise MissingExtraError(
            f"the engine {name} needs {ENGINES[name]}, not installed here. "
            f'Install with: pip install "listen-embed[bulk,{name}]"'
        ) from error
    module: Engine = importlib.import_module(f"listen_embed.bulk.engines.{name}_engine")
    return module


def given_up(ref: ShardRef, why: str) -> Report:
    """Return the report of a shard that no worker survives."""
    return Report(ref.part, ref.n_files, error=why)
