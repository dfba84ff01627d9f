"""Made-up fleets that the tests of learning share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.network import Network
from listen_embed.fleet.learning.node import Node
from listen_embed.fleet.learning.prior import Prior

DIM, CLASSES = 8, 4
LABELS = ("drill", "saw", "mill", "off")
_WORLD = np.random.default_rng(5)
_CENTRES = _WORLD.normal(size=(CLASSES, DIM)) * np.geomspace(0.3, 3, DIM)[::-1]
_SPREAD = np.geomspace(0.2, 3, DIM)  # large where classes do not differ


def device(seed: int, per_class: int = 6) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return embeddings of one device, which has its own shade of every class, and their codes."""
    chance = np.random.default_rng(seed)
    own = _CENTRES + 0.4 * chance.normal(size=_CENTRES.shape)
    codes = np.tile(np.arange(CLASSES), per_class)
    noise = chance.normal(size=(len(codes), DIM)) * _SPREAD
    return (own[codes] + noise).astype(np.float32), codes


def prior() -> tuple[Prior, Agreement]:
    """Return statistics of the devices' embeddings, and what their fleet agrees on."""
    model = Prior(DIM, CLASSES)
    return model, Agreement(model.kind, model.layout, "sea/64", "ab12", LABELS)


def prior_nodes(n: int = 10, **options: Any) -> list[Node]:
    """Return nodes with embeddings."""
    model, agreement = prior()
    return [Node(f"n{i}", model, agreement, *device(i), **options) for i in range(n)]


def sines(n: int = 10, **options: Any) -> list[Node]:
    """Return nodes that each hear samples of another sine."""
    model = Network((1, 16, 16, 1), "squares")
    agreement = Agreement(model.kind, model.layout)
    nodes = []
    for i in range(n):
        chance = np.random.default_rng(i)
        x = chance.uniform(-3, 3, (40, 1)).astype(np.float32)
        y = (chance.uniform(1, 2) * np.sin(x + chance.uniform(0, 1))).astype(np.float32)
        nodes.append(Node(f"n{i}", model, agreement, x, y, **options))
    return nodes
