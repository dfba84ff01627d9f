"""Which of a few taught sounds is it: from one clip a class up, with a calibrated "unknown"."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from listen_embed.errors import HeadError, ListenEmbedWarning
from listen_embed.heads import _checks, _storage
from listen_embed.heads._base import Head, nothing_learned
from listen_embed.heads._checks import UNKNOWN, Floats, Label
from listen_embed.heads._examples import Examples
from listen_embed.heads._identity import Embeds
from listen_embed.heads._learned import Learned
from listen_embed.heads._prototype import MIN_HELD_OUT

_MAX_CAPACITY = 100_000


class Classifier(Head):
    """Tell taught sounds apart by their embeddings: the class with the nearest mean wins.

    Distances are measured in the covariance that the classes share, shrunk by Ledoit and Wolf: with
    many clips this is linear discriminant analysis, with few it becomes the plain distance, so it
    needs no setting.

    Parameters
    ----------
    embedder : Embedder, optional
        Whose embeddings it learns from: anything with ``.spec.name`` and ``.digest``. Both are
        saved, and another model, or other weights, are refused at `load`. None: embeddings from
        elsewhere.
    reject : float
        Share of known sound that `predict` may call ``"unknown"``, in [0, 0.5]; 0, the default,
        never says so. The threshold comes from the novelty of held-out clips. It needs at least
        five that can be held out, so classes of two clips up; with less, `learn` warns and nothing
        is called unknown.
    capacity : int
        Embeddings of each label that are remembered and learned from, from 2. Beyond that each one
        taught has the same chance to be among them, so memory stays constant however long it
        learns.
    seed : int
        Draws the folds of the cross-validation, and what is remembered.

    Raises
    ------
    HeadError
        If an option is outside what is allowed.

    Notes
    -----
    Features are centred and divided by their standard deviation, or by the average one where that
    is larger: a nearly constant feature of an embedding is noise, and is not blown up.

    Probabilities are a softmax of negative squared distances; its temperature makes held-out clips
    likely (with Platt's smoothed targets, so that clean clips do not make it overconfident). With
    one clip a class nothing can be held out: the metric is the plain distance, the temperature a
    tenth of the mean squared distance between prototypes.

    Sources: Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", 2017
    (prototypes). Friedman, "Regularized discriminant analysis", 1989 (shared shrunk covariance).
    Guo et al., "On calibration of modern neural networks", 2017 (temperature). Platt,
    "Probabilistic outputs for support vector machines", 1999 (smoothed targets).

    Examples
    --------
    >>> import numpy as np
    >>> classifier = Classifier().learn(np.eye(3), ["saw", "drill", "off"])
    >>> classifier.predict(np.array([[0.1, 0.9, 0.2]]))
    ['drill']
    """

    _NAME = "classifier"

    def __init__(
        self,
        embedder: Embeds | None = None,
        *,
        reject: float = 0.0,
        capacity: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__(embedder)
        self._reject = _checks.as_number("reject", reject, 0.0, 0.5)
        self._capacity = _checks.as_whole("capacity", capacity, 2, _MAX_CAPACITY)
        self._seed = _checks.as_whole("seed", seed, 0, _checks.MAX_SEED)
        self._examples = Examples(self._capacity, self._seed)
        self._learned: Learned | None = None  # None: to be learned from the examples when needed

    def __repr__(self) -> str:
        """Return the model and what was learned."""
        size = f"{len(self.labels)} labels, emb_dim={self.emb_dim}" if self.labels else "untaught"
        return f"Classifier(model={self.model!r}; {size})"

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels taught, sorted: the columns of `predict_proba`."""
        return self._examples.labels

    @property
    def emb_dim(self) -> int | None:
        """Dimensions of the embeddings learned from; None before the first."""
        return self._examples.emb_dim

    @property
    def threshold(self) -> float:
        """The novelty above which `predict` says ``"unknown"``; infinite if it never does.

        Raises HeadError if nothing was learned.
        """
        return self._known().threshold(self._reject)

    def learn(
        self,
        embeddings: ArrayLike,
        labels: Sequence[Label],
        groups: Sequence[Hashable] | None = None,
    ) -> Self:
        """Forget what was learned before, and learn from labelled embeddings.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite: arrays, lists, torch tensors, or a table's column of embeddings.
        labels : sequence of str or of int
            N texts or N whole numbers, at least two different ones, not ``"unknown"``.
        groups : sequence of hashable, optional
            N names or numbers that say which embeddings belong together, as the frames of one clip
            do; they stay together when some are held out. None: each stands alone.

        Returns
        -------
        Classifier
            Itself.

        Raises
        ------
        HeadError
            If shapes, numbers or labels are not as above.

        Warns
        -----
        ListenEmbedWarning
            If `reject` is asked for, but too little can be held out to set the threshold.
        """
        x = _checks.as_rows(embeddings, None)
        names = _checks.as_labels(labels, len(x))
        together = [None] * len(x) if groups is None else groups
        _checks.require_length("groups", together, len(x))
        examples = Examples(self._capacity, self._seed)
        for row, label, group in zip(x, names, together, strict=True):
            examples.add(row, label, group)
        learned = self._learned_from(examples)
        self._examples, self._learned = examples, learned
        self._warn_without_threshold(learned)
        return self

    def learn_one(self, embedding: ArrayLike, label: Label, group: Hashable | None = None) -> Self:
        """Learn from one more labelled embedding, of a label known or new.

        Answers are those of `learn` on all embeddings together; the first one asked for after
        learning takes as long as `learn`. They need two different labels.

        Parameters
        ----------
        embedding : array_like, (D,)
            Finite.
        label : str or int
            A text or a whole number as the labels before, not ``"unknown"``.
        group : hashable, optional
            As in `learn`: equal groups are held out together. They are not continued over `save`
            and `load`.

        Returns
        -------
        Classifier
            Itself.

        Raises
        ------
        HeadError
            If it is not as above, or of another width than those before.
        """
        row = _checks.as_row(embedding, self.emb_dim)
        self._examples.add(row, _checks.as_label(label), group)
        self._learned = None
        return self

    def predict_proba(self, embeddings: ArrayLike) -> Floats:
        """Return how likely each label is, if it is one of them.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.

        Returns
        -------
        ndarray
            float64 (N, K), columns as in `labels`, each row adds up to 1.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        learned = self._known()
        return learned.probabilities(_checks.as_rows(embeddings, self.emb_dim))

    def predict(self, embeddings: ArrayLike) -> list[Label]:
        """Return the most likely label of each embedding, or ``"unknown"`` where all are too far.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.

        Returns
        -------
        list of str or int
            N labels, as they were given.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        learned, labels = self._known(), self.labels
        x = _checks.as_rows(embeddings, self.emb_dim)
        best = [labels[code] for code in learned.probabilities(x).argmax(axis=1)]
        threshold = learned.threshold(self._reject)
        if np.isinf(threshold):
            return best
        known = learned.novelty(x) <= threshold
        return [label if ok else UNKNOWN for label, ok in zip(best, known, strict=True)]

    def predict_one(self, embedding: ArrayLike) -> Label:
        """Return what `predict` says of one embedding (D,).

        Raises
        ------
        HeadError
            If nothing was learned, or the embedding does not fit.
        """
        self._known()
        return self.predict(_checks.as_row(embedding, self.emb_dim)[None])[0]

    def linear(self) -> tuple[Floats, Floats]:
        """Return this classifier as a linear layer: for exports, and other programs.

        `predict_proba` is the softmax of ``embeddings @ weights.T + bias``.

        Returns
        -------
        weights : ndarray
            float64 (K, D), rows as in `labels`.
        bias : ndarray
            float64 (K,).

        Raises
        ------
        HeadError
            If nothing was learned.
        """
        return self._known().linear()

    def novelty(self, embeddings: ArrayLike) -> Floats:
        """Return how far each embedding is from all that was taught, high = novel.

        The distance to the nearest class mean, in standard deviations of the covariance that the
        classes share. A mean of n clips is itself uncertain: squared distances from it are divided
        by 1 + 1/n.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.

        Returns
        -------
        ndarray
            float64 (N,), 0 or more.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        learned = self._known()
        return learned.novelty(_checks.as_rows(embeddings, self.emb_dim))

    def _known(self) -> Learned:
        if not self.labels:
            raise nothing_learned()
        if self._learned is None:
            self._learned = self._learned_from(self._examples)
        return self._learned

    def _learned_from(self, examples: Examples) -> Learned:
        if len(examples.labels) < 2:
            raise HeadError(
                f"the labels are {list(examples.labels)}; a classifier needs at least two "
                "different ones. To know one kind of sound from all others, use Anomaly."
            )
        return Learned.of(*examples.arrays(), self._seed)

    def _warn_without_threshold(self, learned: Learned) -> None:
        if self._reject > 0 and np.isinf(learned.threshold(self._reject)):
            warnings.warn(
                f"reject={self._reject:g} has no effect: only {len(learned.held_out)} embeddings "
                f"could be held out, {MIN_HELD_OUT} are needed. Give two or more clips a class.",
                ListenEmbedWarning,
                stacklevel=3,
            )

    def _fields(self) -> _storage.Fields:
        return {
            **self._known().fields(),
            **self._examples.fields(),
            "reject": self._reject,
            "capacity": self._capacity,
            "seed": self._seed,
        }

    @classmethod
    def _restored(cls, record: _storage.Record) -> Self:
        classifier = cls(
            reject=record.number("reject", 0.0, 0.5),
            capacity=record.whole("capacity", 2, _MAX_CAPACITY),
            seed=record.whole("seed", 0, _checks.MAX_SEED),
        )
        examples = Examples.restored(record, classifier._capacity, classifier._seed)
        width = examples.emb_dim or 0
        classifier._examples = examples
        classifier._learned = Learned.restored(record, len(examples.labels), width)
        return classifier
