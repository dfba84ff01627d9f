"""The layer of classes behind an embedding: a matrix, a bias, and from where on a label is given.

Numpy alone. In a classifier's folder it is ``classes.npz``, and its labels stand in
``classifier.json``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from listen_embed import npz
from listen_embed.errors import HeadError

Kind = Literal["softmax", "sigmoid"]
_MAX_BYTES = 64_000_000
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layer:
    """Classes as a linear function of an embedding.

    Attributes
    ----------
    weight : ndarray, float32 (C, D)
    bias, thresholds : ndarray, float32 (C,)
        A label is given from its threshold on, a probability in [0, 1].
    kind : {"softmax", "sigmoid"}
        One label of all, or each on its own.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    kind: Kind

    def __post_init__(self) -> None:
        shapes = self.weight.ndim == 2 and self.bias.shape == self.thresholds.shape
        if not shapes or self.bias.shape != self.weight.shape[:1]:
            raise HeadError(
                f"a layer's weight {self.weight.shape}, bias {self.bias.shape} and thresholds "
                f"{self.thresholds.shape} do not fit; allowed are (C, D), (C,) and (C,)"
            )
        if self.kind not in ("softmax", "sigmoid"):
            raise HeadError(f"a layer's kind is {self.kind!r}; allowed are softmax and sigmoid")
        if not all(np.isfinite(part).all() for part in (self.weight, self.bias, self.thresholds)):
            raise HeadError("a layer holds numbers that are not finite; it is damaged")

    def logits(self, embeddings: NDArray[Any]) -> Floats:
        """Return float64 (T, C) of embeddings (T, D)."""
        rows = np.asarray(embeddings, np.float64)
        return rows @ self.weight.T.astype(np.float64) + self.bias

    def probabilities(self, embeddings: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 (T, C) in [0, 1]; rows add up to 1 where the kind is softmax."""
        return activated(self.logits(embeddings), self.kind)

    def given(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which labels are given, bool (T, C): the likeliest, or all above thresholds."""
        if self.kind == "sigmoid":
            return probabilities >= self.thresholds
        best = probabilities.argmax(axis=1)
        is_best: NDArray[np.bool_] = np.arange(len(self.bias)) == best[:, None]
        return is_best

    def as_npz(self) -> bytes:
        """Return the arrays as a file."""
        file = io.BytesIO()
        np.savez(file, weight=self.weight, bias=self.bias, thresholds=self.thresholds)
        return file.getvalue()

    @classmethod
    def read(cls, path: Path, kind: Any) -> Layer:
        """Return the layer of a file.

        Raises
        ------
        HeadError
            The file is missing, damaged, or not of this kind.
        """
        try:
            arrays = npz.read(path, _MAX_BYTES)
            weight, bias, thresholds = (
                np.asarray(arrays[name], np.float32) for name in ("weight", "bias", "thresholds")
            )
        except Exception as error:  # hostile bytes trip parsers in ways that no list would cover
            message = f"{path}: cannot be read ({error or type(error).__name__})"
            raise HeadError(f"{message}; copy the classifier again") from error
        return cls(weight, bias, thresholds, kind)


def activated(logits: Floats, kind: Kind) -> NDArray[np.float32]:
    """Return logits (T, C) as probabilities, float32 (T, C)."""
    if kind == "softmax":
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        found = shifted / shifted.sum(axis=1, keepdims=True)
    else:
        found = 0.5 * (1 + np.tanh(0.5 * logits))
    return np.asarray(found, np.float32)
