"""An index on disk: a folder of segments that never change, and one list of them that is replaced.

::

    sounds.idx/
      index.json                 model, digest, width, and the segments in order
      segment-1f0c….vectors.npy  float16 (n, emb_dim), unit length
      segment-1f0c….places.npy   for each row its source, start and end
      segment-1f0c….sources.json paths of the sources

Whoever reads sees the list before or after an addition, never between; whoever adds holds a lock.
Nothing in these files is trusted: sizes, types and numbers are checked before they are used.
"""

from __future__ import annotations

import fcntl
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import IndexFileError
from listen_embed.output import replacing

FORMAT = "listen-embed index 1"
LIST = "index.json"
PLACE = np.dtype([("source", "<u4"), ("start", "<f8"), ("end", "<f8")])
_NAME = re.compile(r"(segment|graph)-[0-9a-f]{16}")
_MAX_LIST_BYTES, _MAX_SOURCES_BYTES = 1 << 26, 1 << 30
_MAX_EMB_DIM = 1 << 16


@dataclass(frozen=True)
class Stored:
    """One segment, as the list names it."""

    name: str
    n_rows: int


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What ``index.json`` holds.

    Parameters
    ----------
    model, digest : str
        Whose embeddings these are.
    emb_dim : int
        Their width.
    is_complete : bool
        Whether the command that built it came to its end.
    segments : tuple of Stored
        In the order of their rows.
    graph : Stored or None
        An approximate index over the first ``n_rows`` rows.
    """

    model: str
    digest: str
    emb_dim: int
    is_complete: bool = False
    segments: tuple[Stored, ...] = ()
    graph: Stored | None = None

    @property
    def n_rows(self) -> int:
        """Rows of all segments."""
        return sum(segment.n_rows for segment in self.segments)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the list of an index.

        Raises
        ------
        IndexFileError
            The folder is no index of ours.
        """
        try:
            content = _bounded(folder / LIST, _MAX_LIST_BYTES)
        except FileNotFoundError as error:
            raise IndexFileError(
                f"{folder}: no index of listen-embed, it has no {LIST}; "
                "make one with: listen-embed index build"
            ) from error
        try:
            facts = json.loads(content)
            if facts.pop("format") != FORMAT:
                raise ValueError("another format")
            segments = tuple(_stored(entry) for entry in facts.pop("segments"))
            graph = facts.pop("graph")
            listing = cls(**facts, segments=segments, graph=graph and _stored(graph))
            listing._check()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IndexFileError(f"{folder}: not an index of listen-embed ({error})") from error
        return listing

    def _check(self) -> None:
        is_width = isinstance(self.emb_dim, int) and 0 < self.emb_dim <= _MAX_EMB_DIM
        if not is_width or not isinstance(self.digest, str) or not isinstance(self.model, str):
            raise ValueError("model, digest or emb_dim is not what it should be")

    def write(self, folder: Path) -> None:
        """Put this list in the place of the one before."""
        facts = {"format": FORMAT, **asdict(self)}
        with replacing(folder / LIST) as file:
            file.write(json.dumps(facts, indent=1).encode())

    def with_segments(self, *segments: Stored) -> Self:
        """Return the same list with these segments instead."""
        return replace(self, segments=segments)


class Segment:
    """One segment, mapped into memory.

    Attributes
    ----------
    vectors : ndarray, float16 (n, emb_dim)
    places : ndarray of PLACE, (n,)
    sources : list of str
    """

    def __init__(self, folder: Path, stored: Stored, emb_dim: int) -> None:
        stem = folder / stored.name
        self.vectors = _mapped(_part(stem, "vectors"), np.dtype("<f2"), (stored.n_rows, emb_dim))
        self.places = _mapped(_part(stem, "places"), PLACE, (stored.n_rows,))
        self.sources = _sources(_part(stem, "sources"))
        if stored.n_rows and int(self.places["source"].max()) >= len(self.sources):
            raise IndexFileError(f"{stem}: damaged, a row names a source that is not there")


def write_segment(
    folder: Path, vectors: NDArray[np.float16], places: NDArray[Any], sources: Sequence[str]
) -> Stored:
    """Write a segment that no list names yet; return what to put into one."""
    stored = Stored(f"segment-{secrets.token_hex(8)}", len(vectors))
    stem = folder / stored.name
    for kind, array in (("vectors", vectors.astype("<f2")), ("places", places)):
        with replacing(_part(stem, kind)) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
    with replacing(_part(stem, "sources")) as file:
        file.write(json.dumps(list(sources)).encode())
    return stored


def remove_unlisted(folder: Path, listing: Listing) -> None:
    """Delete segments and graphs that the list does not name; only under the lock.

    A reader that still has them mapped keeps them until it lets go.
    """
    kept = {segment.name for segment in listing.segments}
    kept |= {listing.graph.name} if listing.graph else set()
    for path in folder.iterdir():
        name = _NAME.match(path.name)
        is_left_over = path.name.startswith(".listen-embed-") or (name and name[0] not in kept)
        if is_left_over:
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who changes an index.

    Raises
    ------
    IndexFileError
        Somebody else is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise IndexFileError(
                f"{folder}: another process is adding to this index; try again when it is done"
            ) from error
        yield


def graph_path(folder: Path, stored: Stored) -> Path:
    """Return the file of an approximate index."""
    return folder / f"{stored.name}.usearch"


def _part(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}.{kind}.{'json' if kind == 'sources' else 'npy'}")


def _stored(entry: Any) -> Stored:
    stored = Stored(**entry)
    if not isinstance(stored.name, str) or not _NAME.fullmatch(stored.name):
        raise ValueError(f"a segment is called {stored.name!r}")
    if not isinstance(stored.n_rows, int) or stored.n_rows < 0:
        raise ValueError(f"a segment has {stored.n_rows!r} rows")
    return stored


def _bounded(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IndexFileError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > limit:
        raise IndexFileError(f"{path}: larger than {limit} bytes, not one of ours")
    return content


def _sources(path: Path) -> list[str]:
    try:
        sources = json.loads(_bounded(path, _MAX_SOURCES_BYTES))
    except ValueError as error:
        raise IndexFileError(f"{path}: damaged or cut off ({error})") from error
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise IndexFileError(f"{path}: damaged, not a list of paths")
    return sources


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise IndexFileError(f"{path}: damaged or cut off ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        found = f"{getattr(array, 'dtype', '?')} {getattr(array, 'shape', '')}"
        raise IndexFileError(f"{path}: damaged, holds {found} instead of {dtype} {shape}")
    return array
