"""What a fleet learns, layer by layer, in one vector.

In: layers with names and shapes. Out: `Layout`, which finds them in a vector, and `Agreement`, all
that nodes must have in common.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import InputError

Vector = NDArray[np.float32]

MAX_VALUES = 1_000_000
MAX_LAYERS = 64


class Layer(NamedTuple):
    """A named block of values."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """Layers one after the other.

    Attributes
    ----------
    layers : tuple of Layer
        1 to 64, of a million values together at most.
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if not 1 <= len(names) == len(set(names)) <= MAX_LAYERS:
            raise InputError(f"layers are {names}; give 1 to {MAX_LAYERS} different names")
        if min(layer.size for layer in self.layers) < 1 or self.size > MAX_VALUES:
            raise InputError(
                f"layers have {[layer.size for layer in self.layers]} values; give each one or "
                f"more, and {MAX_VALUES} together at most"
            )

    @property
    def size(self) -> int:
        """Values of all layers."""
        return sum(layer.size for layer in self.layers)

    @cached_property
    def places(self) -> dict[str, slice]:
        """Where each layer lies in a vector."""
        ends = np.cumsum([layer.size for layer in self.layers]).tolist()
        return {
            layer.name: slice(end - layer.size, end)
            for layer, end in zip(self.layers, ends, strict=True)
        }

    def views(self, vector: Vector) -> dict[str, Vector]:
        """Return each layer of a vector (size,) in its shape; writing to them writes to it."""
        return {
            layer.name: vector[self.places[layer.name]].reshape(layer.shape)
            for layer in self.layers
        }

    def joined(self, parts: Mapping[str, NDArray[np.floating]]) -> Vector:
        """Return the vector of layers given by name."""
        flat = [np.asarray(parts[layer.name], np.float32).ravel() for layer in self.layers]
        return np.concatenate(flat)

    def each(self, vector: Vector) -> Iterator[Vector]:
        """Yield the layers of a vector, flat, one after the other."""
        for place in self.places.values():
            yield vector[place]

    def spread(self, values: Vector) -> Vector:
        """Return a vector (size,) in which each layer has its own of the values (n_layers,)."""
        return np.repeat(values, [layer.size for layer in self.layers])


@dataclass(frozen=True)
class Agreement:
    """What the members of a fleet must have in common, or their numbers mean different things.

    Attributes
    ----------
    kind : str
        What is learnt: ``"network"`` or ``"prior"``.
    layout : Layout
    embedder, embedder_digest : str
        Whose embeddings are learnt from; empty for other numbers.
    labels : tuple of str
        The classes, in the order of their numbers; none for regression.
    """

    kind: str
    layout: Layout
    embedder: str = ""
    embedder_digest: str = ""
    labels: tuple[str, ...] = ()

    @property
    def digest(self) -> bytes:
        """Sha256 of all of it, 32 bytes."""
        return hashlib.sha256(self.json().encode()).digest()

    def json(self) -> str:
        """Return it as JSON, always the same text."""
        facts = {
            "kind": self.kind,
            "layers": [[layer.name, list(layer.shape)] for layer in self.layout.layers],
            "embedder": self.embedder,
            "embedder_digest": self.embedder_digest,
            "labels": list(self.labels),
        }
        return json.dumps(facts, sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str | bytes) -> Agreement:
        """Return what `json` wrote, from anywhere; raise `InputError` for anything else."""
        try:
            facts = json.loads(text)
            layers = tuple(
                Layer(str(name), tuple(_size(n) for n in shape)) for name, shape in facts["layers"]
            )
            words = [str(facts[name]) for name in ("kind", "embedder", "embedder_digest")]
            labels = tuple(str(label) for label in facts["labels"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"no agreement of a fleet can be read: {error}") from error
        return cls(words[0], Layout(layers), words[1], words[2], labels)

    def require(self, other: Agreement) -> None:
        """Raise `InputError` that names the first thing in which another differs."""
        for what, mine, theirs in (
            ("the embedder", self.embedder, other.embedder),
            ("the embedder's digest", self.embedder_digest[:12], other.embedder_digest[:12]),
            ("what is learnt", self.kind, other.kind),
        ):
            if mine != theirs:
                raise InputError(f"{what} is {theirs!r}, in this fleet it is {mine!r}")
        self._require_labels(other.labels)
        if self.digest != other.digest:
            given = [f"{layer.name} {list(layer.shape)}" for layer in other.layout.layers]
            wanted = [f"{layer.name} {list(layer.shape)}" for layer in self.layout.layers]
            raise InputError(f"the layers are {given}, in this fleet they are {wanted}")

    def _require_labels(self, labels: tuple[str, ...]) -> None:
        new = [label for label in labels if label not in self.labels]
        missing = [label for label in self.labels if label not in labels]
        if new or missing:
            raise InputError(
                f"the classes differ from this fleet's: new {new}, missing {missing}; "
                f"give {list(self.labels)}"
            )
        if labels != self.labels:
            raise InputError(
                f"the classes are in another order, {list(labels)}; give {list(self.labels)}"
            )


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_VALUES:
        raise ValueError(f"a size is {value!r}, allowed is 1 to {MAX_VALUES}")
    return value
