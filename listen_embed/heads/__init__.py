"""Heads: small learners on embeddings, in numpy alone.

`Classifier` tells taught sounds apart, from one clip a class up, and can say "unknown".
`Anomaly` scores how unlike normal sound an embedding is, learning at once or one by one.

They take arrays, not audio: embed first, then teach. `save` puts one of each, or either, in one
.npz together with the name and digest of the model; `load` refuses to use them with another.

    >>> import numpy as np
    >>> from listen_embed import heads
    >>> normal = np.random.default_rng(0).normal(size=(50, 8))
    >>> anomaly = heads.Anomaly("knn", model="sea/64").learn(normal)
    >>> bool(anomaly.score(normal + 9).min() > anomaly.score(normal).max())
    True
"""

from __future__ import annotations

import os
from typing import NamedTuple

from listen_embed.errors import HeadError
from listen_embed.heads import _storage
from listen_embed.heads.anomaly import Anomaly
from listen_embed.heads.classifier import Classifier

__all__ = ["Anomaly", "Classifier", "Heads", "load", "save"]


class Heads(NamedTuple):
    """What a file holds; None for what it does not."""

    classifier: Classifier | None
    anomaly: Anomaly | None


def save(
    path: str | os.PathLike[str],
    *,
    classifier: Classifier | None = None,
    anomaly: Anomaly | None = None,
) -> None:
    """Save a classifier, an anomaly head, or both in one .npz.

    The file is complete or not there: it is written beside its place and then moved.

    Parameters
    ----------
    path : str or path
        Where to; what is there is replaced.
    classifier, anomaly : Classifier, Anomaly, optional
        Heads that have learned, of the same model.

    Raises
    ------
    HeadError
        If there is no head, one has learned nothing, their models differ, or the file cannot be
        written.
    """
    given = [head for head in (classifier, anomaly) if head is not None]
    if not given:
        raise HeadError("no head is given to save; give classifier=, anomaly=, or both.")
    given[-1].check_model(given[0].model, given[0].digest)
    fields: dict[str, _storage.Fields] = {}
    if classifier is not None:
        fields["classifier"] = classifier._fields()
    if anomaly is not None:
        fields["anomaly"] = anomaly._fields()
    _storage.write(path, given[0].model, given[0].digest, fields)


def load(
    path: str | os.PathLike[str], *, model: str | None = None, digest: str | None = None
) -> Heads:
    """Return the heads in an .npz.

    Parameters
    ----------
    path : str or path
        What `save`, `Classifier.save` or `Anomaly.save` wrote.
    model, digest : str, optional
        The model whose embeddings the heads shall work on, ``embedder.spec.name`` and
        ``embedder.digest``; None does not check.

    Raises
    ------
    HeadError
        If the heads were taught with another model, or the file is missing or damaged.
    """
    with _storage.reading(path, model, digest) as record:
        classifier, anomaly = record.head("classifier"), record.head("anomaly")
        if classifier is None and anomaly is None:
            raise ValueError("it holds no head")
        return Heads(
            None if classifier is None else Classifier._restored(classifier, record.identity()),
            None if anomaly is None else Anomaly._restored(anomaly, record.identity()),
        )
