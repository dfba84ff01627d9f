"""A device of a fleet, whatever carries its messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from listen_embed.errors import InputError
from listen_embed.fleet.keys import Sign
from listen_embed.fleet.learning.layout import Agreement, Layout, Vector
from listen_embed.fleet.learning.network import Answers, Learnt, Rows, Way
from listen_embed.fleet.learning.updates import Sending, Update, pack


class Model(Protocol):
    """What a fleet learns: `Network` or `Prior`."""

    kind: str
    layout: Layout

    def begin(self, seed: int) -> Vector:
        """Return where the first round starts."""

    def learn(self, start: Vector, x: Rows, y: Answers, rates: Vector, way: Way) -> Learnt:
        """Return what is learnt from samples."""


class Start(NamedTuple):
    """What a round begins with.

    Attributes
    ----------
    round : int
    vector : ndarray, float32 (size,)
    rates : ndarray, float32 (n_layers,)
        Steps of each layer.
    """

    round: int
    vector: Vector
    rates: Vector


def unsigned(content: bytes) -> bytes:
    """Return what stands in a signature's place where all nodes are in one process."""
    return bytes(64)


@dataclass
class Node:
    """A device with samples that never leave it.

    Attributes
    ----------
    name : str
    model : Model
    agreement : Agreement
        What its fleet has in common.
    x, y : ndarray, (N, inputs) and (N,) or (N, outputs)
        Its stream, oldest first.
    way : Way
        How it learns.
    sending : Sending
        What it sends of that.
    sign : callable
        By its key.
    bound_to : bytes
        Digest that its updates are bound to: of a run, or of the agreement where there is none.
    """

    name: str
    model: Model
    agreement: Agreement
    x: Rows
    y: Answers
    way: Way = field(default_factory=Way)
    sending: Sending = field(default_factory=Sending)
    sign: Sign = unsigned
    bound_to: bytes = b""
    _kept: dict[str, Vector] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not len(self.x):
            raise InputError(
                f"node {self.name!r} has {len(self.x)} samples and {len(self.y)} answers to them; "
                "give as many of each, one at least"
            )
        if not np.isfinite(self.x).all():
            raise InputError(f"node {self.name!r} has samples with NaN or infinity; drop them")

    def answer(self, start: Start) -> bytes:
        """Learn from a start and return the update to send."""
        vector = self._with_kept(start.vector)
        learnt = self.model.learn(vector, self.x, self.y, start.rates, self.way)
        layers = self.model.layout.views(learnt.vector)
        self._kept = {name: layers[name].copy() for name in self.sending.kept}
        return pack(
            Update(
                self.name,
                start.round,
                self.bound_to or self.agreement.digest,
                len(self.x),
                learnt.vector - start.vector,
                learnt.signals,
            ),
            self.model.layout,
            self.sending,
            self.sign,
        )

    def _with_kept(self, vector: Vector) -> Vector:
        """Return a start with this node's own layers in it."""
        own = vector.copy()
        for name, layer in self.model.layout.views(own).items():
            if name in self._kept:
                layer[:] = self._kept[name]
        return own
