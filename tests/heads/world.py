"""Made-up embeddings that the tests of heads share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from listen_embed.heads import Anomaly, Classifier, OnlineClassifier

Head = Classifier | Anomaly | OnlineClassifier
KINDS = ("prototype", "mahalanobis", "knn", "online")
ODD_OPTIONS: dict[str, tuple[dict[str, object], ...]] = {
    kind: ({"seed": -1}, {"seed": 1.5}, {"seed": True}) for kind in KINDS[:3]
} | {"online": ({"rate": -0.1}, {"rate": True}, {"hold_out": 2.5}, {"hold_out": -1})}
_MAKERS: dict[str, Callable[..., Head]] = {
    "prototype": Classifier,
    "online": OnlineClassifier,
}
LABELS = [f"state{number % 3}" for number in range(60)]


def clouds(
    n_rows: int, n_classes: int, emb_dim: int, seed: int, spread: float = 1.0
) -> tuple[NDArray[np.float32], list[str]]:
    """Return correlated clouds around random centres, and their labels; rows take turns."""
    world = np.random.default_rng(7)
    centres = 3.0 * world.normal(size=(n_classes, emb_dim)) / np.sqrt(emb_dim) * 2.0
    mixing = world.normal(size=(emb_dim, emb_dim)) / np.sqrt(emb_dim)
    codes = np.arange(n_rows) % n_classes
    noise = np.random.default_rng(seed).normal(size=(n_rows, emb_dim)) @ mixing
    return (centres[codes] + spread * noise).astype(np.float32), [f"c{code:03}" for code in codes]


def normal_sound(n_rows: int = 60, emb_dim: int = 6, seed: int = 1) -> NDArray[np.float32]:
    """Return one correlated cloud, away from the origin."""
    return 5 + clouds(n_rows, 1, emb_dim, seed)[0]


def make(kind: str, **options: object) -> Head:
    """Return an untaught head of a kind."""
    if kind == "online":  # draws nothing
        return _MAKERS[kind](**{name: value for name, value in options.items() if name != "seed"})
    return _MAKERS.get(kind, partial(Anomaly, kind=kind))(**options)


def embedder(name: str = "sea/64", digest: str = "ab12") -> SimpleNamespace:
    """Return what a head sees of an embedder."""
    return SimpleNamespace(spec=SimpleNamespace(name=name), digest=digest)


def teach(head: Head, x: NDArray[np.float32]) -> Head:
    """Teach a head; classifiers get three classes that are three units apart."""
    if isinstance(head, Anomaly):
        return head.learn(x)
    return head.learn(x + apart(len(x), x.shape[1]), (LABELS * len(x))[: len(x)])


def apart(n_rows: int, emb_dim: int) -> NDArray[np.float32]:
    """Return what moves three classes three units apart."""
    return np.float32(3.0) * np.eye(3, emb_dim, dtype=np.float32)[np.arange(n_rows) % 3]


def answers(head: Head, x: NDArray[np.float32]) -> list[NDArray[np.generic]]:
    """Return everything that a head says of embeddings."""
    if isinstance(head, Anomaly):
        return [head.score(x), head.probability(x)]
    return [head.predict_proba(x), head.novelty(x), np.array(head.predict(x))]
