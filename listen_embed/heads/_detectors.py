"""The kinds of anomaly head, behind one set of methods; inputs are checked float64."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Protocol

import numpy as np

from listen_embed.errors import HeadError
from listen_embed.heads._checks import Codes, Floats
from listen_embed.heads._covariance import Moments
from listen_embed.heads._held_out import thinned
from listen_embed.heads._prototype import squared_distances
from listen_embed.heads._reservoir import slot
from listen_embed.heads._storage import MAX_BYTES, Fields, Record

_CHUNK = 4_000_000  # numbers held at a time


class Detector(Protocol):
    """What learns normal embeddings and scores others."""

    @property
    def emb_dim(self) -> int:
        """Dimensions of the embeddings."""

    def learn(self, x: Floats, fold: Codes) -> Floats:
        """Learn rows from scratch; return scores of rows held out by fold, those of -1 never."""

    def learn_one(self, x: Floats) -> None:
        """Learn one embedding more."""

    def score(self, x: Floats) -> Floats:
        """Return a score for each row, 0 or more, high = anomalous."""

    def fields(self) -> Fields:
        """Return what to save."""


class Mahalanobis:
    """Distance from the mean in the shrunk covariance; both follow exactly from the moments."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._whitening: Floats | None = None  # made when first needed after learning

    @classmethod
    def restored(cls, record: Record, count: int) -> Mahalanobis:
        """Return the detector of a file."""
        mean = record.floats("mean", None)
        scatter = record.floats("scatter", len(mean), len(mean))
        cubic, quartic = record.floats("cubic", len(mean)), float(record.floats("quartic"))
        detector = cls(Moments(count, mean, scatter, cubic, quartic))
        detector.score(mean[None])  # raises where the moments are no moments
        return detector

    @property
    def emb_dim(self) -> int:
        """Dimensions of the embeddings."""
        return len(self._moments.mean)

    def learn(self, x: Floats, fold: Codes) -> Floats:
        """Learn rows from scratch; return held-out scores."""
        numbers = np.unique(fold)
        parts = [Moments.of(x[fold == number]) for number in numbers]
        held_out = np.empty(len(x))
        for i, number in enumerate(numbers):
            if number >= 0:
                rest, rows = _joined(parts[:i] + parts[i + 1 :]), fold == number
                held_out[rows] = _lengths((x[rows] - rest.mean) @ rest.whitening())
        self._moments, self._whitening = _joined(parts), None
        return held_out[fold >= 0]

    def learn_one(self, x: Floats) -> None:
        """Learn one embedding more."""
        self._moments, self._whitening = self._moments.joined(Moments.of(x[None])), None

    def score(self, x: Floats) -> Floats:
        """Return the distance of each row."""
        if self._whitening is None:
            self._whitening = self._moments.whitening()
        return _lengths((x - self._moments.mean) @ self._whitening)

    def fields(self) -> Fields:
        """Return what to save."""
        m = self._moments
        return {"mean": m.mean, "scatter": m.scatter, "cubic": m.cubic, "quartic": m.quartic}


class Neighbors:
    """Mean distance to the nearest of a bounded memory, each embedding as likely to be in it."""

    def __init__(self, emb_dim: int, n_neighbors: int, capacity: int, seed: int) -> None:
        if 4 * capacity * emb_dim > MAX_BYTES // 2:
            raise HeadError(
                f"a capacity of {capacity} embeddings of {emb_dim} values does not fit a file; "
                f"allowed are {MAX_BYTES // 8 // emb_dim} of them."
            )
        self._memory = np.empty((capacity, emb_dim), dtype=np.float32)
        self._count = 0
        self._n_neighbors = n_neighbors
        self._seed = seed

    @classmethod
    def restored(
        cls, record: Record, count: int, n_neighbors: int, capacity: int, seed: int
    ) -> Neighbors:
        """Return the detector of a file."""
        memory = record.floats("memory", min(count, capacity), None)
        detector = cls(memory.shape[1], n_neighbors, capacity, seed)
        detector._memory[: len(memory)] = memory
        detector._count = count
        return detector

    @property
    def emb_dim(self) -> int:
        """Dimensions of the embeddings."""
        return self._memory.shape[1]

    @property
    def _filled(self) -> Floats:
        return self._memory[: self._count].astype(np.float64)

    def learn(self, x: Floats, fold: Codes) -> Floats:
        """Learn rows from scratch; return held-out scores of up to 1000 that are remembered."""
        kept = np.arange(min(len(x), len(self._memory)))
        for number in range(len(kept), len(x)):
            if (place := self._place(number)) is not None:
                kept[place] = number
        self._memory[: len(kept)] = x[kept]
        self._count = len(x)
        return self._held_out_scores(fold[kept])

    def _held_out_scores(self, fold: Codes) -> Floats:
        memory = self._filled
        rows = thinned(np.flatnonzero(fold >= 0))
        scores = np.empty(len(rows))
        for number in np.unique(fold[rows]):
            out = fold[rows] == number
            scores[out] = _nearest(memory[rows[out]], memory[fold != number], self._n_neighbors)
        return scores

    def _place(self, number: int) -> int | None:
        return slot(number, len(self._memory), self._seed)

    def learn_one(self, x: Floats) -> None:
        """Learn one embedding more."""
        if (place := self._place(self._count)) is not None:
            self._memory[place] = x
        self._count += 1

    def score(self, x: Floats) -> Floats:
        """Return the mean distance of each row to its nearest."""
        return _nearest(x, self._filled, self._n_neighbors)

    def fields(self) -> Fields:
        """Return what to save."""
        return {"memory": self._memory[: self._count]}


def _joined(parts: Sequence[Moments]) -> Moments:
    return reduce(Moments.joined, parts)


def _lengths(rows: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))


def _nearest(x: Floats, memory: Floats, n_neighbors: int) -> Floats:
    """Return the mean distance of each row of `x` to its nearest rows in the memory."""
    center = memory.mean(axis=0)
    memory, x, n_neighbors = memory - center, x - center, min(n_neighbors, len(memory))
    means = [np.empty(0)]
    step = max(1, _CHUNK // max(len(memory), n_neighbors * x.shape[1]))
    for start in range(0, len(x), step):
        rows = x[start : start + step]
        order = np.argpartition(squared_distances(rows, memory), n_neighbors - 1, axis=1)
        # Which are nearest is settled fast; how near, from differences, which do not cancel.
        gaps = rows[:, None] - memory[order[:, :n_neighbors]]
        means.append(np.sqrt(np.einsum("ijk,ijk->ij", gaps, gaps)).mean(axis=1))
    return np.concatenate(means)
