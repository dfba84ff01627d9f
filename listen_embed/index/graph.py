"""Approximate search through usearch: a graph of neighbours, beside the exact rows.

The graph holds its own float16 copy of the rows and is mapped, not loaded.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import IndexFileError, require_extra
from listen_embed.index.storage import Stored, graph_path
from listen_embed.output import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable

# Larger ones find more of the true neighbours and take longer; see docs/SEARCH.md.
EXPANSION = 128


class Graph:
    """A graph on disk.

    Attributes
    ----------
    n_rows : int
        The first rows of the index, which it knows.
    """

    def __init__(self, folder: Path, stored: Stored, emb_dim: int) -> None:
        self.n_rows = stored.n_rows
        path = graph_path(folder, stored)
        self._index = _empty(emb_dim)
        try:
            self._index.view(str(path))
        except (RuntimeError, OSError, ValueError) as error:
            raise IndexFileError(f"{path}: damaged or cut off ({error})") from error
        if len(self._index) != stored.n_rows or self._index.ndim != emb_dim:
            raise IndexFileError(f"{path}: damaged, it does not hold {stored.n_rows} rows")
        self._index.expansion_search = EXPANSION

    def search(
        self, query: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows and cosines of about the k nearest."""
        found = self._index.search(query, min(k, self.n_rows), threads=1)
        return found.keys.astype(np.int64), 1 - found.distances.astype(np.float32)


def write_graph(
    folder: Path, pieces: Iterable[NDArray[np.float16]], emb_dim: int, threads: int = 1
) -> Stored:
    """Make a graph of rows; return what to put into the list."""
    graph = _empty(emb_dim)
    n_rows = 0
    for piece in pieces:
        keys = np.arange(n_rows, n_rows + len(piece), dtype=np.uint64)
        graph.add(keys, np.ascontiguousarray(piece), threads=threads)
        n_rows += len(piece)
    stored = Stored(f"graph-{secrets.token_hex(8)}", n_rows)
    with replacing(graph_path(folder, stored)) as file:
        graph.save(file.name)
    return stored


def _empty(emb_dim: int) -> Any:
    require_extra("index")
    from usearch.index import Index

    return Index(ndim=emb_dim, metric="cos", dtype="f16", expansion_add=128)
