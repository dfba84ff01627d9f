"""Covariance that can be inverted, however few or alike the embeddings are.

Sources: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
Journal of Multivariate Analysis 88, 2004 (the shrinkage). Chan, Golub and LeVeque, "Algorithms for
computing the sample variance", The American Statistician 37, 1983 (joining moments; here carried on
to the third and fourth, so that the shrinkage too is exact online).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from listen_embed.heads._checks import Floats

MIN_SHRINKAGE = 1e-6  # keeps directions without any variance invertible
FLOAT32_EPS = float(np.finfo(np.float32).eps)
MIN_VARIANCE = 1e-24
_SMALL = 64


def ledoit_wolf(covariance: Floats, quartic: float, count: float, width: int) -> Floats:
    """Return the covariance shrunk towards a sphere, its weight chosen by Ledoit and Wolf.

    Parameters
    ----------
    covariance
        (R, R), of `count` samples.
    quartic
        Mean over the samples of the squared length of the centred sample, squared.
    count
        Independent samples behind the covariance; more means less shrinkage.
    width
        Dimensions that the samples really have, `R` or more: in the others they do not vary.
    """
    trace, square = float(np.trace(covariance)), float(np.vdot(covariance, covariance))
    mean_variance = trace / width
    misfit = square - trace * mean_variance  # squared distance of the covariance from the sphere
    noise = (quartic - square) / count if count > 0 else np.inf
    weight = 0.0 if misfit <= 0 else float(np.clip(noise / misfit, 0.0, 1.0))
    weight = max(weight, MIN_SHRINKAGE)
    shrunk = (1.0 - weight) * covariance
    shrunk[np.diag_indices_from(shrunk)] += weight * mean_variance
    return np.asarray(shrunk)


def whitening(covariance: Floats) -> Floats:
    """Return W (D, D) such that rows times W have unit covariance in every direction."""
    lower = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    return np.ascontiguousarray(_inverse_of_triangle(lower).T)


def _inverse_of_triangle(lower: Floats) -> Floats:
    """Return the inverse of a lower triangle, by halves: four times as fast as any matrix's."""
    size, half = len(lower), len(lower) // 2
    if size <= _SMALL:
        return np.asarray(np.linalg.inv(lower))
    inverse = np.zeros_like(lower)
    first = inverse[:half, :half] = _inverse_of_triangle(lower[:half, :half])
    second = inverse[half:, half:] = _inverse_of_triangle(lower[half:, half:])
    inverse[half:, :half] = -second @ (lower[half:, :half] @ first)
    return inverse


@dataclass(frozen=True)
class Moments:
    """Sums over embeddings that give mean and shrunk covariance, and can be joined.

    Attributes
    ----------
    count
        Embeddings so far.
    mean
        (D,).
    scatter
        (D, D), sum of y yᵀ, where y is an embedding minus the mean.
    cubic
        (D,), sum of |y|² y.
    quartic
        Sum of |y|⁴.
    """

    count: int
    mean: Floats
    scatter: Floats
    cubic: Floats
    quartic: float

    @classmethod
    def none(cls, emb_dim: int) -> Moments:
        """Return the moments of no embedding."""
        return cls(0, np.zeros(emb_dim), np.zeros((emb_dim, emb_dim)), np.zeros(emb_dim), 0.0)

    @classmethod
    def of(cls, x: Floats) -> Moments:
        """Return the moments of the rows of `x` (N, D), N at least 1."""
        mean = x.mean(axis=0)
        y = x - mean
        square = np.einsum("ij,ij->i", y, y)
        return cls(len(x), mean, y.T @ y, square @ y, float(square @ square))

    def joined(self, other: Moments) -> Moments:
        """Return the moments of both sets of embeddings together."""
        count = self.count + other.count
        mean = self.mean + (other.mean - self.mean) * (other.count / count)
        a, b = self._around(mean), other._around(mean)
        return Moments(count, mean, a.scatter + b.scatter, a.cubic + b.cubic, a.quartic + b.quartic)

    def _around(self, center: Floats) -> Moments:
        """Return the same sums with `center` in the place of the mean."""
        shift = center - self.mean
        square, trace = float(shift @ shift), float(np.trace(self.scatter))
        turned = self.scatter @ shift
        return Moments(
            self.count,
            center,
            self.scatter + self.count * np.outer(shift, shift),
            self.cubic - 2 * turned - (trace + self.count * square) * shift,
            self.quartic
            - 4 * float(shift @ self.cubic)
            + 2 * square * trace
            + 4 * float(shift @ turned)
            + self.count * square**2,
        )

    def whitening(self) -> Floats:
        """Return W (D, D) such that (x - mean) W has unit covariance, after shrinkage."""
        covariance = self.scatter / self.count
        shrunk = ledoit_wolf(covariance, self.quartic / self.count, self.count, len(self.mean))
        # Embeddings are float32: a spread below its resolution is rounding, not information.
        noise = FLOAT32_EPS**2 * float(np.mean(self.mean**2)) + MIN_VARIANCE
        shrunk[np.diag_indices_from(shrunk)] += noise
        return whitening(shrunk)
