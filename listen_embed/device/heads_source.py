"""Heads that were taught in Python, as constants for listen_heads.c."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed import heads, npz
from listen_embed.device.steps import Array
from listen_embed.device.text import array, define
from listen_embed.errors import InputError
from listen_embed.heads import _covariance, _storage
from listen_embed.spec import ModelSpec

Floats = NDArray[np.float64]

_HEADER = """\
/* What the heads were taught. Written by listen-embed. */
#ifndef LISTEN_HEADS_MODEL_H
#define LISTEN_HEADS_MODEL_H

{defines}

{arrays}
extern const char *const listen_labels[];

#endif
"""
_SOURCE = """\
/* What the heads were taught. Written by listen-embed. */
#include "listen_heads_model.h"

#include <stddef.h>

{arrays}
const char *const listen_labels[] = {{{labels}}};
"""


class Model(NamedTuple):
    """As much of an embedder as heads ask for."""

    spec: ModelSpec
    digest: str


def heads_source(path: Path, spec: ModelSpec, digest: str) -> dict[str, str]:
    """Return the files that tell of the heads in an .npz, by their names.

    Raises
    ------
    HeadError
        The file holds no heads, or those of another model.
    InputError
        A head of a kind that there is no C for, or of another width.
    """
    found = heads.load(path, Model(spec, digest))
    fields = npz.read(path, _storage.MAX_BYTES)
    constants, arrays = _classifier(found.classifier, fields)
    more_constants, more_arrays = _anomaly(found.anomaly, fields)
    constants |= more_constants | {"HEAD_DIM": spec.emb_dim}
    arrays |= more_arrays
    labels = found.classifier.labels if found.classifier else ()
    _check_width(found, spec.emb_dim)
    return {
        "listen_heads_model.h": _HEADER.format(
            defines="\n".join(define(f"LISTEN_{name}", value) for name, value in constants.items()),
            arrays="".join(
                f"extern const float {name}[{len(one.values)}];\n" for name, one in arrays.items()
            ),
        ),
        "listen_heads_model.c": _SOURCE.format(
            arrays="\n".join(array(name, one, "const") for name, one in arrays.items()),
            labels=", ".join([*map(c_string, labels), "NULL"]),
        ),
    }


def _check_width(found: heads.Heads, emb_dim: int) -> None:
    for head in (found.classifier, found.anomaly):
        if head is not None and head.emb_dim != emb_dim:
            raise InputError(
                f"the head takes embeddings of {head.emb_dim} values, the model gives {emb_dim}"
            )


def _classifier(head: Any, fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    if head is None:
        return {"CLASSES": 0}, {}
    metric = fields["classifier/metric"] / fields["classifier/scale"][:, None]
    rejects = bool(np.isfinite(head.threshold))
    constants = {
        "CLASSES": len(head.labels),
        "TEMPERATURE": float(fields["classifier/temperature"]),
        "REJECTS": int(rejects),
        "NOVELTY_THRESHOLD": float(head.threshold) if rejects else 0.0,
    }
    return constants, {
        "listen_center": _floats(fields["classifier/center"]),
        "listen_metric": _floats(_triangle(metric)),
        "listen_prototypes": _floats(fields["classifier/prototypes"].ravel()),
        "listen_counts": _floats(1 / (fields["classifier/inflated"] - 1)),
    }


def _anomaly(head: Any, fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    constants: dict[str, Any] = {"ANOMALY_MAHALANOBIS": 0, "ANOMALY_NEIGHBORS": 0}
    if head is None:
        return constants, {}
    if "anomaly/memory" in fields:
        memory = fields["anomaly/memory"]
        n = int(fields["anomaly/n_neighbors"])
        constants |= {"ANOMALY_NEIGHBORS": 1, "REMEMBERED": len(memory)}
        constants |= {"NEIGHBORS": min(n, len(memory))}
        return constants, {"listen_memory": _floats(memory.ravel())}
    mean = fields["anomaly/mean"]
    constants |= {
        "ANOMALY_MAHALANOBIS": 1,
        "NORMAL_COUNT": float(head.count),
        "NORMAL_QUARTIC": float(fields["anomaly/quartic"]),
        "MIN_SHRINKAGE": _covariance.MIN_SHRINKAGE,
        "NOISE": _covariance.FLOAT32_EPS**2,
        "MIN_VARIANCE": _covariance.MIN_VARIANCE,
    }
    return constants, {
        "listen_normal_mean": _floats(mean),
        "listen_normal_scatter": _floats(fields["anomaly/scatter"][np.tril_indices(len(mean))]),
        "listen_normal_cubic": _floats(fields["anomaly/cubic"]),
        "listen_normal_metric": _floats(_triangle(_metric_of(head, mean))),
    }


def _metric_of(head: Any, mean: Floats) -> Floats:
    """Return W (D, D), an upper triangle, such that the score of x is |(x - mean) W|.

    Squared scores are a quadratic form around the mean, and are asked for its coefficients.
    """
    eye = np.eye(len(mean))
    squares = head.score(mean + eye) ** 2
    form = np.empty_like(eye)
    for i, row in enumerate(eye):
        form[i] = (head.score(mean + row + eye) ** 2 - squares[i] - squares) / 2
    # P = W Wᵀ with W upper: the Cholesky factor of P with both axes turned round.
    turned = np.linalg.cholesky((form + form.T)[::-1, ::-1] / 2)
    return np.asarray(turned[::-1, ::-1])


def _triangle(metric: Floats) -> Floats:
    """Return an upper triangle, column by column."""
    if np.abs(np.tril(metric, -1)).max() > 0:
        raise InputError("the classifier's metric is no triangle; teach it anew")
    return np.concatenate([metric[: column + 1, column] for column in range(len(metric))])


def _floats(values: Any) -> Array:
    return Array("float", np.asarray(values, np.float32))


def c_string(text: Any) -> str:
    """Return a label as a C string in UTF-8; octal escapes cannot run into what follows."""
    return '"' + "".join(map(_character, str(text).encode())) + '"'


def _character(byte: int) -> str:
    is_plain = byte < 128 and (chr(byte).isalnum() or chr(byte) in " -_.,")
    return chr(byte) if is_plain else f"\\{byte:03o}"
