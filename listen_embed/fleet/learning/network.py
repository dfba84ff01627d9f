"""A small fully connected network in numpy: what Reptile moves, and how a device learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import InputError
from listen_embed.fleet.learning.layout import Layer, Layout, Vector

Rows = NDArray[np.float32]
Answers = NDArray[Any]  # numbers (N, outputs), or classes (N,)
Layers = dict[str, Vector]
Loss = Literal["squares", "labels"]

# Largest norm of a step's gradient, as on a microcontroller.
_LARGEST_GRADIENT = 10.0
_SMALLEST = 1e-12


class Learnt(NamedTuple):
    """What a device learnt, and per layer whether longer steps would have been better.

    Attributes
    ----------
    vector : ndarray, float32 (size,)
    signals : ndarray, float32 (n_layers,)
        From -1, shorter steps, to 1, longer ones; 0 where nobody can tell.
    """

    vector: Vector
    signals: Vector


@dataclass(frozen=True)
class Way:
    """How a device learns from its stream.

    Attributes
    ----------
    held_out : int
        Of the newest samples, how many are never learnt: they end learning early and say how long
        steps should be. 0 for none.
    passes : int
        How often the stream is learnt; 1 is online.
    look_every : int
        Steps between looks at the held-out samples.
    patience : int
        Looks without a better loss after which learning ends.
    """

    held_out: int = 0
    passes: int = 1
    look_every: int = 8
    patience: int = 3


class Network:
    """Layers of ReLUs and a linear one.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, units of each hidden layer, outputs.
    loss : {"squares", "labels"}
        Squared errors, for targets (N, outputs); or softmax and class numbers (N,).
    """

    kind = "network"

    def __init__(self, sizes: Sequence[int], loss: Loss) -> None:
        if len(sizes) < 2:
            raise InputError(f"sizes are {list(sizes)}; give inputs and outputs at least")
        layers = [
            layer
            for number, (n_in, n_out) in enumerate(pairwise(sizes))
            for layer in (Layer(f"w{number}", (n_in, n_out)), Layer(f"b{number}", (n_out,)))
        ]
        self.layout = Layout(tuple(layers))
        self._depth = len(sizes) - 1
        self._loss = loss

    def begin(self, seed: int) -> Vector:
        """Return random weights, He et al. 2015."""
        chance, vector = np.random.default_rng(seed), np.zeros(self.layout.size, np.float32)
        for name, layer in self.layout.views(vector).items():
            if name.startswith("w"):
                layer[:] = chance.normal(size=layer.shape) * np.sqrt(2 / len(layer))
        return vector

    def outputs(self, vector: Vector, x: Rows) -> Rows:
        """Return the last layer's outputs (N, outputs) of rows (N, inputs)."""
        return self._forward(self.layout.views(vector), x)[-1]

    def features(self, vector: Vector, x: Rows) -> Rows:
        """Return what the last layer is given, (N, units)."""
        return self._forward(self.layout.views(vector), x)[-2]

    def _forward(self, layers: Layers, x: Rows) -> list[Rows]:
        given = [x]
        for number in range(self._depth):
            z = given[-1] @ layers[f"w{number}"] + layers[f"b{number}"]
            given.append(np.maximum(z, 0) if number < self._depth - 1 else z)
        return given

    def loss(self, vector: Vector, x: Rows, y: Answers) -> float:
        """Return the mean loss of rows (N, inputs) and their targets."""
        out = self.outputs(vector, x).astype(np.float64)
        if self._loss == "squares":
            return float(np.mean(np.sum((out - y) ** 2, axis=1)))
        shifted = out - out.max(axis=1, keepdims=True)
        right = shifted[np.arange(len(y)), y.astype(np.intp)]
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - right))

    def gradient(self, vector: Vector, x: Rows, y: Answers) -> Vector:
        """Return the mean loss's gradient, float32 (size,)."""
        slopes = np.empty(self.layout.size, np.float32)
        self._descend(self.layout.views(vector), self.layout.views(slopes), x, y)
        return slopes

    def _descend(self, layers: Layers, slopes: Layers, x: Rows, y: Answers) -> None:
        """Put the gradient into `slopes`."""
        given = self._forward(layers, x)
        error = self._error(given[-1], y)
        for number in reversed(range(self._depth)):
            np.matmul(given[number].T, error, out=slopes[f"w{number}"])
            error.sum(axis=0, out=slopes[f"b{number}"])
            if number:
                error = (error @ layers[f"w{number}"].T) * (given[number] > 0)

    def _error(self, out: Rows, y: Answers) -> Rows:
        if self._loss == "squares":
            return np.asarray((out - y) * np.float32(2 / len(out)), np.float32)
        shares = np.exp(out - out.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        shares[np.arange(len(y)), y.astype(np.intp)] -= 1
        return np.asarray(shares / len(out), np.float32)

    def learn(self, start: Vector, x: Rows, y: Answers, rates: Vector, way: Way) -> Learnt:
        """Learn from a stream, one sample a step, from a start.

        Parameters
        ----------
        start : ndarray, float32 (size,)
        x, y : ndarray, (N, inputs) and (N, outputs) or (N,)
            The stream, oldest first.
        rates : ndarray, float32 (n_layers,)
            Step of each layer.
        way : Way

        Notes
        -----
        Early stopping keeps the weights of the best look, the start among them, so that learning
        cannot end worse on the held-out samples than it began.
        """
        n_learnt = len(x) - min(way.held_out, len(x) - 1)
        new_x, new_y = x[n_learnt:], y[n_learnt:]
        vector, steps = start.copy(), self.layout.spread(rates)
        moved, slope = np.zeros_like(start), np.empty_like(start)
        layers, slopes = self.layout.views(vector), self.layout.views(slope)
        best, best_loss, waited = vector.copy(), np.inf, 0
        if len(new_x):
            best_loss = self.loss(start, new_x, new_y)
        for number in range(n_learnt * way.passes):
            i = number % n_learnt
            self._descend(layers, slopes, x[i : i + 1], y[i : i + 1])
            _shorten(slope)
            moved += slope
            vector -= steps * slope
            if len(new_x) and (number + 1) % way.look_every == 0:
                loss = self.loss(vector, new_x, new_y)
                waited = 0 if loss < best_loss else waited + 1
                if loss < best_loss:
                    best, best_loss = vector.copy(), loss
                if waited == way.patience:
                    break
        if not len(new_x):
            return Learnt(vector, np.zeros(len(rates), np.float32))
        signals = self._signals(moved, self.gradient(vector, new_x, new_y))
        is_last = self.loss(vector, new_x, new_y) < best_loss
        return Learnt(vector if is_last else best, signals)

    def _signals(self, moved: Vector, slope: Vector) -> Vector:
        """Return per layer the cosine between the way taken down and the way further down.

        The first-order gradient of the held-out loss by the layer's rate (Li et al., "Meta-SGD",
        2017), without its length.
        """
        pairs = zip(self.layout.each(moved), self.layout.each(slope), strict=True)
        return np.array([_cosine(a, b) for a, b in pairs], np.float32)


def _shorten(slope: Vector) -> None:
    norm = float(np.sqrt(slope @ slope))
    if norm > _LARGEST_GRADIENT:
        slope *= np.float32(_LARGEST_GRADIENT / norm)


def _cosine(a: Vector, b: Vector) -> float:
    return float(a @ b / max(np.sqrt(float(a @ a) * float(b @ b)), _SMALLEST))
