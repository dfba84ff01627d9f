"""Looking at a job: how far it is, whether its parts are what they should be, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from listen_embed.bulk.manifest import Job, Settings, ShardRef
from listen_embed.bulk.parts import Failure, metadata, part_schema
from listen_embed.bulk.place import place
from listen_embed.errors import OutputError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes
    ----------
    n_shards, n_shards_done : int
    n_files, n_files_done : int
        Recordings; those that failed for ever are done, too.
    n_bytes, n_bytes_done : int
    n_failures : int
        Recordings that can never be embedded.
    """

    n_shards: int
    n_shards_done: int
    n_files: int
    n_files_done: int
    n_bytes: int
    n_bytes_done: int
    n_failures: int

    @property
    def is_complete(self) -> bool:
        """Whether every shard has its part."""
        return self.n_shards_done == self.n_shards


def status(job: Job) -> Status:
    """Return how far a job is; costs two listings, and a request for each failure table."""
    done = place(job.url).names("parts")
    shards = list(job.shards())
    finished = [ref for ref in shards if f"{ref.part}.parquet" in done]
    return Status(
        len(shards),
        len(finished),
        sum(ref.n_files for ref in shards),
        sum(ref.n_files for ref in finished),
        sum(ref.n_bytes for ref in shards),
        sum(ref.n_bytes for ref in finished),
        sum(1 for _ in failures(job)),
    )


def failures(job: Job) -> Iterator[Failure]:
    """Yield the recordings that can never be embedded, of the shards that are done."""
    folder = place(job.url)
    with_failures = folder.names("failures") & folder.names("parts")
    for ref in job.shards():
        if f"{ref.part}.parquet" in with_failures:
            yield from _failures_of(job, ref)


def _failures_of(job: Job, ref: ShardRef) -> list[Failure]:
    import pyarrow.parquet

    with place(job.url).open(f"failures/{ref.part}.parquet") as file:
        return [Failure(**row) for row in pyarrow.parquet.read_table(file).to_pylist()]


def problems(job: Job) -> Iterator[str]:
    """Yield what is wrong with a job's parts, each with what to do; nothing if all is well.

    Every recording of a shard must have rows or a failure, and not both; every part must have the
    job's schema, model and digest; no part may be there that the manifest does not know. Parts are
    read through, the embeddings too.
    """
    folder = place(job.url)
    names = folder.names("parts")
    with_failures = folder.names("failures")
    shards = list(job.shards())
    for name in sorted(names - {f"{ref.part}.parquet" for ref in shards}):
        yield f"parts/{name}: the manifest does not know it; remove it"
    for ref in shards:
        name = f"{ref.part}.parquet"
        if name not in names:
            yield f"parts/{name}: is not there yet; run the job again"
            continue
        failed = _failures_of(job, ref) if name in with_failures else []
        for problem in _problems_of(job, ref, [failure.path for failure in failed]):
            yield f"parts/{name}: {problem}; remove it and run the job again"


def _problems_of(job: Job, ref: ShardRef, failed: list[str]) -> Iterator[str]:
    try:
        with open_part(job, ref) as file:
            yield from _wrong_schema(file, job.settings)
            runs = _runs(file)
    except OutputError as error:
        yield str(error)
        return
    expected = [item.url for item in job.items(ref)]
    counts = Counter([*runs, *failed])
    yield from (f"has no rows of {url} and no failure" for url in expected if not counts[url])
    yield from (f"holds {url} {n} times" for url, n in counts.items() if n > 1)
    yield from (f"holds {url}, which is not in the shard" for url in counts.keys() - {*expected})


def _wrong_schema(file: Any, settings: Settings) -> Iterator[str]:
    if not file.schema_arrow.equals(part_schema(settings)):
        yield "has other columns than the job"
    stored = {key.decode(): value.decode() for key, value in file.schema_arrow.metadata.items()}
    if stored.get("digest") != metadata(settings)["digest"]:
        yield "was made by another model"


def _runs(file: Any) -> list[str]:
    """Return the paths in a part, one for each stretch of equal ones."""
    paths: list[str] = []
    for batch in read_batches(file):
        for path in batch.column("path").to_pylist():
            if not paths or paths[-1] != path:
                paths.append(path)
    return paths


def open_part(job: Job, ref: ShardRef) -> pyarrow.parquet.ParquetFile:
    """Return a part, open.

    Raises
    ------
    OutputError
        It is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(place(job.url).open(f"parts/{ref.part}.parquet"))
    except (pyarrow.ArrowException, OSError) as error:
        raise OutputError(f"is damaged ({error})") from error


def read_batches(file: pyarrow.parquet.ParquetFile) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of a part, a row group at a time.

    Raises
    ------
    OutputError
        It is damaged.
    """
    import pyarrow

    try:
        for number in range(file.num_row_groups):
            yield from file.read_row_group(number).to_batches()
    except (pyarrow.ArrowException, OSError) as error:
        raise OutputError(f"is damaged ({error})") from error
