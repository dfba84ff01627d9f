"""Many parts -> few large Parquet files, a row group in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from listen_embed.bulk.inspection import failures, open_part, read_batches, status
from listen_embed.bulk.manifest import Job
from listen_embed.bulk.parts import part_schema, write_failures
from listen_embed.bulk.place import place
from listen_embed.errors import InputError

if TYPE_CHECKING:
    import pyarrow

ROWS_IN_FILE = 1_000_000


def compact(job: Job, target: str, rows_in_file: int = ROWS_IN_FILE) -> list[str]:
    """Write a finished job's rows into few files; return their names.

    Parameters
    ----------
    job : Job
    target : str
        URL of a folder: ``embeddings-00000.parquet`` and so on, and ``failures.parquet``. The
        order of the rows is the manifest's, so doing it again writes the same files.
    rows_in_file : int
        A file is begun anew after so many rows.

    Raises
    ------
    InputError
        The job is not finished, or the folder holds other Parquet files.
    """
    if not status(job).is_complete:
        raise InputError(f"{job.url}: is not finished; run it to its end first")
    if rows_in_file < 1:
        raise InputError(f"rows in a file are {rows_in_file}; allowed are whole numbers from 1")
    folder = place(target)
    before = {name for name in folder.names("") if name.endswith(".parquet")}
    written: list[str] = []
    batches = _batches(job)
    batch = next(batches, None)
    while batch is not None:
        name = f"embeddings-{len(written):05d}.parquet"
        batch = _write_file(folder, name, part_schema(job.settings), batch, batches, rows_in_file)
        written.append(name)
    with folder.writing("failures.parquet") as file:
        write_failures(file, list(failures(job)))
    for name in before - {*written, "failures.parquet"}:
        if name.startswith("embeddings-"):
            folder.remove(name)  # of an earlier time, with smaller files
    return written


def _write_file(
    folder: Any,
    name: str,
    schema: pyarrow.Schema,
    batch: pyarrow.RecordBatch | None,
    batches: Iterator[pyarrow.RecordBatch],
    n_rows: int,
) -> pyarrow.RecordBatch | None:
    """Write batches until there are enough rows; return the first one of the next file."""
    import pyarrow.parquet

    with ExitStack() as stack:
        file = stack.enter_context(folder.writing(name))
        options = {"use_dictionary": ["path"], "compression": "zstd"}
        writer = stack.enter_context(pyarrow.parquet.ParquetWriter(file, schema, **options))
        while batch is not None and n_rows > 0:
            writer.write_batch(batch)
            n_rows -= len(batch)
            batch = next(batches, None)
    return batch


def _batches(job: Job) -> Iterator[pyarrow.RecordBatch]:
    for ref in job.shards():
        with open_part(job, ref) as file:
            yield from read_batches(file)
