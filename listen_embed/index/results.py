"""What goes into an index: finished results (.npz, .parquet, a bulk job's parts), or sounds.

Each source gives its rows at once: where it comes from, its embeddings, and the stretches of sound
that they saw.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from listen_embed import registry
from listen_embed.embedder import Embedder
from listen_embed.errors import IndexFileError, InputError, ListenEmbedError

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = frozenset({".npz", ".parquet"})
_BATCH_ROWS = 1 << 14


@dataclass(frozen=True)
class Rows:
    """The embeddings of one sound.

    Attributes
    ----------
    source : str
        Path of the sound, or of the result where the sound's is not known.
    vectors : ndarray, (n, emb_dim)
    starts, ends : ndarray, float64 (n,)
        Seconds.
    model, digest : str
        What made them.
    """

    source: str
    vectors: NDArray[np.floating]
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    model: str
    digest: str


def find(arguments: Iterable[Path]) -> list[Path]:
    """Return files as they are and, of folders, every result below them, sorted.

    Raises
    ------
    InputError
        An argument does not exist, or a folder holds no results.
    """
    found: list[Path] = []
    for argument in arguments:
        if not argument.exists():
            raise InputError(f"{argument}: does not exist")
        found += _below(argument) if argument.is_dir() else [argument]
    return list(dict.fromkeys(found))


def _below(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    visible = [path for path in paths if not path.name.startswith(".")]
    if not visible:
        known = " ".join(sorted(SUFFIXES))
        raise InputError(
            f"{folder}: holds no results ({known}); make them with: "
            f"listen-embed SOUNDS/ --out {folder}"
        )
    return visible


def read(path: Path, is_centred: bool) -> Iterator[Rows]:
    """Yield the sounds of a result.

    Parameters
    ----------
    path : Path
        ``.npz`` or ``.parquet`` as `listen_embed.output.save` writes them, or a bulk job's part.
    is_centred : bool
        Whether timestamps are the centres of the frames, as they are unless ``--no-center`` was
        given when the results were made; a bulk job's parts tell it themselves.

    Raises
    ------
    IndexFileError
        It is none of these, damaged, or tells no model.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        known = " ".join(sorted(SUFFIXES))
        raise IndexFileError(f"{path}: not a result; known are {known}")
    try:
        yield from reader(path, is_centred)
    except ListenEmbedError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise IndexFileError(f"{path}: not a result of listen-embed ({error})") from error


def embed(embedder: Embedder, path: Path) -> Rows:
    """Return the rows of a sound; its frames start at their timestamps if `embedder` says so.

    Raises
    ------
    AudioFileError
        It cannot be read as audio.
    """
    embedding, timestamps = embedder.embed_file(path)
    front_end = embedder.spec.front_end
    starts = timestamps - (front_end.frame_seconds / 2 if embedder.center else 0)
    ends = starts + front_end.frame_seconds
    return Rows(
        str(path), embedding, np.maximum(starts, 0), ends, embedder.spec.name, embedder.digest
    )


def _read_npz(path: Path, is_centred: bool) -> Iterator[Rows]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as made:
        embedding, stamps = made["embedding"], made["timestamps"]
        model, digest = str(made["model"]), str(made["digest"])
    _check(path, embedding, stamps)
    yield _with_stretches(str(path), embedding, stamps, model, digest, is_centred)


def _read_parquet(path: Path, is_centred: bool) -> Iterator[Rows]:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            facts = {key.decode(): value.decode() for key, value in _metadata(file, path).items()}
            batches = file.iter_batches(_BATCH_ROWS)
            if "path" in file.schema_arrow.names:
                yield from _of_many(batches, facts["model"], facts["digest"])
                return
            columns = [_columns(batch) for batch in batches]
    except pyarrow.ArrowException as error:
        raise IndexFileError(f"{path}: not a result of listen-embed ({error})") from error
    stamps = np.concatenate([np.zeros(0), *(stamps for _, stamps in columns)])
    if not len(stamps):
        return
    embedding = np.concatenate([embedding for embedding, _ in columns])
    yield _with_stretches(str(path), embedding, stamps, facts["model"], facts["digest"], is_centred)


def _metadata(file: Any, path: Path) -> dict[bytes, bytes]:
    metadata: dict[bytes, bytes] | None = file.schema_arrow.metadata
    if not metadata or b"digest" not in metadata:
        raise IndexFileError(f"{path}: not a result of listen-embed (tells no model)")
    return metadata


def _of_many(batches: Iterable[pyarrow.RecordBatch], model: str, digest: str) -> Iterator[Rows]:
    """Yield sounds whose rows lie together, whatever the batches."""
    for source, parts in groupby(_runs(batches), key=lambda run: run[0]):
        _, embeddings, starts, ends = zip(*parts, strict=True)
        vectors, begins, finishes = map(np.concatenate, (embeddings, starts, ends))
        yield Rows(source, vectors, begins, finishes, model, digest)


def _runs(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[tuple[str, Any, Any, Any]]:
    for batch in batches:
        paths = np.asarray(batch.column("path").to_pylist(), object)
        embedding = _embedding(batch)
        starts, ends = (np.asarray(batch.column(name)) for name in ("start", "end"))
        changes = np.flatnonzero(paths[1:] != paths[:-1]) + 1
        for begin, end in zip([0, *changes], [*changes, len(paths)], strict=True):
            if begin < end:
                yield paths[begin], embedding[begin:end], starts[begin:end], ends[begin:end]


def _columns(batch: pyarrow.RecordBatch) -> tuple[Any, Any]:
    return _embedding(batch), np.asarray(batch.column("timestamp"))


def _embedding(batch: pyarrow.RecordBatch) -> NDArray[np.floating]:
    column = batch.column("embedding")
    flat = np.asarray(column.flatten())
    return flat.reshape(len(column), -1)


def _with_stretches(
    source: str,
    embedding: NDArray[np.floating],
    stamps: NDArray[np.float64],
    model: str,
    digest: str,
    is_centred: bool,
) -> Rows:
    frame = _frame_seconds(model)
    starts = stamps - (frame / 2 if is_centred else 0)
    return Rows(source, embedding, np.maximum(starts, 0), starts + frame, model, digest)


def _frame_seconds(model: str) -> float:
    """Return the length of a model's frame; 0 for a model that is not here, such as a folder's."""
    try:
        return registry.find(model).front_end.frame_seconds
    except ListenEmbedError:
        return 0.0


def _check(path: Path, embedding: Any, stamps: Any) -> None:
    if embedding.ndim != 2 or stamps.shape != embedding.shape[:1] or embedding.dtype.kind != "f":
        raise IndexFileError(
            f"{path}: not a result of listen-embed (embedding is {embedding.dtype} "
            f"{embedding.shape}, timestamps are {stamps.shape})"
        )


_READERS: dict[str, Callable[[Path, bool], Iterator[Rows]]] = {
    ".npz": _read_npz,
    ".parquet": _read_parquet,
}
