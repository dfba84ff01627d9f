"""Which of a few taught sounds is it, learnt one sample at a time as on a microcontroller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from listen_embed.errors import HeadError
from listen_embed.heads import _checks, _storage
from listen_embed.heads._base import Head, nothing_learned
from listen_embed.heads._checks import Floats, Label
from listen_embed.heads._correction import LARGEST, Correction
from listen_embed.heads._guard import CAPACITY, HeldOut
from listen_embed.heads._identity import Embeds
from listen_embed.heads._learner import Learner, Options
from listen_embed.heads._running import MAX_COUNT, Running
from listen_embed.heads._single import Singles

MAX_CLASSES = 1000
_MAX_HOLD_OUT = 1000
_MAX_OFFERED = 2**53
_MAX_WEIGHT = 1000
# Embeddings beyond are taken for this: their squares add up in single precision.
_FURTHEST = 1e15


class OnlineClassifier(Head):
    """Tell taught sounds apart, learning from one labelled embedding at a time.

    A frozen embedder and a last layer that learns: running standardisation, a prototype for each
    class, and a linear correction of the prototypes' answer by single-sample gradient steps. A
    sample is used once and thrown away; memory grows with classes only, and every step is as long
    as the first. Classes may begin at any time. `listen_embed.device` exports it as C that goes
    on learning with the same bits.

    Parameters
    ----------
    embedder : Embedder, optional
        Whose embeddings it learns from; saved, and another model or other weights are refused at
        `load`. None: embeddings from elsewhere.
    rate : float
        Step of the gradient, in [0, 2]; 0 leaves prototypes alone.
    hold_out : int
        Every how many samples one is held out, from 2 to 1000; 0 holds out none, and nothing guards
        against corrections that do harm. Held-out samples are never learnt: they go into a ring of
        eight, and where the correction does worse on it than the last good one, it goes back there.

    Raises
    ------
    HeadError
        If an option is outside what is allowed.

    Notes
    -----
    Forgetting is bounded: prototypes are plain means, which no order of samples can lose; a class's
    row of the correction has a norm of 8 at most, a step's gradient one of 1. Answers blend those
    with the correction and those without by how well each did on samples before they were learnt
    (exponential weights on fading Brier losses).

    All arithmetic is in single precision with sums in order, so that C repeats it bit for bit.
    Values beyond 1e15 are taken for 1e15.

    Sources: Ren, Anicic and Runkler, "TinyOL: TinyML with online-learning on microcontrollers",
    2021 (frozen base, online last layer, running standardisation). Welford, 1962 (running
    statistics). Snell, Swersky and Zemel, 2017 (prototypes). Freund and Schapire, 1997
    (exponential weights).

    Examples
    --------
    >>> import numpy as np
    >>> head = OnlineClassifier()
    >>> for sound, label in zip(np.eye(3), ["saw", "drill", "off"]):
    ...     head = head.learn_one(sound, label)
    >>> head.predict(np.array([[0.1, 0.9, 0.2]]))
    ['drill']
    """

    _NAME = "online"

    def __init__(
        self, embedder: Embeds | None = None, *, rate: float = 0.5, hold_out: int = 5
    ) -> None:
        super().__init__(embedder)
        self._options = Options(
            _checks.as_number("rate", rate, 0.0, 2.0),
            _checks.as_whole("hold_out", hold_out, 0, _MAX_HOLD_OUT),
        )
        if hold_out == 1:
            raise HeadError("hold_out is 1, so nothing would be learnt; give 0 or 2 to 1000.")
        self._labels: list[Label] = []
        self._learner: Learner | None = None

    @classmethod
    def from_statistics(
        cls,
        means: ArrayLike,
        variances: ArrayLike,
        labels: Sequence[Label],
        weight: int = 1,
        embedder: Embeds | None = None,
    ) -> Self:
        """Return one that begins with what others heard, and learns on from there.

        Parameters
        ----------
        means : array_like, (K, D)
            Of each class.
        variances : array_like, (D,)
            Of a class's embeddings around its mean; 0 or more.
        labels : sequence of str or of int
            K different ones.
        weight : int
            How many samples of each class all of this counts as, from 1 to 1000.
        embedder : Embedder, optional
            Whose embeddings these are of.

        Raises
        ------
        HeadError
            If shapes, numbers or labels are not as above.
        """
        prototypes = _checks.as_rows(means, None)
        within = _checks.as_row(variances, prototypes.shape[1])
        names = _checks.as_labels(labels, len(prototypes))
        if not names or len(set(names)) != len(names) or (within < 0).any():
            raise HeadError("give one label or more, all different, and variances of 0 or more.")
        _require_room(len(names))
        head = cls(embedder)
        head._labels = list(names)
        head._learner = Learner.begun(
            _single(prototypes),
            within.astype(np.float32),
            _checks.as_whole("weight", weight, 1, _MAX_WEIGHT),
            head._options,
        )
        return head

    def __repr__(self) -> str:
        """Return the model and what was learned."""
        size = f"{len(self._labels)} labels, emb_dim={self.emb_dim}" if self._labels else "untaught"
        return f"OnlineClassifier(model={self.model!r}; {size})"

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels taught, in the order in which they came: the columns of `predict_proba`."""
        return tuple(self._labels)

    @property
    def emb_dim(self) -> int | None:
        """Dimensions of the embeddings learned from; None before the first."""
        return None if self._learner is None else len(self._learner.heard.mean)

    @property
    def count(self) -> int:
        """Samples that were ever given, held-out ones among them."""
        return 0 if self._learner is None else self._learner.offered

    @property
    def rollbacks(self) -> int:
        """How often the correction went back to the last good one."""
        return 0 if self._learner is None else self._learner.rollbacks

    def learn(self, embeddings: ArrayLike, labels: Sequence[Label]) -> Self:
        """Forget what was learned before, and learn from labelled embeddings in their order.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite, one or more.
        labels : sequence of str or of int
            N texts or N whole numbers, not ``"unknown"``.

        Returns
        -------
        OnlineClassifier
            Itself.

        Raises
        ------
        HeadError
            If shapes, numbers or labels are not as above.
        """
        x = _checks.as_rows(embeddings, None)
        names = _checks.as_labels(labels, len(x))
        if not names:
            raise HeadError("embeddings are no rows; give one or more.")
        _require_room(len(set(names)))
        self._labels, self._learner = [], None
        for row, label in zip(_single(x), names, strict=True):
            self._take(row, label)
        return self

    def learn_one(self, embedding: ArrayLike, label: Label) -> Self:
        """Learn from one labelled embedding, of a label known or new.

        Parameters
        ----------
        embedding : array_like, (D,)
            Finite.
        label : str or int
            A text or a whole number as the labels before, not ``"unknown"``.

        Returns
        -------
        OnlineClassifier
            Itself.

        Raises
        ------
        HeadError
            If it is not as above, of another width than those before, or of one label too many.
        """
        row = _checks.as_row(embedding, self.emb_dim)
        name = _checks.as_labels([*self._labels[:1], _checks.as_label(label)])[-1]
        if name not in self._labels:
            _require_room(len(self._labels) + 1)
        self._take(_single(row), name)
        return self

    def _take(self, row: Singles, label: Label) -> None:
        if self._learner is None:
            self._learner = Learner.empty(len(row), self._options)
        if label not in self._labels:
            self._labels.append(label)
        self._learner.take(row, self._labels.index(label))

    def predict_proba(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        """Return how likely each label is, if it is one of them.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.

        Returns
        -------
        ndarray
            float32 (N, K), columns as in `labels`, each row adds up to 1.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        learner = self._known()
        return learner.probabilities(_single(_checks.as_rows(embeddings, self.emb_dim)))

    def predict(self, embeddings: ArrayLike) -> list[Label]:
        """Return the most likely label of each embedding (N, D), as it was given.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        return [self._labels[code] for code in self.predict_proba(embeddings).argmax(axis=1)]

    def predict_one(self, embedding: ArrayLike) -> Label:
        """Return what `predict` says of one embedding (D,).

        Raises
        ------
        HeadError
            If nothing was learned, or the embedding does not fit.
        """
        self._known()
        return self.predict(_checks.as_row(embedding, self.emb_dim)[None])[0]

    def novelty(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        """Return how far each embedding is from the nearest prototype, high = novel.

        In deviations of all that was heard, the root of their mean square over the D values.

        Parameters
        ----------
        embeddings : array_like, (N, D)
            Finite.

        Returns
        -------
        ndarray
            float32 (N,), 0 or more.

        Raises
        ------
        HeadError
            If nothing was learned, or the embeddings do not fit.
        """
        learner = self._known()
        return learner.distances(_single(_checks.as_rows(embeddings, self.emb_dim)))

    def _known(self) -> Learner:
        if self._learner is None:
            raise nothing_learned()
        return self._learner

    def _fields(self) -> _storage.Fields:
        learner = self._known()
        return {
            "labels": np.array(self._labels),
            "rate": self._options.rate,
            "hold_out": self._options.hold_out,
            "count": learner.heard.count,
            "mean": learner.heard.mean,
            "squares": learner.heard.squares,
            "counts": learner.counts,
            "prototypes": learner.prototypes,
            "weights": learner.correction.weights,
            "good": learner.correction.good,
            "held_rows": learner.held_out.rows,
            "held_codes": learner.held_out.codes,
            "held_count": learner.held_out.count,
            "trust": learner.trust,
            "offered": learner.offered,
            "rollbacks": learner.rollbacks,
        }

    @classmethod
    def _restored(cls, record: _storage.Record) -> Self:
        head = cls(
            rate=record.number("rate", 0.0, 2.0),
            hold_out=record.whole("hold_out", 0, _MAX_HOLD_OUT),
        )
        head._labels = list(record.distinct("labels", MAX_CLASSES))
        head._learner = _restored_learner(record, len(head._labels), head._options)
        return head


def _single(rows: Floats) -> Singles:
    return np.clip(rows, -_FURTHEST, _FURTHEST).astype(np.float32)


def _require_room(n_classes: int) -> None:
    if n_classes > MAX_CLASSES:
        raise HeadError(f"{n_classes} different labels are given; allowed are {MAX_CLASSES}.")


def _restored_learner(record: _storage.Record, n_classes: int, options: Options) -> Learner:
    prototypes = record.singles("prototypes", n_classes, None)
    width, limit = prototypes.shape[1], float(LARGEST)
    return Learner(
        options,
        Running(
            record.whole("count", 1, MAX_COUNT),
            record.singles("mean", width),
            record.singles("squares", width, low=0.0),
        ),
        record.wholes("counts", n_classes, 1, MAX_COUNT).astype(np.int32),
        prototypes,
        Correction(
            record.singles("weights", n_classes, width + 1, low=-limit, high=limit),
            record.steps("good", np.int16, n_classes, width + 1),
        ),
        _restored_held_out(record, n_classes, width),
        record.singles("trust", 2, low=0.0),
        record.whole("offered", 1, _MAX_OFFERED),
        record.whole("rollbacks", 0, _MAX_OFFERED),
    )


def _restored_held_out(record: _storage.Record, n_classes: int, width: int) -> HeldOut:
    count = record.whole("held_count", 0, _MAX_OFFERED)
    kept = min(count, CAPACITY)
    codes = record.wholes("held_codes", kept, 0, n_classes - 1).astype(np.int16)
    return HeldOut(record.steps("held_rows", np.int8, kept, width), codes, count)
