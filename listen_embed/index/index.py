"""`Index`: the rows of an index that are nearest to a vector.

Exact search needs numpy alone. The rows on disk are float16; they are widened once and kept as long
as they take less than a bound, because numpy widens more slowly than it multiplies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from listen_embed.errors import IndexFileError, InputError
from listen_embed.index.storage import Listing, Segment

if TYPE_CHECKING:
    from listen_embed.index.graph import Graph

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]

KEPT_BYTES = 1 << 30
_CHUNK_ROWS = 1 << 14
# Rows whose best is looked at before the rows themselves.
_BLOCK_ROWS = 1 << 10
_OPEN_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Hit:
    """One stretch of sound that is like the query.

    Attributes
    ----------
    path : str
        The sound, as it was named when it was added.
    start, end : float
        The stretch that the embedding saw, in seconds.
    score : float
        Cosine of the angle between both embeddings, from -1 to 1.
    row : int
        Number of the row in the index.
    """

    path: str
    start: float
    end: float
    score: float
    row: int


class Index:
    """An index, opened for searching. It stays as it was opened while others add to it.

    Parameters
    ----------
    folder : str or path
        What ``listen-embed index build`` made.
    kept_bytes : int
        Widened rows may take so much memory; an index larger than that is widened piece by piece
        for each query, at a third of the speed or so.

    Attributes
    ----------
    model, digest : str
        Whose embeddings these are; `check` compares.
    emb_dim : int

    Raises
    ------
    IndexFileError
        The folder is no index, or one of its files is cut off or another's.

    Examples
    --------
    >>> index = Index("sounds.idx")  # doctest: +SKIP
    >>> index.search(embedding.mean(axis=0), k=3)  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str], *, kept_bytes: int = KEPT_BYTES) -> None:
        self.folder = Path(folder)
        self._listing, self._segments = _opened(self.folder)
        self.model = self._listing.model
        self.digest = self._listing.digest
        self.emb_dim = self._listing.emb_dim
        self._ends = np.cumsum([segment.n_rows for segment in self._listing.segments])
        self._keeps = 4 * len(self) * self.emb_dim <= kept_bytes

    def __len__(self) -> int:
        return self._listing.n_rows

    def __repr__(self) -> str:
        return f"Index({str(self.folder)!r}: {len(self)} embeddings of {self.model})"

    def sources(self) -> Iterator[str]:
        """Yield the paths of all sounds, in the order in which they were added."""
        for segment in self._segments:
            yield from segment.sources

    def check(self, model: str, digest: str) -> None:
        """Raise `IndexFileError` unless these embeddings are comparable with the index's."""
        if digest != self.digest:
            raise IndexFileError(
                f"{self.folder}: holds embeddings of {self.model} (digest {self.digest[:12]}), "
                f"not of {model} ({digest[:12]}); they cannot be compared. "
                f"Use --model {self.model}, or build another index"
            )

    def search(
        self, vector: ArrayLike, k: int = 10, *, distinct: bool = True, approximate: bool = False
    ) -> list[Hit]:
        """Return the nearest rows, the best first.

        Parameters
        ----------
        vector : array_like, (emb_dim,)
            An embedding by the index's model; its length does not matter.
        k : int
            How many hits; fewer come if the index has no more.
        distinct : bool
            Leave out a hit that overlaps with a better one of the same sound.
        approximate : bool
            Use the graph that ``index build --approximate`` made; rows added since are searched
            exactly.

        Raises
        ------
        InputError
            Another width, nothing finite, or zeros only.
        IndexFileError
            There is no graph.
        """
        query = self._checked(vector)
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise InputError(f"k is {k!r}; allowed are whole numbers from 1")
        n_wanted = 4 * k if distinct else k
        while True:
            rows, scores = self._nearest(query, min(n_wanted, len(self)), approximate)
            hits = [self._hit(int(row), float(s)) for row, s in zip(rows, scores, strict=True)]
            found = _without_overlaps(hits) if distinct else hits
            if len(found) >= k or n_wanted >= len(self):
                return found[:k]
            n_wanted *= 4

    def vectors(self, rows: ArrayLike) -> Scores:
        """Return rows by number, float32 (n, emb_dim), of unit length."""
        numbers = np.asarray(rows, np.int64)
        out = np.empty((len(numbers), self.emb_dim), np.float32)
        for i, row in enumerate(numbers):
            segment, within = self._find(int(row))
            out[i] = segment.vectors[within]
        return out

    def _checked(self, vector: ArrayLike) -> Scores:
        query = np.asarray(vector, np.float32)
        if query.shape != (self.emb_dim,):
            raise InputError(f"the query has shape {query.shape}; {self.model} gives "
                             f"({self.emb_dim},)")  # fmt: skip
        length = float(np.linalg.norm(query))
        if not np.isfinite(length) or not length:
            raise InputError("the query is zero or not finite; it has no direction to compare")
        unit: Scores = query / length
        return unit

    def _nearest(self, query: Scores, k: int, approximate: bool) -> tuple[Rows, Scores]:
        if not approximate:
            return _best(self._scores(query, 0), k)
        graph = self._graph
        rows, scores = graph.search(query, k)
        later_rows, later_scores = _best(self._scores(query, graph.n_rows), k)
        joined = np.concatenate([scores, later_scores])
        order = np.argsort(-joined, kind="stable")[:k]
        return np.concatenate([rows, later_rows + graph.n_rows])[order], joined[order]

    @cached_property
    def _graph(self) -> Graph:
        from listen_embed.index.graph import Graph

        if self._listing.graph is None:
            raise IndexFileError(
                f"{self.folder}: has no approximate index; make it with: "
                f"listen-embed index add --approximate --out {self.folder}"
            )
        return Graph(self.folder, self._listing.graph, self.emb_dim)

    def _scores(self, query: Scores, first: int) -> Scores:
        """Return the products of a query with all rows from `first` on."""
        scores = np.empty(len(self) - first, np.float32)
        begin = 0
        for rows in self._widened(first):
            np.dot(rows, query, out=scores[begin : begin + len(rows)])
            begin += len(rows)
        return scores

    def _widened(self, first: int) -> Iterator[Scores]:
        if self._keeps:
            yield self._kept[first:]
            return
        for segment, end in zip(self._segments, self._ends, strict=True):
            skipped = max(0, first - (int(end) - len(segment.vectors)))
            for begin in range(skipped, len(segment.vectors), _CHUNK_ROWS):
                yield segment.vectors[begin : begin + _CHUNK_ROWS].astype(np.float32)

    @cached_property
    def _kept(self) -> Scores:
        kept = np.empty((len(self), self.emb_dim), np.float32)
        for segment, end in zip(self._segments, self._ends, strict=True):
            kept[end - len(segment.vectors) : end] = segment.vectors
        return kept

    def _find(self, row: int) -> tuple[Segment, int]:
        which = int(np.searchsorted(self._ends, row, side="right"))
        segment = self._segments[which]
        return segment, row - (int(self._ends[which]) - len(segment.vectors))

    def _hit(self, row: int, score: float) -> Hit:
        segment, within = self._find(row)
        place: Any = segment.places[within]
        path = segment.sources[int(place["source"])]
        return Hit(path, float(place["start"]), float(place["end"]), score, row)


def _opened(folder: Path) -> tuple[Listing, list[Segment]]:
    """Return the list and its segments; whoever merges segments may remove one in between."""
    for _ in range(_OPEN_ATTEMPTS):
        listing = Listing.read(folder)
        try:
            return listing, [Segment(folder, s, listing.emb_dim) for s in listing.segments]
        except FileNotFoundError as error:
            missing = error.filename
    raise IndexFileError(f"{missing}: is missing; the index is damaged, build it anew")


def _best(scores: Scores, k: int) -> tuple[Rows, Scores]:
    """Return the k largest, the largest first.

    They lie in the k blocks with the largest maxima, so only those are sorted.
    """
    n_whole = len(scores) // _BLOCK_ROWS * _BLOCK_ROWS
    maxima = scores[:n_whole].reshape(-1, _BLOCK_ROWS).max(axis=1)
    if len(maxima) > k:
        blocks = np.sort(np.argpartition(-maxima, k - 1)[:k])
        inside = (blocks[:, None] * _BLOCK_ROWS + np.arange(_BLOCK_ROWS)).ravel()
        candidates = np.concatenate([inside, np.arange(n_whole, len(scores))])
    else:
        candidates = np.arange(len(scores))
    chosen = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
    return chosen, scores[chosen]


def _without_overlaps(hits: list[Hit]) -> list[Hit]:
    kept: dict[str, list[Hit]] = {}
    distinct = []
    for hit in hits:
        others = kept.setdefault(hit.path, [])
        if all(hit.end <= other.start or other.end <= hit.start for other in others):
            others.append(hit)
            distinct.append(hit)
    return distinct
