"""How classes sound on any device, and how devices differ: a start for few-shot classification.

What is shared is statistics of embeddings in one vector, so that the same rounds and guards move
it as move a network's weights: class means, the covariance that classes share within a device, and
how far a device's class means lie from the fleet's.

Sources: Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", 2017; Efron and
Morris, "Stein's estimation rule and its competitors", 1973 (means drawn towards common ones).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.fleet.learning.layout import Layer, Layout, Vector
from listen_embed.fleet.learning.network import Answers, Learnt, Rows, Way
from listen_embed.heads import OnlineClassifier

# Share of a sphere in the covariance: axes in which nothing was seen to vary must not rule.
_SPHERE = 0.1
# A device's own sample counts as one; the fleet's mean as this many, at least and at most.
_LEAST_WEIGHT, _MOST_WEIGHT = 0.25, 8.0

Doubles = NDArray[np.float64]


class Prior:
    """Statistics of labelled embeddings.

    Parameters
    ----------
    emb_dim, n_classes : int
        Values of an embedding; classes, numbered from 0.
    """

    kind = "prior"

    def __init__(self, emb_dim: int, n_classes: int) -> None:
        if emb_dim < 1 or n_classes < 2:
            raise InputError(f"emb_dim is {emb_dim}, n_classes {n_classes}; give 1 and 2 or more")
        self._corner = np.tril_indices(emb_dim)
        self.layout = Layout(
            (
                Layer("classes", (n_classes, emb_dim)),
                Layer("within", (len(self._corner[0]),)),
                Layer("between", (1,)),
            )
        )

    def begin(self, seed: int) -> Vector:
        """Return the start of which nothing is known; nothing is drawn."""
        return np.zeros(self.layout.size, np.float32)

    def learn(self, start: Vector, x: Rows, y: Answers, rates: Vector, way: Way) -> Learnt:
        """Return the statistics of embeddings (N, D) of classes (N,); else as `Network.learn`.

        What a device did not hear stays as at the start: classes without samples; the covariance,
        if no class has two.
        """
        codes = y.astype(np.intp)
        vector = start.copy()
        known, layers = self.layout.views(start), self.layout.views(vector)
        means, counts = _means(x, codes, layers["classes"].shape[0])
        heard = counts > 0
        layers["classes"][heard] = means[heard]
        freedom = len(x) - int(heard.sum())
        if freedom > 0:
            rest = x.astype(np.float64) - means[codes]
            layers["within"][:] = (rest.T @ rest / freedom)[self._corner]
        if known["within"].any():
            layers["between"][0] = self._between(start, means[heard], counts[heard], heard)
        return Learnt(vector, np.zeros(len(rates), np.float32))

    def _between(
        self, start: Vector, means: Doubles, counts: Doubles, heard: NDArray[np.bool_]
    ) -> float:
        """Return the variance of a device's class means around the fleet's, within's being 1."""
        far = (means - self.layout.views(start)["classes"][heard]) @ self.whitening(start)
        return max(0.0, float(np.mean(np.mean(far**2, axis=1) - 1 / counts)))

    def whitening(self, vector: Vector) -> Doubles:
        """Return the matrix (D, D) that gives what classes share a variance of 1 in every axis."""
        width = int(self._corner[0][-1]) + 1
        shared = np.zeros((width, width))
        shared[self._corner] = self.layout.views(vector)["within"]
        shared = shared + np.tril(shared, -1).T
        energy, axes = np.linalg.eigh(shared)
        energy = np.maximum(energy, 0)
        mean = float(energy.mean())
        if mean == 0:
            return np.eye(width)
        return np.asarray(axes / np.sqrt((1 - _SPHERE) * energy + _SPHERE * mean))

    def adapt(self, vector: Vector, x: Rows, y: Answers) -> Adapted:
        """Return a classifier for a device that gives a few embeddings (N, D) of classes (N,)."""
        layers = self.layout.views(vector)
        fleet = layers["classes"].astype(np.float64)
        own, counts = _means(x, y.astype(np.intp), len(fleet))
        weight = self.weight(vector)
        blended = (weight * fleet + counts[:, None] * own) / (weight + counts)[:, None]
        metric = self.whitening(vector)
        return Adapted(metric, blended @ metric)

    def online(
        self, vector: Vector, labels: Sequence[str], embedder: Embedder | None = None
    ) -> OnlineClassifier:
        """Return a classifier that begins with the fleet's classes and learns on, also as C.

        Classes that nobody has heard begin when they are. Of the covariance only each value's own
        variance is taken along: `adapt` knows more.
        """
        layers = self.layout.views(vector)
        heard = np.flatnonzero(layers["classes"].any(axis=1))
        if not len(heard):
            raise InputError("the fleet has not learnt any class yet; hold rounds first")
        rows, columns = self._corner
        return OnlineClassifier.from_statistics(
            layers["classes"][heard],
            np.maximum(layers["within"][rows == columns], 0),
            [labels[code] for code in heard.tolist()],
            max(1, round(self.weight(vector))),
            embedder,
        )

    def weight(self, vector: Vector) -> float:
        """Return how many of a device's own samples the fleet's class mean is worth."""
        between = float(self.layout.views(vector)["between"][0])
        return float(np.clip(1 / max(between, 1e-6), _LEAST_WEIGHT, _MOST_WEIGHT))


@dataclass(frozen=True)
class Adapted:
    """Prototypes of one device, in the metric of its fleet.

    Attributes
    ----------
    metric : ndarray, float64 (D, D)
    prototypes : ndarray, float64 (K, D)
        Whitened.
    """

    metric: Doubles
    prototypes: Doubles

    def predict(self, x: Rows) -> NDArray[np.intp]:
        """Return the class numbers (N,) of embeddings (N, D)."""
        rows = x @ self.metric
        squares = np.sum(self.prototypes**2, axis=1) - 2 * rows @ self.prototypes.T
        return np.asarray(squares.argmin(axis=1))


def _means(x: Rows, codes: NDArray[np.intp], n_classes: int) -> tuple[Doubles, Doubles]:
    """Return class means (K, D), 0 where there are no rows, and how many rows each has (K,)."""
    counts = np.bincount(codes, minlength=n_classes).astype(np.float64)
    sums = np.zeros((n_classes, x.shape[1]))
    np.add.at(sums, codes, x.astype(np.float64))
    return sums / np.maximum(counts, 1)[:, None], counts
