"""Multinomial logistic regression with a ridge, by L-BFGS.

Sources: Nocedal, "Updating quasi-Newton matrices with limited storage", Mathematics of Computation
35, 1980 (L-BFGS). Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of
Statistical Mathematics 44, 1992 (the bound on the curvature that scales its steps).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from listen_embed.heads._checks import Codes, Floats

DEFAULT_C = 1.0  # where there are too few clips to choose; scikit-learn's default too
CANDIDATES = (0.001, 0.01, 0.1, 1.0, 10.0)

_MEMORY = 10
_MAX_STEPS = 500
_FINAL_TOLERANCE = 1e-10
_SEARCH_TOLERANCE = 1e-5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """What to fit: rows with a last column of ones, in the principal axes of the data.

    Attributes
    ----------
    x
        (N, R + 1).
    codes
        (N,), each row's class.
    n_classes
        K.
    weights
        (N,), how much each row counts.
    energy
        (R + 1,), sum of squares of each column; the columns are uncorrelated or nearly so.
    """

    x: Floats
    codes: Codes
    n_classes: int
    weights: Floats
    energy: Floats

    def subset(self, keep: Codes) -> Problem:
        """Return the problem on some of the rows."""
        share = len(keep) / len(self.x)
        x, codes, weights = self.x[keep], self.codes[keep], self.weights[keep]
        return Problem(x, codes, self.n_classes, weights, self.energy * share)

    def loss(self, theta: Floats) -> tuple[float, Floats]:
        """Return the sum of the weighted log losses and its gradient (R + 1, K)."""
        logits = self.x @ theta
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(logits)), self.codes]
        exponentials = np.exp(logits)
        total = exponentials.sum(axis=1)
        residual = exponentials / total[:, None]
        residual[np.arange(len(residual)), self.codes] -= 1.0
        residual *= self.weights[:, None]
        return float(self.weights @ (np.log(total) - own)), self.x.T @ residual


def fit(
    problem: Problem, c: float, start: Floats | None = None, tolerance: float = _FINAL_TOLERANCE
) -> Floats:
    """Return weights and, in the last row, intercepts: (R + 1, K).

    They minimise `c` times the loss plus half the squared length of the weights; intercepts are
    free. `c` means what C means in scikit-learn. With two classes that needs a doubled ridge: one
    vector of weights there is the difference of two here.
    """
    ridge = np.full((problem.x.shape[1], 1), 2.0 if problem.n_classes == 2 else 1.0)
    ridge[-1] = 0.0
    mean_weight = float(problem.weights.mean())
    curvature = 0.5 * c * mean_weight * problem.energy[:, None] + ridge

    def objective(theta: Floats) -> tuple[float, Floats]:
        loss, gradient = problem.loss(theta)
        return c * loss + 0.5 * float(np.sum(ridge * theta**2)), c * gradient + ridge * theta

    zero = np.zeros((problem.x.shape[1], problem.n_classes))
    return _minimise(objective, zero if start is None else start, curvature, tolerance)


def choose_c(problem: Problem, fold: Codes) -> float:
    """Return the candidate with the least log loss on held-out rows; fold -1 is never held out.

    Goes from strong to weak regularisation, each fit starting where the last one ended, and stops
    at the first that does worse: the loss has one valley.
    """
    parts = [
        (problem.subset(np.flatnonzero(fold != k)), problem.subset(np.flatnonzero(fold == k)))
        for k in range(int(fold.max()) + 1)
        if (fold == k).any()
    ]
    thetas: list[Floats | None] = [None] * len(parts)
    best, least = DEFAULT_C, np.inf
    for c in CANDIDATES:
        thetas = [
            fit(train, c, theta, _SEARCH_TOLERANCE)
            for (train, _), theta in zip(parts, thetas, strict=True)
        ]
        loss = sum(
            test.loss(theta)[0]
            for (_, test), theta in zip(parts, thetas, strict=True)
            if theta is not None
        )
        if loss >= least:
            break
        best, least = c, loss
    _log.debug("c = %g by cross-validation, summed held-out log loss %.4g", best, least)
    return best


def _minimise(
    objective: Callable[[Floats], tuple[float, Floats]],
    theta: Floats,
    curvature: Floats,
    tolerance: float,
) -> Floats:
    """Return the minimum of a convex function; `curvature` roughly is its diagonal Hessian."""
    value, gradient = objective(theta)
    pairs: deque[tuple[Floats, Floats]] = deque(maxlen=_MEMORY)
    for _ in range(_MAX_STEPS):
        if float(np.sum(gradient**2 / curvature)) <= tolerance:
            return theta
        direction = -_solve(gradient, pairs, curvature)
        slope, rate = float(np.vdot(gradient, direction)), 1.0
        new_value, new_gradient = objective(theta + direction)
        while new_value > value + 1e-4 * rate * slope:
            rate *= 0.5
            if rate < 1e-9:  # no lower value can be told apart in float64
                return theta
            new_value, new_gradient = objective(theta + rate * direction)
        if float(np.vdot(direction, new_gradient - gradient)) > 0:
            pairs.append((rate * direction, new_gradient - gradient))
        theta, value, gradient = theta + rate * direction, new_value, new_gradient
    _log.warning("logistic regression stopped after %d steps, before it converged", _MAX_STEPS)
    return theta


def _solve(gradient: Floats, pairs: deque[tuple[Floats, Floats]], curvature: Floats) -> Floats:
    """Return the gradient times the inverse Hessian that the last steps suggest."""
    rest = gradient.copy()
    factors = []
    for step, change in reversed(pairs):
        factor = float(np.vdot(step, rest) / np.vdot(step, change))
        factors.append(factor)
        rest -= factor * change
    rest /= curvature
    if pairs:
        step, change = pairs[-1]
        rest *= float(np.vdot(step, change) / np.vdot(change, change / curvature))
    for (step, change), factor in zip(pairs, reversed(factors), strict=True):
        rest += step * (factor - float(np.vdot(change, rest) / np.vdot(step, change)))
    return rest
