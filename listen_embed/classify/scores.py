"""How good probabilities are: accuracy, average precision, thresholds, calibration, confusions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def average_precision(truth: NDArray[np.float32], score: NDArray[np.float32]) -> float:
    """Return the area under precision over recall, by steps; NaN where nothing is true.

    Parameters
    ----------
    truth : ndarray (N,)
        1 where it is so, else 0.
    score : ndarray (N,)
    """
    if not truth.sum():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits, ranked = np.cumsum(truth[order]), score[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal scores are one step
    precision = (hits / np.arange(1, len(hits) + 1))[last]
    recall = hits[last] / hits[-1]
    return float(np.sum(precision * np.diff(recall, prepend=0.0)))


def per_class(targets: NDArray[np.float32], probabilities: NDArray[np.float32]) -> Floats:
    """Return the average precision of each class, (C,); NaN where none has it."""
    columns = range(targets.shape[1])
    return np.array([average_precision(targets[:, c], probabilities[:, c]) for c in columns])


def mean_average_precision(
    targets: NDArray[np.float32], probabilities: NDArray[np.float32]
) -> float:
    """Return the mean of `per_class` over the classes that are there."""
    return float(np.nanmean(per_class(targets, probabilities)))


def accuracy(targets: NDArray[np.float32], probabilities: NDArray[np.float32]) -> float:
    """Return the share of rows whose likeliest class is a true one."""
    best = probabilities.argmax(axis=1)
    return float(targets[np.arange(len(targets)), best].mean())


def mean_of_both(targets: NDArray[np.float32], probabilities: NDArray[np.float32]) -> float:
    """Return the mean of accuracy and mean average precision, by which single labels are judged."""
    precision = mean_average_precision(targets, probabilities)
    return (accuracy(targets, probabilities) + precision) / 2


def best_thresholds(
    targets: NDArray[np.float32], probabilities: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return for each class the probability from which on its F1 is highest, float32 (C,).

    It lies halfway between two probabilities that were found; 0.5 where a class was not heard.
    """
    return np.array(
        [_best_threshold(t, p) for t, p in zip(targets.T, probabilities.T, strict=True)],
        np.float32,
    )


def _best_threshold(truth: NDArray[np.float32], score: NDArray[np.float32]) -> float:
    if not truth.sum():
        return 0.5
    order = np.argsort(-score, kind="stable")
    hits, ranked = np.cumsum(truth[order]), score[order].astype(np.float64)
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    f1[np.append(ranked[1:] == ranked[:-1], False)] = -1  # equal scores cannot be told apart
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often what is called likely is so.

    Attributes
    ----------
    confidence, correct : ndarray, float64 (B,)
        Mean probability, and share that was so, of each bin that is not empty.
    count : ndarray, int64 (B,)
    error : float
        Mean gap between the two, weighed by the counts (expected calibration error).
    """

    confidence: Floats
    correct: Floats
    count: NDArray[np.int64]
    error: float


def reliability(
    targets: NDArray[np.float32], probabilities: NDArray[np.float32], is_multi: bool, bins: int = 10
) -> Reliability:
    """Return the calibration of the likeliest class, or of all decisions of a multi-label set."""
    if is_multi:
        confidence, correct = probabilities.ravel(), targets.ravel()
    else:
        best = probabilities.argmax(axis=1)
        rows = np.arange(len(best))
        confidence, correct = probabilities[rows, best], targets[rows, best]
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    kept = count > 0
    sums = (np.bincount(which, weights=w, minlength=bins)[kept] for w in (confidence, correct))
    mean, share = (total / count[kept] for total in sums)
    gap = float(np.sum(np.abs(mean - share) * count[kept]) / max(1, count.sum()))
    return Reliability(mean, share, count[kept], gap)


def confusion(targets: NDArray[np.float32], probabilities: NDArray[np.float32]) -> Floats:
    """Return how often each class (row) was given each (column), float64 (C, C).

    Of a clip with several labels, each that is not the likeliest counts as taken for the likeliest
    one that is not there.
    """
    n = targets.shape[1]
    counts = np.zeros((n, n))
    for truth, found in zip(targets > 0, probabilities, strict=True):
        n_true = int(truth.sum())
        top = set(np.argsort(-found, kind="stable")[: max(1, n_true)])
        wrong = [c for c in top if not truth[c]]
        for label in np.flatnonzero(truth):
            counts[label, label if label in top or not wrong else wrong[0]] += 1
    return counts
