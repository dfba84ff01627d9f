"""Heads: small learners on embeddings, in numpy alone.

`Classifier` tells taught sounds apart, from one clip a class up, and can say "unknown".
`Anomaly` scores how unlike normal sound an embedding is, learning at once or one by one.
`OnlineClassifier` learns sample by sample in memory that does not grow, as devices do.

They take embeddings, not audio: embed first, then teach. Given the embedder, a head keeps its
model's name and digest. `save` puts one of each, or either, in one .npz; `load`, given an
embedder, refuses heads that were taught with another model or other weights.

    >>> import numpy as np
    >>> from listen_embed import heads
    >>> normal = np.random.default_rng(0).normal(size=(50, 8))
    >>> anomaly = heads.Anomaly(kind="knn").learn(normal)
    >>> bool(anomaly.score(normal + 9).min() > anomaly.score(normal).max())
    True
"""

from __future__ import annotations

import os
from typing import NamedTuple

from listen_embed.errors import HeadError
from listen_embed.heads import _storage
from listen_embed.heads._identity import Embeds
from listen_embed.heads.anomaly import Anomaly
from listen_embed.heads.classifier import Classifier
from listen_embed.heads.online import OnlineClassifier

__all__ = ["Anomaly", "Classifier", "Heads", "OnlineClassifier", "load", "save"]


class Heads(NamedTuple):
    """What a file holds; None for what it does not."""

    classifier: Classifier | None
    anomaly: Anomaly | None
    online: OnlineClassifier | None = None


def save(
    path: str | os.PathLike[str],
    *,
    classifier: Classifier | None = None,
    anomaly: Anomaly | None = None,
    online: OnlineClassifier | None = None,
) -> None:
    """Save a classifier, an anomaly head, one that learns on, or several in one .npz.

    The file is complete or not there: it is written beside its place and then moved.

    Parameters
    ----------
    path : str or path
        Where to; what is there is replaced.
    classifier, anomaly, online : Classifier, Anomaly, OnlineClassifier, optional
        Heads that have learned, of the same model.

    Raises
    ------
    HeadError
        If there is no head, one has learned nothing, their models differ, or the file cannot be
        written.
    """
    given = [head for head in (classifier, anomaly, online) if head is not None]
    if not given:
        raise HeadError("no head is given to save; give classifier=, anomaly= or online=.")
    for head in given[1:]:
        head._identity.require(given[0]._identity)
    fields = {head._NAME: head._fields() for head in given}
    _storage.write(path, given[0]._identity, fields)


def load(path: str | os.PathLike[str], embedder: Embeds | None = None) -> Heads:
    """Return the heads in an .npz.

    Parameters
    ----------
    path : str or path
        What `save`, or a head's own `save`, wrote.
    embedder : Embedder, optional
        Whose embeddings the heads shall work on; None does not check.

    Raises
    ------
    HeadError
        If the heads were taught with another model, or the file is missing or damaged.
    """
    with _storage.reading(path, embedder) as record:
        found = Heads(
            Classifier._within(record), Anomaly._within(record), OnlineClassifier._within(record)
        )
        if not any(found):
            raise ValueError("it holds no head")
        return found
