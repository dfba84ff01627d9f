"""Multinomial logistic regression with a ridge, by L-BFGS.

Sources: Nocedal, "Updating quasi-Newton matrices with limited storage", Mathematics of Computation
35, 1980 (L-BFGS). Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of
Statistical Mathematics 44, 1992 (the bound on the curvature, in which convergence is measured).
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

_MEMORY = 10  # steps
_REFRESH = 10  # steps
_MAX_STEPS = 2000
# Squared length of the gradient, in the metric of the bound on the curvature. On nine pairs of
# sound set and embedding the first left errors of at most 1e-4 in probability; the second, which
# left at most 6e-3, is enough to compare candidates.
_FINAL_TOLERANCE = 1e-9
_SEARCH_TOLERANCE = 1e-4

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

    def curvature(self, theta: Floats) -> Floats:
        """Return the diagonal of the loss's Hessian, (R + 1, K)."""
        logits = self.x @ theta
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        return np.asarray((self.x**2).T @ (self.weights[:, None] * share * (1.0 - share)))


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

    def objective(theta: Floats) -> tuple[float, Floats]:
        loss, gradient = problem.loss(theta)
        return c * loss + 0.5 * float(np.sum(ridge * theta**2)), c * gradient + ridge * theta

    bound = 0.5 * c * float(problem.weights.mean()) * problem.energy[:, None] + ridge

    def curvature(theta: Floats) -> Floats:
        return np.asarray(c * problem.curvature(theta) + ridge + 1e-8 * bound)  # never 0

    zero = np.zeros((problem.x.shape[1], problem.n_classes))
    return _minimise(objective, curvature, bound, zero if start is None else start, tolerance)


def choose_c(problem: Problem, fold: Codes) -> float:
    """Return the candidate with the least log loss on held-out rows; fold -1 is never held out.

    Goes from strong to weak regularisation, each fit starting where the last one ended, and stops
    at the first that does worse: weaker ones, which take longest, seldom do better again.
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
    curvature: Callable[[Floats], Floats],
    bound: Floats,
    theta: Floats,
    tolerance: float,
) -> Floats:
    """Return the minimum of a convex function, from `theta` on.

    `curvature` is its diagonal Hessian, `bound` what that cannot exceed.
    """
    value, gradient = objective(theta)
    pairs: deque[tuple[Floats, Floats]] = deque(maxlen=_MEMORY)
    for count in range(_MAX_STEPS):
        if float(np.sum(gradient**2 / bound)) <= tolerance:
            return theta
        if count % _REFRESH == 0:
            diagonal = curvature(theta)
        step = -_solve(gradient, pairs, diagonal)
        slope, before = float(np.vdot(gradient, step)), gradient
        new_value, gradient = objective(theta + step)
        while new_value > value + 1e-4 * slope:
            step, slope = 0.5 * step, 0.5 * slope
            if slope > -1e-12 * abs(value):  # no lower value can be told apart in float64
                return theta
            new_value, gradient = objective(theta + step)
        if float(np.vdot(step, gradient - before)) > 0:
            pairs.append((step, gradient - before))
        theta, value = theta + step, new_value
    _log.warning("logistic regression stopped after %d steps, before it converged", _MAX_STEPS)
    return theta


def _solve(gradient: Floats, pairs: deque[tuple[Floats, Floats]], diagonal: Floats) -> Floats:
    """Return the gradient times the inverse Hessian that the last steps suggest."""
    rest = gradient.copy()
    factors = []
    for step, change in reversed(pairs):
        factor = float(np.vdot(step, rest) / np.vdot(step, change))
        factors.append(factor)
        rest -= factor * change
    rest /= diagonal
    if pairs:
        step, change = pairs[-1]
        rest *= float(np.vdot(step, change) / np.vdot(change, change / diagonal))
    for (step, change), factor in zip(pairs, reversed(factors), strict=True):
        rest += step * (factor - float(np.vdot(change, rest) / np.vdot(step, change)))
    return rest
