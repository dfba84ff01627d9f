"""Classes as a linear function of frozen embeddings, learned in closed form.

One label a clip: `heads.Classifier`, which is linear discriminant analysis. Several: a ridge
regression for each label, its strength chosen and its probabilities made on held-out groups.

Source of the probabilities: Platt, "Probabilistic outputs for support vector machines", 1999.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from listen_embed import heads
from listen_embed.classify import scores
from listen_embed.classify.layer import Layer

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # of the mean variance of a feature
_NEWTON_STEPS = 20
_DAMPING = 1e-3
_LEAST_SLOPE = 1e-2  # a score that tells nothing still ranks


def one_of(
    embeddings: Array, codes: NDArray[np.intp], groups: Sequence[Hashable], n_classes: int
) -> Layer:
    """Return a softmax layer of embeddings (N, D) with a class each; classes weigh alike."""
    head = heads.Classifier(capacity=1000).learn(embeddings, codes.tolist(), list(groups))
    weight, bias = head.linear()
    full = np.zeros((n_classes, embeddings.shape[1])), np.full(n_classes, -1e4)
    present = [int(label) for label in head.labels]
    full[0][present], full[1][present] = weight, bias
    return Layer(
        full[0].astype(np.float32), full[1].astype(np.float32), _halves(n_classes), "softmax"
    )


def several_of(embeddings: Array, targets: Array, folds: NDArray[np.intp]) -> Layer:
    """Return a sigmoid layer of embeddings (N, D) with labels (N, C); `folds` (N,) hold out."""
    x = embeddings.astype(np.float64)
    held_out = {s: _held_out_scores(x, targets, folds, s) for s in _STRENGTHS}
    strength = max(
        held_out,
        key=lambda s: scores.mean_average_precision(targets, held_out[s].astype(np.float32)),
    )
    slope, shift = _platt(held_out[strength], targets)
    weight, bias = _ridge(x, targets, strength)
    return Layer(
        (weight * slope[:, None]).astype(np.float32),
        (bias * slope + shift).astype(np.float32),
        _halves(targets.shape[1]),
        "sigmoid",
    )


def _halves(n: int) -> Array:
    return np.full(n, 0.5, np.float32)


def _held_out_scores(x: Floats, targets: Array, folds: NDArray[np.intp], strength: float) -> Floats:
    found = np.zeros(targets.shape)
    for fold in np.unique(folds):
        test = folds == fold
        weight, bias = _ridge(x[~test], targets[~test], strength)
        found[test] = x[test] @ weight.T + bias
    return found


def _ridge(x: Floats, targets: Array, strength: float) -> tuple[Floats, Floats]:
    """Return weights (C, D) and bias (C,) that regress targets on standardised features."""
    mean, scale = x.mean(0), x.std(0)
    scale = np.maximum(scale, scale.mean() * 0.1 or 1.0)
    z = (x - mean) / scale
    gram = z.T @ z + strength * len(z) * np.eye(z.shape[1])
    weight = np.linalg.solve(gram, z.T @ (targets - targets.mean(0))).T / scale
    return weight, targets.mean(0) - weight @ mean


def _platt(score: Floats, targets: Array) -> tuple[Floats, Floats]:
    """Return slopes and shifts (C,) whose sigmoids make the targets likely."""
    pairs = [_sigmoid_fit(s, t) for s, t in zip(score.T, targets.T, strict=True)]
    return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])


def _sigmoid_fit(score: Floats, truth: NDArray[np.float32]) -> tuple[float, float]:
    n_true = float(truth.sum())
    n_false = len(truth) - n_true
    wanted = np.where(truth > 0, (n_true + 1) / (n_true + 2), 1 / (n_false + 2))
    mean, scale = score.mean(), score.std() + 1e-12
    design = np.stack([(score - mean) / scale, np.ones_like(score)], axis=1)
    found = np.array([0.0, np.log((n_true + 1) / (n_false + 1))])
    loss = _surprise(design, wanted, found)
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(design, wanted, found)
        while _surprise(design, wanted, found - step) > loss and np.abs(step).max() > 1e-6:
            step = step / 2
        found = found - step
        loss = _surprise(design, wanted, found)
    slope = max(float(found[0]), _LEAST_SLOPE) / scale
    return slope, float(found[1]) - slope * mean


def _newton_step(design: Floats, wanted: Floats, found: Floats) -> Floats:
    p = 0.5 * (1 + np.tanh(0.5 * (design @ found)))
    hessian = (design * (p * (1 - p))[:, None]).T @ design + _DAMPING * np.eye(2)
    gradient = design.T @ (p - wanted) + _DAMPING * found
    return np.asarray(np.linalg.solve(hessian, gradient), np.float64)


def _surprise(design: Floats, wanted: Floats, found: Floats) -> float:
    logits = design @ found
    return float((np.logaddexp(0, logits) - wanted * logits).sum() + _DAMPING / 2 * found @ found)
