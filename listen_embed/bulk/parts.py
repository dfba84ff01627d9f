"""Parts: the Parquet files that shards become, and how to read them again.

Columns: ``path`` string, ``start`` and ``end`` float64 in seconds, ``embedding`` a list of fixed
size (float32, or float16, or int8 with a ``scale``: value = scale * int8). The schema's metadata
tells model, digest, version and hop.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from listen_embed.bulk.manifest import Settings

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

# Values of a row group: 4 MB of float32.
GROUP_VALUES = 1 << 20


@dataclass(frozen=True)
class Failure:
    """A recording that can never be embedded.

    Attributes
    ----------
    path : str
    size : int
    error : str
        Name of the error: ``AudioFileError``, ``InputError``.
    message : str
    """

    path: str
    size: int
    error: str
    message: str


def part_schema(settings: Settings) -> pyarrow.Schema:
    """Return the schema of a job's parts."""
    import pyarrow

    value = {
        "float32": pyarrow.float32(),
        "float16": pyarrow.float16(),
        "int8": pyarrow.int8(),
    }[settings.dtype]
    columns = [
        ("path", pyarrow.string()),
        ("start", pyarrow.float64()),
        ("end", pyarrow.float64()),
        ("embedding", pyarrow.list_(value, settings.emb_dim)),
    ]
    if settings.dtype == "int8":
        columns.append(("scale", pyarrow.float32()))
    return pyarrow.schema(columns, metadata=metadata(settings))


def metadata(settings: Settings) -> dict[str, str]:
    """Return what a part's schema tells."""
    return {key: str(value) for key, value in asdict(settings).items()}


def failure_schema() -> pyarrow.Schema:
    """Return the schema of a failure table."""
    import pyarrow

    text = pyarrow.string()
    return pyarrow.schema(
        [("path", text), ("size", pyarrow.int64()), ("error", text), ("message", text)]
    )


def write_failures(file: IO[bytes], failures: list[Failure]) -> None:
    """Write a failure table."""
    import pyarrow
    import pyarrow.parquet

    rows = pyarrow.Table.from_pylist([asdict(failure) for failure in failures], failure_schema())
    pyarrow.parquet.write_table(rows, file)


class PartWriter:
    """Writes rows in groups; the rows of a recording come one after the other.

    Parameters
    ----------
    file : file
    settings : Settings
    """

    def __init__(self, file: IO[bytes], settings: Settings) -> None:
        import pyarrow.parquet

        self._settings = settings
        self._schema = part_schema(settings)
        options = {"use_dictionary": ["path"], "compression": "zstd"}
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema, **options)
        self._rows: list[tuple[str, NDArray[np.float32], NDArray[np.float64]]] = []
        self._n_kept = 0
        self._n_begun = 0
        self._has_written_begun = False
        self.n_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, path: str, embedding: NDArray[np.float32], starts: NDArray[np.float64]) -> None:
        """Add rows of a recording that is not finished yet."""
        if len(starts):
            self._rows.append((path, embedding, starts))
            self._n_kept += embedding.size
            self._n_begun += 1
        if self._n_kept >= GROUP_VALUES:
            self._flush()
            self._has_written_begun = self._n_begun > 0

    def finish(self) -> None:
        """Keep the rows of the recording."""
        self._n_begun = 0
        self._has_written_begun = False

    def drop(self) -> bool:
        """Forget the rows of the recording; False if some of them are written already."""
        if self._has_written_begun:
            return False
        dropped = self._rows[len(self._rows) - self._n_begun :]
        del self._rows[len(self._rows) - self._n_begun :]
        self._n_kept -= sum(embedding.size for _, embedding, _ in dropped)
        self._n_begun = 0
        return True

    def _flush(self) -> None:
        if self._rows:
            table = self._table()
            self._writer.write_table(table, row_group_size=len(table))
            self.n_rows += len(table)
            self._rows, self._n_kept = [], 0

    def _table(self) -> pyarrow.Table:
        import pyarrow

        embedding = np.concatenate([embedding for _, embedding, _ in self._rows])
        starts = np.concatenate([starts for _, _, starts in self._rows])
        paths = [path for path, _, starts in self._rows for _ in starts]
        stored, scales = as_stored(embedding, self._settings.dtype)
        flat = pyarrow.array(np.ascontiguousarray(stored).reshape(-1))
        columns: list[Any] = [
            pyarrow.array(paths),
            pyarrow.array(starts),
            pyarrow.array(starts + self._settings.frame_seconds),
            pyarrow.FixedSizeListArray.from_arrays(flat, self._settings.emb_dim),
        ]
        if scales is not None:
            columns.append(pyarrow.array(scales))
        return pyarrow.table(columns, schema=self._schema)


def as_stored(
    embedding: NDArray[np.float32], dtype: str
) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Return embeddings in the dtype that is stored, and the scale of each row for int8."""
    if dtype != "int8":
        return embedding.astype(dtype), None
    scales = np.maximum(np.abs(embedding).max(axis=1), 1e-30) / 127
    return np.rint(embedding / scales[:, None]).astype(np.int8), scales.astype(np.float32)


def as_float(batch: pyarrow.RecordBatch) -> NDArray[np.float32]:
    """Return the embeddings of stored rows, float32 (n, emb_dim)."""
    column = batch.column("embedding")
    stored = np.asarray(column.flatten()).reshape(len(column), -1).astype(np.float32)
    if "scale" in batch.schema.names:
        stored *= np.asarray(batch.column("scale"))[:, None]
    return stored
