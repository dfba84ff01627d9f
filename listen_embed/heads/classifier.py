"""Which of a few taught sounds is it: from one clip a class up, with a calibrated "unknown"."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from listen_embed.errors import HeadError, ListenEmbedWarning
from listen_embed.heads import _checks, _logistic, _storage
from listen_embed.heads._checks import UNKNOWN, Floats
from listen_embed.heads._held_out import MAX_SCORES, ScoreTable, deal, thinned
from listen_embed.heads._prototype import (
    MIN_HELD_OUT,
    Data,
    HeldOut,
    choose_temperature,
    inflation,
    novelty,
    shared_metric,
    softmax,
    squared_distances,
)

KINDS = ("prototype", "logistic")

_GROUPS_TO_SEARCH = 3  # from so many that can be held out, per class on average, c is searched for
_SEARCH_FOLDS = 5
_SEARCH_ROWS = 1000


@dataclass(frozen=True)
class _Learned:
    """All that a classifier keeps of its clips."""

    labels: tuple[str, ...]
    center: Floats  # (D,)
    scale: Floats  # (D,)
    metric: Floats  # (D, D), whitens the spread that classes share
    prototypes: Floats  # (K, D), whitened
    inflated: Floats  # (K,), see _prototype.inflation
    temperature: float
    held_out: Floats  # novelty of held-out embeddings; none where nothing could be held out
    weights: Floats | None = None  # (D, K), logistic only, as the next
    intercepts: Floats | None = None  # (K,)


class Classifier:
    """Tell taught sounds apart by their embeddings.

    Parameters
    ----------
    kind : {"prototype", "logistic"}
        ``"prototype"``: the class with the nearest mean wins. Distances are measured in the
        covariance that the classes share, shrunk by Ledoit and Wolf: with many clips this is linear
        discriminant analysis, with few it becomes the plain distance, so it needs no setting.
        ``"logistic"``: multinomial logistic regression with a ridge. On nine pairs of sound set and
        embedding neither was the better one throughout, from 1 clip a class to 18; the prototypes
        learn faster.
    model, digest : str
        Name and digest of the embedder's model, ``embedder.spec.name`` and ``embedder.digest``.
        They are saved, and another model's are refused at `load`.
    reject : float
        Share of known sound that `predict` may call ``"unknown"``, in [0, 0.5]; 0, the default,
        never says so. The threshold comes from the novelty of held-out clips. It needs at least
        five that can be held out, so classes of two clips up; with less, `learn` warns and nothing
        is called unknown.
    c : float, optional
        Logistic only: inverse strength of the ridge, as C in scikit-learn. None, the default,
        chooses among 0.001, 0.01, 0.1, 1 and 10 by cross-validated log loss where on average three
        clips a class can be held out, and takes 1 where not.
    balanced : bool
        Logistic only: let every class weigh the same, however many clips it has.
    seed : int
        Draws the folds of the cross-validation.

    Raises
    ------
    HeadError
        If an option is outside what is allowed.

    Notes
    -----
    Features are centred and divided by their standard deviation, or by the average one where that
    is larger: a nearly constant feature of an embedding is noise, and is not blown up.

    Probabilities of ``"prototype"`` are a softmax of negative squared distances; its temperature
    makes held-out clips likely (with Platt's smoothed targets, so that clean clips do not make it
    overconfident). With one clip a class nothing can be held out: the metric is the plain distance,
    the temperature a tenth of the mean squared distance between prototypes.

    Sources: Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", 2017
    (prototypes). Friedman, "Regularized discriminant analysis", 1989 (shared shrunk covariance).
    Guo et al., "On calibration of modern neural networks", 2017 (temperature). Platt,
    "Probabilistic outputs for support vector machines", 1999 (smoothed targets).

    Examples
    --------
    >>> import numpy as np
    >>> classifier = Classifier("prototype").learn(np.eye(3), ["saw", "drill", "off"])
    >>> classifier.predict(np.array([[0.1, 0.9, 0.2]]))
    ['drill']
    """

    def __init__(
        self,
        kind: Literal["prototype", "logistic"] = "prototype",
        *,
        model: str = "",
        digest: str = "",
        reject: float = 0.0,
        c: float | None = None,
        balanced: bool = False,
        seed: int = 0,
    ) -> None:
        self._kind = _checks.as_choice("kind", kind, KINDS)
        self._model = _checks.as_identity("model", model)
        self._digest = _checks.as_identity("digest", digest)
        self._reject = _checks.as_number("reject", reject, 0.0, 0.5)
        self._c = None if c is None else _checks.as_number("c", c, 1e-9, 1e9)
        self._balanced = bool(balanced)
        self._seed = _checks.as_whole("seed", seed, 0, _checks.MAX_SEED)
        self._learned: _Learned | None = None
        self._threshold = np.inf

    def __repr__(self) -> str:
        """Return the kind, the model, and what was learned."""
        size = f"{len(self.labels)} labels, emb_dim={self.emb_dim}" if self._learned else "untaught"
        return f"Classifier({self._kind!r}, model={self._model!r}; {size})"

    @property
    def kind(self) -> str:
        """``"prototype"`` or ``"logistic"``."""
        return self._kind

    @property
    def model(self) -> str:
        """Name of the model whose embeddings it learns from, empty if not stated."""
        return self._model

    @property
    def digest(self) -> str:
        """Digest of that model, empty if not stated."""
        return self._digest

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels learned, sorted: the columns of `predict_proba`."""
        return self._learned.labels if self._learned else ()

    @property
    def emb_dim(self) -> int | None:
        """Dimensions of the embeddings learned from; None before `learn`."""
        return len(self._learned.center) if self._learned else None

    @property
    def threshold(self) -> float:
        """The novelty above which `predict` says ``"unknown"``; infinite if it never does."""
        return self._threshold

    def learn(
        self,
        embeddings: ArrayLike,
        labels: Sequence[str],
        groups: Sequence[Hashable] | None = None,
    ) -> Self:
        """Forget what was learned before, and learn from labelled embeddings.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.
        labels : sequence of str
            N texts, at least two different ones, not ``"unknown"``.
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
        names, codes = _checks.encode_labels(labels, len(x))
        data = Data.prepare(x, codes, _checks.encode_groups(groups, len(x)), len(names))
        learned = _learn_prototypes(data, names, self._seed)
        if self._kind == "logistic":
            learned = _learn_regression(learned, data, self._c, self._balanced, self._seed)
        self._take(learned)
        if self._reject > 0 and np.isinf(self._threshold):
            warnings.warn(
                f"reject={self._reject:g} has no effect: only {len(learned.held_out)} embeddings "
                f"could be held out, {MIN_HELD_OUT} are needed. Give two or more clips a class.",
                ListenEmbedWarning,
                stacklevel=2,
            )
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
        learned, z = self._scaled(embeddings)
        if learned.weights is not None and learned.intercepts is not None:
            return softmax(z @ learned.weights + learned.intercepts)
        distances = squared_distances(z @ learned.metric, learned.prototypes)
        return softmax(distances / (-2.0 * learned.temperature))

    def predict(self, embeddings: ArrayLike) -> list[str]:
        """Return the most likely label of each embedding, or ``"unknown"`` where all are too far.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        best = self.predict_proba(embeddings).argmax(axis=1)
        names = [self.labels[code] for code in best]
        if np.isinf(self._threshold):
            return names
        known = self.novelty(embeddings) <= self._threshold
        return [name if ok else UNKNOWN for name, ok in zip(names, known, strict=True)]

    def novelty(self, embeddings: ArrayLike) -> Floats:
        """Return how far each embedding is from all that was taught, high = novel.

        The distance to the nearest class mean, in standard deviations of the covariance that the
        classes share; the same for both kinds. A mean of n clips is itself uncertain: squared
        distances from it are divided by 1 + 1/n.

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
        learned, z = self._scaled(embeddings)
        distances = squared_distances(z @ learned.metric, learned.prototypes)
        return novelty(distances, learned.inflated)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save as .npz, in the format of `listen_embed.heads.save`.

        Raises
        ------
        HeadError
            If nothing was learned, or the file cannot be written.
        """
        _storage.write(path, self._model, self._digest, {"classifier": self._fields()})

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        model: str | None = None,
        digest: str | None = None,
    ) -> Self:
        """Return the classifier in an .npz.

        Parameters
        ----------
        path : str or path
            What `save` wrote.
        model, digest : str, optional
            The model whose embeddings it shall work on; None does not check.

        Raises
        ------
        HeadError
            If it was taught with another model, or the file is missing, damaged, or has none.
        """
        with _storage.reading(path, model, digest) as record:
            head = record.head("classifier")
            if head is None:
                raise ValueError("it holds no classifier")
            return cls._restored(head, record.identity())

    def check_model(self, model: str | None = None, digest: str | None = None) -> None:
        """Raise HeadError unless it was taught with this model; None does not check."""
        _storage.check_model((self._model, self._digest), model, digest)

    def _scaled(self, embeddings: ArrayLike) -> tuple[_Learned, Floats]:
        if self._learned is None:
            raise HeadError("this classifier has learned nothing yet; call learn first.")
        x = _checks.as_rows(embeddings, self.emb_dim)
        return self._learned, (x - self._learned.center) / self._learned.scale

    def _take(self, learned: _Learned) -> None:
        self._learned, self._threshold = learned, np.inf
        if self._reject > 0 and len(learned.held_out) >= MIN_HELD_OUT:
            self._threshold = ScoreTable.fit(learned.held_out).score_at(1.0 - self._reject)

    def _fields(self) -> _storage.Fields:
        if self._learned is None:
            raise HeadError("this classifier has learned nothing yet; call learn before save.")
        learned = self._learned
        fields: dict[str, _storage.Field] = {
            "kind": self._kind,
            "reject": self._reject,
            "asked_c": self._c or 0.0,
            "balanced": int(self._balanced),
            "seed": self._seed,
            "labels": np.array(learned.labels),
            "center": learned.center,
            "scale": learned.scale,
            "metric": learned.metric,
            "prototypes": learned.prototypes,
            "inflated": learned.inflated,
            "temperature": learned.temperature,
            "held_out": learned.held_out,
        }
        if learned.weights is not None and learned.intercepts is not None:
            fields |= {"weights": learned.weights, "intercepts": learned.intercepts}
        return fields

    @classmethod
    def _restored(cls, record: _storage.Record, identity: Mapping[str, str]) -> Self:
        kind = _checks.as_choice("kind", record.text("kind"), KINDS)
        classifier = cls(
            "logistic" if kind == "logistic" else "prototype",
            reject=record.number("reject", 0.0, 0.5),
            c=record.number("asked_c", 0.0, np.inf) or None,
            balanced=bool(record.whole("balanced", 0, 1)),
            seed=record.whole("seed", 0, _checks.MAX_SEED),
            **identity,
        )
        classifier._take(_learned_from(record, kind))
        return classifier


def _learn_prototypes(data: Data, names: tuple[str, ...], seed: int) -> _Learned:
    gram, width = data.z.T @ data.z, data.z.shape[1]
    metric, means = shared_metric(data.z, data.codes, data.n_classes, gram, width)
    metric = np.eye(width) if metric is None else metric
    held_out = HeldOut.of(data, seed)
    return _Learned(
        labels=names,
        center=data.center,
        scale=data.scale,
        metric=metric,
        prototypes=means @ metric,
        inflated=inflation(data.codes, data.groups, data.n_classes),
        temperature=choose_temperature(held_out, means @ metric),
        held_out=thinned(np.sort(held_out.novelty)),
    )


def _learn_regression(
    learned: _Learned, data: Data, c: float | None, balanced: bool, seed: int
) -> _Learned:
    x = np.column_stack([data.z @ data.axes, np.ones(len(data.z))])
    counts = np.bincount(data.codes)
    row_weights = len(x) / (len(counts) * counts[data.codes]) if balanced else np.ones(len(x))
    energy = np.append(data.energy, len(x))
    problem = _logistic.Problem(x, data.codes, data.n_classes, row_weights, energy)
    theta = _logistic.fit(problem, _search(problem, data, seed) if c is None else c)
    return replace(learned, weights=data.axes @ theta[:-1], intercepts=theta[-1])


def _search(problem: _logistic.Problem, data: Data, seed: int) -> float:
    """Return c by cross-validation on some thousand rows, or the default for too few groups."""
    order = np.argsort(data.codes, kind="stable")
    first = np.searchsorted(data.codes[order], data.codes[order])
    stride = -(-len(order) // _SEARCH_ROWS)
    rank = np.arange(len(order)) - first  # within the class
    keep = np.sort(order[rank % stride == 0])
    groups = np.unique(data.groups[keep], return_inverse=True)[1]
    fold = deal(data.codes[keep], groups, _SEARCH_FOLDS, seed)
    if len(np.unique(groups[fold >= 0])) < _GROUPS_TO_SEARCH * data.n_classes:
        return _logistic.DEFAULT_C
    return _logistic.choose_c(problem.subset(keep), fold)


def _learned_from(record: _storage.Record, kind: str) -> _Learned:
    center = record.floats("center", None)
    labels, width = record.texts("labels"), len(center)
    if labels != _checks.encode_labels(labels, len(labels))[0] or width == 0:
        raise ValueError("its labels are not what learn leaves")
    learned = _Learned(
        labels=labels,
        center=center,
        scale=record.positive("scale", width),
        metric=record.floats("metric", width, width),
        prototypes=record.floats("prototypes", len(labels), width),
        inflated=record.positive("inflated", len(labels)),
        temperature=float(record.positive("temperature")),
        held_out=record.scores("held_out", MAX_SCORES),
    )
    if kind == "prototype":
        return learned
    return replace(
        learned,
        weights=record.floats("weights", width, len(labels)),
        intercepts=record.floats("intercepts", len(labels)),
    )
