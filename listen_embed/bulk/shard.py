"""One shard: its recordings in, its part out. Knows no engine; doing it again changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from listen_embed.batch import Options
from listen_embed.bulk.manifest import Item, Job, Settings, ShardRef
from listen_embed.bulk.parts import Failure, PartWriter, write_failures
from listen_embed.bulk.place import Place, place
from listen_embed.bulk.reading import ATTEMPTS, StorageError, blocks, patiently
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError, ListenEmbedError


@dataclass(frozen=True)
class Report:
    """What became of a shard.

    Attributes
    ----------
    part : str
    n_files, n_rows, n_failures : int
        `n_failures` of the `n_files` recordings can never be embedded.
    error : str
        Why it is not done; empty if it is.
    """

    part: str
    n_files: int
    n_rows: int = 0
    n_failures: int = 0
    error: str = ""


def embed_shard(job: Job, ref: ShardRef) -> Report:
    """Embed a shard's recordings and write its part; what engines hand out.

    A recording that is bad for ever goes into the failure table. A storage that fails fails the
    shard, which the next run does again.

    Returns
    -------
    Report
        With `error` for what belongs to this shard alone.

    Raises
    ------
    InputError
        This worker's model is not the job's: no shard can be done here.
    """
    embedder = _embedder(job.settings)
    try:
        return _written(job, ref, embedder, job.items(ref))
    except Exception as error:  # storages raise what they like; the other shards go on
        return Report(ref.part, ref.n_files, error=f"{type(error).__name__}: {error}")


def _written(job: Job, ref: ShardRef, embedder: Embedder, items: list[Item]) -> Report:
    """Write the part; begin anew when what a bad recording gave before its end is in it."""
    failures: dict[str, Failure] = {}
    for _ in range(len(items) + ATTEMPTS):
        try:
            n_rows = _write_part(job, ref, embedder, items, failures)
            return Report(ref.part, len(items), n_rows, len(failures))
        except _PartlyWritten as partly:
            error = partly
    raise StorageError(f"the storage fails again and again ({error.__cause__})")


def _write_part(
    job: Job, ref: ShardRef, embedder: Embedder, items: list[Item], failures: dict[str, Failure]
) -> int:
    """Write failures first: the part's being there says that the shard is done."""
    folder = place(job.url)
    with folder.writing(f"parts/{ref.part}.parquet") as file:
        with PartWriter(file, job.settings) as writer:
            for item in items:
                if item.url not in failures:
                    _embed(item, embedder, job.settings, writer, failures)
        _write_failures(folder, f"failures/{ref.part}.parquet", list(failures.values()))
    return writer.n_rows


def _write_failures(folder: Place, name: str, failures: list[Failure]) -> None:
    if failures:
        with folder.writing(name) as file:
            write_failures(file, failures)
    elif folder.exists(name):
        folder.remove(name)  # of an attempt that died, when a recording was not there


class _PartlyWritten(Exception):
    """A recording failed when some of its rows were in the file already."""


def _embed(
    item: Item,
    embedder: Embedder,
    settings: Settings,
    writer: PartWriter,
    failures: dict[str, Failure],
) -> None:
    def attempt() -> None:
        try:
            _add_rows(item, embedder, settings, writer)
        except ListenEmbedError as error:
            if not isinstance(error, StorageError):
                name, message = type(error).__name__, str(error)
                failures[item.url] = Failure(item.url, item.size, name, message)
            if not writer.drop():
                raise _PartlyWritten from error
            raise

    try:
        patiently(attempt, item.url)
        writer.finish()
    except ListenEmbedError:
        if item.url not in failures:
            raise


def _add_rows(item: Item, embedder: Embedder, settings: Settings, writer: PartWriter) -> None:
    stream = None
    n_samples = 0
    for block, sr in blocks(item):
        stream = stream or embedder.stream(sr)
        n_samples += len(block)
        if settings.max_seconds and n_samples > settings.max_seconds * sr:
            raise InputError(f"{item.url}: lasts longer than {settings.max_seconds:g} s")
        writer.add(item.url, *stream.push(block))
    if stream is not None:
        writer.add(item.url, *stream.push(np.zeros(0, np.float32), last=True))


@lru_cache(maxsize=1)
def _embedder(settings: Settings) -> Embedder:
    """Return the model, loaded once in a process."""
    embedder = Options(
        model_type=settings.model,
        hop_size=settings.hop_size,
        center=False,
        threads=1,
        hush=True,
    ).load()
    if embedder.digest != settings.digest:
        raise InputError(
            f"{settings.model}: the job was made with digest {settings.digest[:12]}, here it is "
            f"{embedder.digest[:12]}; install the same version of listen-embed everywhere"
        )
    return embedder
