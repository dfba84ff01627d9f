"""Embeddings on disk: .npz, .npy, .csv and .parquet, written piece by piece, put in place at once.

Every format takes pieces as they are made, so memory does not grow with the length of the sound;
`replacing` lets a file appear only when it is complete.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from listen_embed.atomic import replacing as replacing
from listen_embed.errors import InputError, MissingExtraError

Format = Literal["npz", "npy", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
Pieces = Iterable[tuple[NDArray[np.float32], NDArray[np.float64]]]
TableRows = Iterable[tuple[str, NDArray[np.float32]]]

# Values of a parquet row group: 1 MB, large enough to read fast, small enough to hold.
_VALUES_IN_GROUP = 1 << 18
_NPY_HEADER_BYTES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What made the embeddings; stored with them where the format has room for it.

    Parameters
    ----------
    model : str
        The model's name.
    digest : str
        sha256 of its weights and front end.
    version : str
        Version of this package.
    emb_dim : int
        Width of the embedding.
    """

    model: str
    digest: str
    version: str
    emb_dim: int

    def stored(self) -> dict[str, str]:
        """Return what files carry beside the arrays."""
        return {"model": self.model, "digest": self.digest, "version": self.version}


def package_version() -> str:
    """Return this package's version; ``"0+source"`` where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("listen-embed")
    except PackageNotFoundError:
        return "0+source"


def check_format(format: Any) -> Format:
    """Return a format's name, or raise `InputError`, or `MissingExtraError` without pyarrow."""
    if format not in FORMATS:
        raise InputError(f"format is {format!r}; allowed are {', '.join(FORMATS)}")
    if format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(
            "parquet needs pyarrow, not installed here. "
            'Install with: pip install "listen-embed[parquet]"'
        )
    known: Format = format
    return known


def save(pieces: Pieces, target: Path, format: Format, provenance: Provenance) -> None:
    """Write embeddings and timestamps to a file, replacing it at once when all is written.

    Parameters
    ----------
    pieces : iterable of (float32 (T, D), float64 (T,))
        Embeddings and timestamps in order, as `Embedder.iter_file` yields them.
    target : Path
        The file; its folder is made if need be.
    format : {"npz", "npy", "csv", "parquet"}
        ``npz``: arrays ``embedding``, ``timestamps``, ``model``, ``digest``, ``version``.
        ``npy``: the embedding alone. ``csv``: a row per frame, ``timestamp,embedding_0,...``.
        ``parquet``: columns ``timestamp`` and ``embedding`` (a list of fixed size).
    provenance : Provenance
        What made them.

    Raises
    ------
    OutputError
        The file cannot be written; whatever it was before, it still is.
    """
    with replacing(target) as file:
        _WRITERS[format](file, pieces, provenance)


def dump(pieces: Pieces, stream: IO[bytes], format: Format, provenance: Provenance) -> None:
    """Write the same bytes as `save` to a stream that cannot seek, such as standard output."""
    with _seekable(stream, format) as file:
        _WRITERS[format](file, pieces, provenance)


def save_table(rows: TableRows, target: Path, format: Format, provenance: Provenance) -> None:
    """Write one embedding of each of many sounds to one file, replacing it at once at the end.

    Parameters
    ----------
    rows : iterable of (str, float32 (D,))
        Names of the sounds and their vectors, in order.
    target : Path
        The file; its folder is made if need be.
    format : {"npz", "npy", "csv", "parquet"}
        ``npz``: arrays ``path`` (n,), ``embedding`` (n, D), ``model``, ``digest``, ``version``.
        ``npy``: the embeddings alone. ``csv``: a row per sound, ``path,embedding_0,...``.
        ``parquet``: columns ``path`` and ``embedding`` (a list of fixed size).
    provenance : Provenance
        What made them.

    Raises
    ------
    OutputError
        The file cannot be written; whatever it was before, it still is.
    """
    with replacing(target) as file:
        _TABLE_WRITERS[format](file, rows, provenance)


def dump_table(rows: TableRows, stream: IO[bytes], format: Format, provenance: Provenance) -> None:
    """Write the same bytes as `save_table` to a stream that cannot seek."""
    with _seekable(stream, format) as file:
        _TABLE_WRITERS[format](file, rows, provenance)


@contextmanager
def _seekable(stream: IO[bytes], format: Format) -> Iterator[IO[bytes]]:
    """Give a file that goes into the stream at the end; for csv the stream itself will do."""
    if format == "csv":
        yield stream
        return
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, stream)


class _Rows:
    """A .npy whose number of rows is known only at the end."""

    def __init__(self, file: IO[bytes], dtype: str, row_shape: tuple[int, ...]) -> None:
        self._file = file
        self._dtype = dtype
        self._row_shape = row_shape
        self._n_rows = 0
        file.write(self._header())

    def append(self, rows: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._n_rows += len(rows)

    def finish(self) -> None:
        """Put the true number of rows into the header."""
        self._file.seek(0)
        self._file.write(self._header())

    def _header(self) -> bytes:
        """Return a header of one length, whatever the rows. Source: NumPy's NEP 1, format 1.0."""
        shape = (self._n_rows, *self._row_shape)
        facts = f"{{'descr': {self._dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
        magic = b"\x93NUMPY\x01\x00" + (_NPY_HEADER_BYTES - 10).to_bytes(2, "little")
        return magic + facts.encode().ljust(_NPY_HEADER_BYTES - 11) + b"\n"


def _write_npy(file: IO[bytes], pieces: Pieces, provenance: Provenance) -> None:
    rows = _Rows(file, "<f4", (provenance.emb_dim,))
    for embedding, _ in pieces:
        rows.append(embedding)
    rows.finish()


def _write_npz(file: IO[bytes], pieces: Pieces, provenance: Provenance) -> None:
    """Spool both arrays to nameless files: an entry of a zip cannot be corrected afterwards."""
    with (
        _nameless_beside(file) as embedding_spool,
        _nameless_beside(file) as timestamp_spool,
        zipfile.ZipFile(file, "w") as archive,
    ):
        embeddings = _Rows(embedding_spool, "<f4", (provenance.emb_dim,))
        stamps = _Rows(timestamp_spool, "<f8", ())
        for embedding, timestamps in pieces:
            embeddings.append(embedding)
            stamps.append(timestamps)
        embeddings.finish()
        stamps.finish()
        _store_entry(archive, "embedding", embedding_spool)
        _store_entry(archive, "timestamps", timestamp_spool)
        _store_texts(archive, provenance.stored())


def _store_texts(archive: zipfile.ZipFile, texts: Mapping[str, str | list[str]]) -> None:
    for name, text in texts.items():
        with archive.open(f"{name}.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array(text, dtype=np.str_), allow_pickle=False)


def _nameless_beside(file: IO[bytes]) -> IO[bytes]:
    folder = os.path.dirname(file.name) if isinstance(file.name, str) else None
    return tempfile.TemporaryFile(dir=folder)


def _store_entry(archive: zipfile.ZipFile, name: str, spool: IO[bytes]) -> None:
    spool.seek(0)
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        shutil.copyfileobj(spool, entry)


def _write_csv(file: IO[bytes], pieces: Pieces, provenance: Provenance) -> None:
    names = ["timestamp", *(f"embedding_{i}" for i in range(provenance.emb_dim))]
    file.write(",".join(names).encode() + b"\n")
    # The shortest float64 and nine digits of a float32 come back to the last bit.
    line = ",".join(["%r", *["%.9g"] * provenance.emb_dim]) + "\n"
    for embedding, timestamps in pieces:
        for timestamp, row in zip(timestamps.tolist(), embedding.tolist(), strict=True):
            file.write((line % (timestamp, *row)).encode())


def _write_parquet(file: IO[bytes], pieces: Pieces, provenance: Provenance) -> None:
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.list_(pyarrow.float32(), provenance.emb_dim)
    schema = pyarrow.schema(
        {"timestamp": pyarrow.float64(), "embedding": column}, metadata=provenance.stored()
    )
    with pyarrow.parquet.ParquetWriter(file, schema, use_dictionary=False) as writer:
        for embedding, timestamps in _gathered(pieces, _VALUES_IN_GROUP // provenance.emb_dim):
            flat = pyarrow.array(np.ascontiguousarray(embedding).reshape(-1))
            rows = pyarrow.FixedSizeListArray.from_arrays(flat, provenance.emb_dim)
            writer.write_table(pyarrow.table([pyarrow.array(timestamps), rows], schema=schema))


def _gathered(
    pieces: Pieces, n_rows: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Yield pieces of `n_rows` or a little more; the last one may be shorter, never empty."""
    embeddings: list[NDArray[np.float32]] = []
    stamps: list[NDArray[np.float64]] = []
    for embedding, timestamps in pieces:
        embeddings.append(embedding)
        stamps.append(timestamps)
        if sum(map(len, stamps)) >= n_rows:
            yield np.concatenate(embeddings), np.concatenate(stamps)
            embeddings, stamps = [], []
    if any(map(len, stamps)):
        yield np.concatenate(embeddings), np.concatenate(stamps)


def _write_table_npy(file: IO[bytes], rows: TableRows, provenance: Provenance) -> None:
    _write_npy(file, ((vector[None], np.zeros(1)) for _, vector in rows), provenance)


def _write_table_npz(file: IO[bytes], rows: TableRows, provenance: Provenance) -> None:
    paths: list[str] = []
    with _nameless_beside(file) as spool, zipfile.ZipFile(file, "w") as archive:
        embeddings = _Rows(spool, "<f4", (provenance.emb_dim,))
        for path, vector in rows:
            paths.append(path)
            embeddings.append(vector[None])
        embeddings.finish()
        _store_entry(archive, "embedding", spool)
        _store_texts(archive, {"path": paths, **provenance.stored()})


def _write_table_csv(file: IO[bytes], rows: TableRows, provenance: Provenance) -> None:
    names = [f"embedding_{i}" for i in range(provenance.emb_dim)]
    lines = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="", write_through=True)
    try:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["path", *names])
        for path, vector in rows:
            writer.writerow([path, *(f"{value:.9g}" for value in vector.tolist())])
    finally:
        lines.detach()


def _write_table_parquet(file: IO[bytes], rows: TableRows, provenance: Provenance) -> None:
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.list_(pyarrow.float32(), provenance.emb_dim)
    schema = pyarrow.schema(
        {"path": pyarrow.string(), "embedding": column}, metadata=provenance.stored()
    )
    with pyarrow.parquet.ParquetWriter(file, schema, use_dictionary=False) as writer:
        for some in _batched(rows, max(1, _VALUES_IN_GROUP // provenance.emb_dim)):
            paths = pyarrow.array([as_text(path) for path, _ in some], pyarrow.string())
            flat = pyarrow.array(np.concatenate([vector for _, vector in some]))
            values = pyarrow.FixedSizeListArray.from_arrays(flat, provenance.emb_dim)
            writer.write_table(pyarrow.table([paths, values], schema=schema))


def as_text(name: str) -> str:
    """Return a file's name with escapes for bytes that are no text, which UTF-8 cannot hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _batched(rows: TableRows, size: int) -> Iterator[list[tuple[str, NDArray[np.float32]]]]:
    remaining = iter(rows)
    while some := list(itertools.islice(remaining, size)):
        yield some


_Write = Callable[[IO[bytes], Pieces, Provenance], None]
_WRITERS: dict[Format, _Write] = {
    "npz": _write_npz,
    "npy": _write_npy,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
_WriteTable = Callable[[IO[bytes], TableRows, Provenance], None]
_TABLE_WRITERS: dict[Format, _WriteTable] = {
    "npz": _write_table_npz,
    "npy": _write_table_npy,
    "csv": _write_table_csv,
    "parquet": _write_table_parquet,
}
