"""A linear layer beside prototypes: what single-sample gradient steps learn.

Prototypes answer with the logits of the nearest mean; the layer adds a correction that starts at
nothing, is bounded, and falls back to the last good one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from listen_embed.heads._single import Singles, dot, softmax, total

# Norm that one class's row may have, and the steps in which the last good one is kept as int16.
LARGEST = np.float32(8)
STEP = np.float32(8 / 32767)
# Logits per squared distance of standardised rows.
SHARPNESS = np.float32(8)
# Norm that one step's gradient may have.
GRADIENT = np.float32(1)


@dataclass
class Correction:
    """The layer and its last good state.

    Attributes
    ----------
    weights : ndarray, float32 (K, D + 1)
        A row for each class, its bias last.
    good : ndarray, int16 (K, D + 1)
        In steps of `STEP`.
    """

    weights: Singles
    good: NDArray[np.int16]

    @classmethod
    def none(cls, n_classes: int, width: int) -> Self:
        """Return the correction of classes that need none yet."""
        shape = n_classes, width + 1
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.int16))

    def grow(self) -> None:
        """Add a class that needs no correction yet."""
        self.weights = np.pad(self.weights, ((0, 1), (0, 0)))
        self.good = np.pad(self.good, ((0, 1), (0, 0)))

    def remember(self) -> None:
        """Take the weights for good."""
        self.good = np.trunc(self.weights / STEP).astype(np.int16)

    def roll_back(self) -> None:
        """Return to the last good weights."""
        self.weights = self.good_weights

    @property
    def good_weights(self) -> Singles:
        """The last good weights, float32 (K, D + 1)."""
        return np.asarray(self.good.astype(np.float32) * STEP, np.float32)

    def descend(self, row: Singles, errors: Singles, rate: np.float32) -> None:
        """Take one clipped gradient step for a standardised row (D,) and p - y, float32 (K,)."""
        with_bias = np.append(row, np.float32(1))
        norm = np.sqrt(total(errors * errors) * total(with_bias * with_bias))
        step = rate if norm <= GRADIENT else rate * GRADIENT / norm
        self.weights = self.weights - (step * errors)[:, None] * with_bias
        norms = np.sqrt(total(self.weights * self.weights))
        shrink = np.where(norms > LARGEST, LARGEST / np.maximum(norms, LARGEST), np.float32(1))
        self.weights = self.weights * shrink[:, None]


def nearness(rows: Singles, prototypes: Singles) -> Singles:
    """Return the prototypes' logits (N, K) of standardised rows (N, D) and prototypes (K, D)."""
    halves = total(prototypes * prototypes) * np.float32(0.5)
    return SHARPNESS * (dot(rows, prototypes) - halves)


def corrected(near: Singles, rows: Singles, weights: Singles) -> Singles:
    """Return the probabilities (N, K) of logits with the correction added."""
    return softmax(near + (dot(rows, weights[:, :-1]) + weights[:, -1]))


def losses(probabilities: Singles, codes: NDArray[np.integer]) -> Singles:
    """Return half the squared errors, float32 (N,), from 0 to 1.

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    errors = probabilities.copy()
    errors[np.arange(len(codes)), codes] -= np.float32(1)
    return np.asarray(total(errors * errors) * np.float32(0.5), np.float32)
