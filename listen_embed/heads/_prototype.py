"""Class means and the distance to them: what the classifier stands on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listen_embed.heads._checks import Codes, Floats
from listen_embed.heads._covariance import ledoit_wolf, whitening
from listen_embed.heads._held_out import deal

MIN_HELD_OUT = 5  # fewer held-out embeddings calibrate nothing

_FOLDS = 10
_FEW_ROWS = 1000  # above, half the folds do
_NO_VARIANCE = 1e-10  # share of the largest, below which an axis is rounding
# Temperature where nothing can be held out, as a share of the mean squared distance between
# prototypes. Measured with one clip a class, nine pairs of sound set and embedding: the best share
# lay between 0.02 and 0.5; 0.1 costs least where it is wrong.
_DEFAULT_TEMPERATURE = 0.1


@dataclass(frozen=True)
class Data:
    """Labelled embeddings, scaled, and their coordinates along their principal axes.

    Attributes
    ----------
    z
        (N, D), scaled.
    codes, groups
        (N,), each row's class and group, from 0.
    n_classes
        K.
    center, scale
        (D,), z = (x - center) / scale.
    axes
        (D, R), R at most N: far fewer than D for a few clips of a large model.
    energy
        (R,), sum of squares along each axis.
    """

    z: Floats
    codes: Codes
    groups: Codes
    n_classes: int
    center: Floats
    scale: Floats
    axes: Floats
    energy: Floats

    @classmethod
    def prepare(cls, x: Floats, codes: Codes, groups: Codes, n_classes: int) -> Data:
        """Return embeddings (N, D) ready to learn from."""
        center, spread = x.mean(axis=0), x.std(axis=0)
        scale = np.maximum(spread, spread.mean() or 1.0)
        z = (x - center) / scale
        return cls(z, codes, groups, n_classes, center, scale, *_principal_axes(z))


def _principal_axes(z: Floats) -> tuple[Floats, Floats]:
    """Return the directions (D, R) in which the rows differ, and the sums of squares along them."""
    if len(z) > z.shape[1]:
        energy, axes = np.linalg.eigh(z.T @ z)
        return axes, np.maximum(energy, 0.0)
    energy, rows = np.linalg.eigh(z @ z.T)
    keep = energy > _NO_VARIANCE * max(float(energy[-1]), 1e-300)
    return z.T @ (rows[:, keep] / np.sqrt(energy[keep])), energy[keep]


def shared_metric(
    z: Floats, codes: Codes, n_classes: int, gram: Floats, width: int
) -> tuple[Floats | None, Floats]:
    """Return a whitening (R, R) of the spread that classes share, and the class means (K, R).

    `gram` is zᵀz, `width` the dimensions that the embeddings really have. The whitening is None
    where no class has two different embeddings.
    """
    counts = np.bincount(codes, minlength=n_classes)
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(z[np.argsort(codes, kind="stable")], starts) / counts[:, None]
    freedom = len(z) - n_classes
    square = np.sum((z - means[codes]) ** 2, axis=1)
    if freedom < 1 or square.sum() <= 1e-12 * max(float(np.trace(gram)), 1e-300):
        return None, means
    covariance = (gram - (means.T * counts) @ means) / freedom
    # Rows of classes with one embedding equal their mean and carry no spread.
    several = counts[codes] > 1
    correction = np.count_nonzero(several) / freedom
    quartic = float(np.mean(square[several] ** 2)) * correction**2
    # One less: a single degree of freedom says nothing about how noisy the covariance is.
    return whitening(ledoit_wolf(covariance, quartic, freedom - 1, width)), means


def squared_distances(rows: Floats, means: Floats) -> Floats:
    """Return the squared distances (N, K) of rows (N, R) from means (K, R)."""
    square = np.sum(rows**2, axis=1)[:, None] + np.sum(means**2, axis=1) - 2.0 * rows @ means.T
    return np.asarray(np.maximum(square, 0.0))


def inflation(codes: Codes, groups: Codes, n_classes: int) -> Floats:
    """Return (K,), by how much rows not learned are farther from a class mean than their spread.

    A mean of n rows is itself off: squared distances grow by 1 / n. Rows of a group count as one.
    """
    pairs = np.unique(np.stack([codes, groups]), axis=1)
    return 1.0 + 1.0 / np.bincount(pairs[0], minlength=n_classes)


def novelty(distances: Floats, inflated: Floats) -> Floats:
    """Return the distance (N,) to the nearest class, each in units of what its own rows have."""
    return np.asarray(np.sqrt(np.min(distances / inflated, axis=1)))


@dataclass(frozen=True)
class HeldOut:
    """What classes say of M rows that they were learned without.

    M is less than N where classes have one group only, and 0 where all have.
    """

    distances: Floats  # (M, K), squared
    novelty: Floats  # (M,)
    codes: Codes  # (M,), the true classes

    @classmethod
    def of(cls, data: Data, seed: int) -> HeldOut:
        """Return it by cross-validation."""
        n_folds = _FOLDS if len(data.z) <= _FEW_ROWS else _FOLDS // 2
        fold = deal(data.codes, data.groups, n_folds, seed)
        coordinates = data.z @ data.axes
        parts = [cls._without(data, coordinates, fold == k) for k in range(int(fold.max()) + 1)]
        nothing = cls(np.empty((0, data.n_classes)), np.empty(0), np.empty(0, dtype=np.intp))
        kept = [part for part in parts if part is not None] or [nothing]
        return cls(
            np.concatenate([part.distances for part in kept]),
            np.concatenate([part.novelty for part in kept]),
            np.concatenate([part.codes for part in kept]),
        )

    @classmethod
    def _without(cls, data: Data, coordinates: Floats, out: NDArray[np.bool_]) -> HeldOut | None:
        rows, codes = coordinates[out], data.codes[~out]
        gram = np.diag(data.energy) - rows.T @ rows
        metric, means = shared_metric(
            coordinates[~out], codes, data.n_classes, gram, data.z.shape[1]
        )
        if metric is None:
            return None
        distances = squared_distances(rows @ metric, means @ metric)
        inflated = inflation(codes, data.groups[~out], data.n_classes)
        return cls(distances, novelty(distances, inflated), data.codes[out])


def choose_temperature(held_out: HeldOut, prototypes: Floats) -> float:
    """Return T such that softmax(-distances / 2T) makes the held-out classes most likely.

    Targets are smoothed as Platt did, by one part in M + 2. Without, T goes to 0 where all M rows
    are right; a prior around the Gaussian model's own T = 1 was tried in its place, and left clean
    recordings overconfident about those of another hour. With fewer than `MIN_HELD_OUT` rows, T
    follows from the prototypes alone.
    """
    distances, codes = held_out.distances, held_out.codes
    if len(distances) < MIN_HELD_OUT:
        n_classes = len(prototypes)
        total = float(squared_distances(prototypes, prototypes).sum())
        mean = total / (n_classes * (n_classes - 1))
        return max(_DEFAULT_TEMPERATURE * mean, 1e-12)
    smoothing = 1.0 / (len(distances) + 2)
    target = np.full(distances.shape, smoothing / (distances.shape[1] - 1))
    target[np.arange(len(codes)), codes] = 1.0 - smoothing
    logits = distances / -2.0
    wanted = float(np.sum(target * logits))
    low, high = -40.0, 40.0  # of log(1 / T), in which the slope of the loss changes sign once
    for _ in range(50):
        middle = 0.5 * (low + high)
        expected = float(np.sum(softmax(logits * np.exp(middle)) * logits))
        low, high = (middle, high) if expected < wanted else (low, middle)
    return float(np.exp(-low))


def softmax(logits: Floats) -> Floats:
    """Return exp(logits), each row divided by its sum."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
