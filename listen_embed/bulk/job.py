"""A whole job: what is left to do, doing it, and looking at what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from listen_embed.bulk.engines import engine
from listen_embed.bulk.manifest import Dtype, Job, Settings, ShardRef
from listen_embed.bulk.place import place
from listen_embed.bulk.shard import Report, embed_shard
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError


def settings_of(
    embedder: Embedder, model: str, dtype: Dtype = "float32", max_seconds: float = 0.0
) -> Settings:
    """Return the settings of a job that embeds as `embedder` does, frames from time 0 on."""
    from listen_embed.output import package_version

    return Settings(
        model=model,
        digest=embedder.digest,
        emb_dim=embedder.spec.emb_dim,
        hop_size=embedder.hop_size,
        frame_seconds=embedder.spec.front_end.frame_seconds,
        dtype=dtype,
        max_seconds=max_seconds,
        version=package_version(),
    )


@dataclass(frozen=True)
class Slice:
    """Every `n`-th shard from the `i`-th on: one task of an array job.

    Parameters
    ----------
    i, n : int
        ``0 <= i < n``.
    """

    i: int = 0
    n: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.i < self.n:
            raise InputError(f"shard is {self.i}/{self.n}; allowed are 0/{self.n} to "
                             f"{self.n - 1}/{self.n}")  # fmt: skip

    def of(self, shards: Iterable[ShardRef]) -> Iterator[ShardRef]:
        """Yield those of the shards that are meant."""
        return (ref for number, ref in enumerate(shards) if number % self.n == self.i)


def left_to_do(job: Job, slice_: Slice | None = None) -> list[ShardRef]:
    """Return the shards without a part."""
    done = place(job.url).names("parts")
    shards = (slice_ or Slice()).of(job.shards())
    return [ref for ref in shards if f"{ref.part}.parquet" not in done]


def run(
    job: Job,
    shards: Iterable[ShardRef],
    *,
    engine_name: str = "local",
    workers: int = 1,
    address: str | None = None,
    tell: Callable[[Report], object] = lambda report: None,
) -> list[Report]:
    """Do shards; return the reports of those that could not be done.

    Parameters
    ----------
    job : Job
    shards : iterable of ShardRef
        Usually `left_to_do`.
    engine_name : {"local", "ray", "dask"}
    workers : int
        Processes that work at a time.
    address : str, optional
        A cluster of Ray's or Dask's that runs already.
    tell : callable
        Given each report as it comes.

    Raises
    ------
    InputError
        No such engine; or a worker's model is not the job's.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; allowed are whole numbers from 1")
    chosen = engine(engine_name)
    sweep(job)
    failed = []
    for report in chosen.run(partial(embed_shard, job), shards, workers, address):
        tell(report)
        if report.error:
            failed.append(report)
    sweep(job)
    return failed


def sweep(job: Job) -> int:
    """Remove what dead processes left unfinished; return how many files that were."""
    return sum(place(job.url).sweep(folder) for folder in ("parts", "failures"))
