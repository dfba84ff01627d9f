"""Make an index and add to it, a segment at a time; whatever is interrupted goes on from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import IndexFileError
from listen_embed.index.results import Rows
from listen_embed.index.storage import (
    LIST,
    PLACE,
    Listing,
    Segment,
    Stored,
    locked,
    remove_unlisted,
    write_segment,
)

# Rows that are written at once: what an interruption can cost.
SEGMENT_ROWS = 1 << 16
_MAX_MERGED_ROWS = 1 << 22


class Builder:
    """Adds sounds to an index; used as a context, which holds the index's lock.

    Parameters
    ----------
    folder : Path
        The index; made if it is not there.
    is_new : bool
        Whether it is to be built: a complete one is refused then, an unfinished one goes on.
    segment_rows : int
        Rows that are written at once.

    Raises
    ------
    IndexFileError
        There is (or is not) one already, it is damaged, or another process is adding to it.
    """

    def __init__(self, folder: Path, *, is_new: bool, segment_rows: int = SEGMENT_ROWS) -> None:
        self.folder = folder
        self._is_new = is_new
        self._segment_rows = segment_rows
        self._listing: Listing | None = None
        self._pending: list[Rows] = []
        self._known: set[str] = set()
        self.n_skipped = 0

    @contextmanager
    def adding(self) -> Iterator[Self]:
        """Hold the lock; at the end write what is left, and say that the index is complete."""
        _check_place(self.folder, self._is_new)
        with locked(self.folder):
            self._listing = _existing(self.folder, self._is_new)
            if self._listing is not None:
                remove_unlisted(self.folder, self._listing)
                self._known = set(self._sources(self._listing))
            yield self
            self._flush()
            if self._listing is not None:
                self._list(replace(self._listing, is_complete=True))

    def knows(self, source: str) -> bool:
        """Whether a sound is in the index, or will be at the next writing."""
        return source in self._known

    def add(self, rows: Rows) -> bool:
        """Add a sound; False if it is there already.

        Raises
        ------
        IndexFileError
            It was embedded by another model than the rest.
        """
        if rows.source in self._known:
            self.n_skipped += 1
            return False
        self._check_model(rows)
        self._known.add(rows.source)
        self._pending.append(rows)
        if sum(len(rows.vectors) for rows in self._pending) >= self._segment_rows:
            self._flush()
        return True

    def approximate(self, threads: int = 1) -> None:
        """Make a graph of all rows, in place of an earlier one."""
        from listen_embed.index.graph import write_graph

        self._flush()
        if self._listing is None or not self._listing.n_rows:
            raise IndexFileError(f"{self.folder}: is empty, there is nothing to make a graph of")
        listing = self._listing
        pieces = (self._open(segment).vectors for segment in listing.segments)
        graph = write_graph(self.folder, pieces, listing.emb_dim, threads)
        self._list(replace(listing, graph=graph))

    def _check_model(self, rows: Rows) -> None:
        if self._listing is None:
            self._list(Listing(model=rows.model, digest=rows.digest, emb_dim=rows.vectors.shape[1]))
        listing = self._listing
        assert listing is not None
        if rows.digest != listing.digest or rows.vectors.shape[1] != listing.emb_dim:
            raise IndexFileError(
                f"{rows.source}: embedded by {rows.model} (digest {rows.digest[:12]}), but "
                f"{self.folder} holds {listing.model} ({listing.digest[:12]}); "
                "they cannot be compared, so build another index for it"
            )

    def _flush(self) -> None:
        """Write the pending sounds as a segment, then merge small ones."""
        if not self._pending or self._listing is None:
            return
        vectors = np.concatenate([_unit(rows.vectors) for rows in self._pending])
        places = np.concatenate([_places(i, rows) for i, rows in enumerate(self._pending)])
        sources = [rows.source for rows in self._pending]
        stored = write_segment(self.folder, vectors, places, sources)
        self._list(self._listing.with_segments(*self._listing.segments, stored))
        self._pending = []
        while self._merged():
            pass

    def _merged(self) -> bool:
        """Merge the last two segments unless the earlier one is much larger.

        So there are few segments, and every row is rewritten only a few times.
        """
        assert self._listing is not None
        *others, first, second = (Stored("", 0), Stored("", 0), *self._listing.segments)
        n_rows = first.n_rows + second.n_rows
        if not first.n_rows or first.n_rows >= 2 * second.n_rows or n_rows > _MAX_MERGED_ROWS:
            return False
        parts = [self._open(stored) for stored in (first, second)]
        shifted = parts[1].places.copy()
        shifted["source"] += len(parts[0].sources)
        stored = write_segment(
            self.folder,
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([parts[0].places, shifted]),
            parts[0].sources + parts[1].sources,
        )
        self._list(self._listing.with_segments(*(s for s in others if s.name), stored))
        return True

    def _list(self, listing: Listing) -> None:
        listing.write(self.folder)
        self._listing = listing
        remove_unlisted(self.folder, listing)

    def _open(self, stored: Stored) -> Segment:
        assert self._listing is not None
        return Segment(self.folder, stored, self._listing.emb_dim)

    def _sources(self, listing: Listing) -> Iterator[str]:
        for stored in listing.segments:
            yield from Segment(self.folder, stored, listing.emb_dim).sources


def add_all(
    builder: Builder, sources: Iterable[Rows], progress: Callable[[], object] = lambda: None
) -> int:
    """Add sounds; return how many are new."""
    n_new = 0
    for rows in sources:
        n_new += builder.add(rows)
        progress()
    return n_new


def _check_place(folder: Path, is_new: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise IndexFileError(f"{folder}: is a file; an index is a folder, give another name")
    has_list = (folder / LIST).exists()
    if not has_list and not is_new:
        raise IndexFileError(
            f"{folder}: no index to add to; make one with: listen-embed index build"
        )
    is_foreign = folder.is_dir() and any(
        not path.name.startswith(".") and not path.name.startswith("segment-")
        for path in folder.iterdir()
    )
    if not has_list and is_foreign:
        raise IndexFileError(f"{folder}: holds other files; give an empty or a new folder")


def _existing(folder: Path, is_new: bool) -> Listing | None:
    if not (folder / LIST).exists():
        return None
    listing = Listing.read(folder)
    if is_new and listing.is_complete:
        raise IndexFileError(
            f"{folder}: is a complete index; add to it with: listen-embed index add"
        )
    return replace(listing, is_complete=False) if is_new else listing


def _unit(vectors: NDArray[Any]) -> NDArray[np.float16]:
    """Return rows of unit length; a row of zeros stays one, and is like nothing."""
    wide = vectors.astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float16] = (wide / np.maximum(lengths, 1e-30)).astype(np.float16)
    return unit


def _places(number: int, rows: Rows) -> NDArray[Any]:
    places = np.empty(len(rows.vectors), PLACE)
    places["source"] = number
    places["start"] = rows.starts
    places["end"] = rows.ends
    return places
