"""How unusual is it: scores against normal sound, learned at once or one embedding at a time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from listen_embed.errors import HeadError
from listen_embed.heads import _checks, _storage
from listen_embed.heads._base import Head, nothing_learned
from listen_embed.heads._checks import Codes, Floats
from listen_embed.heads._covariance import Moments
from listen_embed.heads._detectors import Detector, Mahalanobis, Neighbors
from listen_embed.heads._held_out import MAX_SCORES, ScoreTable, deal, deal_blocks, thinned
from listen_embed.heads._identity import Embeds

KINDS = ("mahalanobis", "knn")

_FOLDS = 5
_MAX_CAPACITY = 100_000
_MAX_COUNT = 2**53


class Anomaly(Head):
    """Score how unlike normal sound an embedding is; high = anomalous, 0 or more.

    Parameters
    ----------
    embedder : Embedder, optional
        Whose embeddings it learns from: anything with ``.spec.name`` and ``.digest``. Both are
        saved, and another model, or other weights, are refused at `load`. None: embeddings from
        elsewhere.
    kind : {"mahalanobis", "knn"}
        ``"mahalanobis"``: distance from the mean, in standard deviations of the covariance, shrunk
        by Ledoit and Wolf. Right for one steady state, and cheap to learn on.
        ``"knn"``: mean distance to the nearest embeddings in a memory. Right for several states.
    n_neighbors : int
        knn only: how many nearest embeddings, from 1 to `min_count`.
    capacity : int
        knn only: embeddings remembered, from `min_count`. Beyond that each one learned has the same
        chance to be among them, so memory stays constant however long it learns.
    min_count : int
        Grace period. Until so many embeddings are learned scores are 0, as there is nothing to
        compare with; until so many held-out scores are there too, probabilities are 0. `learn`
        needs as many at once and calibrates on them; learning one by one, both come after
        ``2 * min_count``. From 5.
    seed : int
        Draws what the memory keeps.

    Raises
    ------
    HeadError
        If an option is outside what is allowed.

    Notes
    -----
    Embeddings are taken as they are, not scaled by feature: features of an embedding share one
    unit. On nine pairs of sound set and embedding scaling helped one and hurt or left the others.
    Learning one by one, a score after each costs as much as inverting a (D, D) matrix for
    ``"mahalanobis"``: about 2 ms for D = 256, 100 ms for D = 1024. ``"knn"`` is far quicker there.

    Probability: the share of normal data expected to score lower. It is counted on scores of
    normal embeddings that were held out while learning (in `learn` by cross-validation, in
    `learn_one` by scoring before learning), with a fitted tail beyond them. At most 1000 such
    scores are kept, the latest. With 0.999 as threshold, one normal embedding in 1000 alarms, as
    long as normal sound stays what was learned.

    Sources: Lee et al., "A simple unified framework for detecting out-of-distribution samples",
    2018 (Mahalanobis on embeddings). Ramaswamy, Rastogi and Shim, "Efficient algorithms for mining
    outliers from large data sets", 2000 (k nearest neighbours). Vitter, "Random sampling with a
    reservoir", 1985 (the memory).

    Examples
    --------
    >>> import numpy as np
    >>> normal = np.random.default_rng(0).normal(size=(200, 4))
    >>> head = Anomaly(kind="mahalanobis").learn(normal)
    >>> head.probability(np.array([[0.0, 0, 0, 0], [9, 9, 9, 9]])) > 0.999
    array([False,  True])
    """

    _NAME = "anomaly"

    def __init__(
        self,
        embedder: Embeds | None = None,
        *,
        kind: Literal["mahalanobis", "knn"] = "mahalanobis",
        n_neighbors: int = 5,
        capacity: int = 1000,
        min_count: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__(embedder)
        self._kind = _checks.as_choice("kind", kind, KINDS)
        self._min_count = _checks.as_whole("min_count", min_count, 5, _MAX_CAPACITY)
        self._n_neighbors = _checks.as_whole("n_neighbors", n_neighbors, 1, self._min_count)
        self._capacity = _checks.as_whole("capacity", capacity, self._min_count, _MAX_CAPACITY)
        self._seed = _checks.as_whole("seed", seed, 0, _checks.MAX_SEED)
        self._detector: Detector | None = None
        self._count = 0
        self._held_out: Floats = np.empty(0)  # oldest first
        self._table: ScoreTable | None = None

    def __repr__(self) -> str:
        """Return the kind, the model, and how much was learned."""
        return (
            f"Anomaly(kind={self._kind!r}, model={self.model!r}; "
            f"{self._count} embeddings, emb_dim={self.emb_dim})"
        )

    @property
    def kind(self) -> str:
        """``"mahalanobis"`` or ``"knn"``."""
        return self._kind

    @property
    def count(self) -> int:
        """Embeddings learned."""
        return self._count

    @property
    def emb_dim(self) -> int | None:
        """Dimensions of the embeddings learned from; None before the first."""
        return self._detector.emb_dim if self._detector else None

    def learn(self, embeddings: ArrayLike, groups: Sequence[Hashable] | None = None) -> Self:
        """Forget what was learned before, and learn from embeddings of normal sound.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite, N at least `min_count`: arrays, lists, torch tensors, or a table's column of
            embeddings.
        groups : sequence of hashable, optional
            N names or numbers that say which recording each embedding is of; a recording stays
            together when some are held out. None: the embeddings are in the order of time, and are
            held out in blocks of neighbours.

        Returns
        -------
        Anomaly
            Itself.

        Raises
        ------
        HeadError
            If there are too few embeddings or groups, or shapes and numbers are not as above.
        """
        x = _checks.as_rows(embeddings, None)
        if len(x) < self._min_count:
            raise HeadError(
                f"{len(x)} embeddings are given; min_count={self._min_count} are needed. "
                "Give more normal sound, or allow less."
            )
        fold = self._deal(len(x), groups)
        detector = self._started(x.shape[1])
        self._held_out, self._table = thinned(detector.learn(x, fold)), None
        self._detector, self._count = detector, len(x)
        return self

    def _started(self, emb_dim: int) -> Detector:
        if self._kind == "mahalanobis":
            return Mahalanobis(Moments.none(emb_dim))
        return Neighbors(emb_dim, self._n_neighbors, self._capacity, self._seed)

    def _deal(self, n_rows: int, groups: Sequence[Hashable] | None) -> Codes:
        if groups is None:
            return deal_blocks(n_rows, _FOLDS)
        fold = deal(
            np.zeros(n_rows, dtype=np.intp),
            _checks.encode_groups(groups, n_rows),
            _FOLDS,
            self._seed,
        )
        if fold.max() < 0:
            raise HeadError(
                "groups hold one recording only; allowed are two or more, so that one can be held "
                "out. Record more, or leave groups out."
            )
        return fold

    def learn_one(self, embedding: ArrayLike) -> Self:
        """Learn from one more embedding of normal sound.

        Parameters
        ----------
        embedding : array_like, (D,)
            Finite.

        Returns
        -------
        Anomaly
            Itself. Scores are those of `learn` on all embeddings together.

        Raises
        ------
        HeadError
            If it is not as above, or of another width than those before.
        """
        x = _checks.as_row(embedding, self.emb_dim)
        detector = self._detector or self._started(len(x))
        # The more is known, the fewer are scored: the latest 1000 then cover a longer time.
        if self._count >= self._min_count and self._count % (1 + self._count // MAX_SCORES) == 0:
            self._held_out = np.append(self._held_out, detector.score(x[None]))[-MAX_SCORES:]
            self._table = None
        detector.learn_one(x)
        self._detector, self._count = detector, self._count + 1
        return self

    def score(self, embeddings: ArrayLike) -> Floats:
        """Return how anomalous each embedding is.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.

        Returns
        -------
        ndarray
            float64 (N,), 0 or more, high = anomalous; 0 in the grace period.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        detector = self._learned()
        x = _checks.as_rows(embeddings, self.emb_dim)
        return np.zeros(len(x)) if self._count < self._min_count else detector.score(x)

    def score_one(self, embedding: ArrayLike) -> float:
        """Return how anomalous one embedding (D,) is; 0.0 in the grace period, also at its start.

        Raises
        ------
        HeadError
            If the embedding does not fit.
        """
        x = _checks.as_row(embedding, self.emb_dim)
        return 0.0 if self._count < self._min_count else float(self.score(x[None])[0])

    def probability(self, embeddings: ArrayLike) -> Floats:
        """Return the share of normal data that is expected to score lower.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.

        Returns
        -------
        ndarray
            float64 (N,) in [0, 1], rising with the score; 0 in the grace period.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        scores = self.score(embeddings)
        if len(self._held_out) < min(self._min_count, MAX_SCORES):
            return np.zeros(len(scores))
        if self._table is None:
            self._table = ScoreTable.fit(self._held_out)
        return self._table.share_below(scores)

    def _learned(self) -> Detector:
        if self._detector is None:
            raise nothing_learned()
        return self._detector

    def _fields(self) -> _storage.Fields:
        detector = self._learned()
        return {
            "kind": self._kind,
            "n_neighbors": self._n_neighbors,
            "capacity": self._capacity,
            "min_count": self._min_count,
            "seed": self._seed,
            "count": self._count,
            "held_out": self._held_out,
            **detector.fields(),
        }

    @classmethod
    def _restored(cls, record: _storage.Record) -> Self:
        kind = _checks.as_choice("kind", record.text("kind"), KINDS)
        head = cls(
            kind="knn" if kind == "knn" else "mahalanobis",
            n_neighbors=record.whole("n_neighbors", 1, _MAX_CAPACITY),
            capacity=record.whole("capacity", 1, _MAX_CAPACITY),
            min_count=record.whole("min_count", 1, _MAX_CAPACITY),
            seed=record.whole("seed", 0, _checks.MAX_SEED),
        )
        head._count = count = record.whole("count", 1, _MAX_COUNT)
        head._held_out = record.scores("held_out", MAX_SCORES)
        head._detector = (
            Mahalanobis.restored(record, count)
            if kind == "mahalanobis"
            else Neighbors.restored(record, count, head._n_neighbors, head._capacity, head._seed)
        )
        return head
