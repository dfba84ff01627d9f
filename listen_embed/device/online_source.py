"""A classifier that learns one by one, as constants for listen_online.c."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from listen_embed import npz
from listen_embed.device.heads_source import Model, c_string
from listen_embed.device.steps import Array
from listen_embed.device.text import array, define
from listen_embed.errors import InputError
from listen_embed.heads import OnlineClassifier, _storage
from listen_embed.heads._correction import STEP
from listen_embed.heads._guard import CAPACITY
from listen_embed.heads._running import root
from listen_embed.spec import ModelSpec

MAX_CLASSES = 1000
# Classes that there is room for, unless more were taught or are asked for.
_USUAL_CLASSES = 10

_HEADER = """\
/* Where a classifier that goes on learning starts. Written by listen-embed. */
#ifndef LISTEN_ONLINE_MODEL_H
#define LISTEN_ONLINE_MODEL_H

#include <stdint.h>

{defines}

{arrays}
extern const char *const listen_online_labels[];

#endif
"""
_SOURCE = """\
/* Where a classifier that goes on learning starts. Written by listen-embed. */
#include "listen_online_model.h"

{arrays}
const char *const listen_online_labels[] = {{{labels}}};
"""


def online_source(
    path: Path, spec: ModelSpec, digest: str, classes: int | None = None
) -> dict[str, str]:
    """Return the files that tell of an `OnlineClassifier` in an .npz, by their names.

    Parameters
    ----------
    path : Path
        What `OnlineClassifier.save` wrote.
    spec, digest
        The model whose embeddings it takes.
    classes : int, optional
        How many there shall be room for; None: ten, or as many as were taught.

    Raises
    ------
    HeadError
        The file holds none, or one of another model.
    InputError
        It is of another width, or there is no room for what was taught.
    """
    head = OnlineClassifier.load(path, Model(spec, digest))
    if head.emb_dim != spec.emb_dim:
        raise InputError(
            f"the head takes embeddings of {head.emb_dim} values, the model gives {spec.emb_dim}"
        )
    room = max(_USUAL_CLASSES, len(head.labels)) if classes is None else classes
    if not len(head.labels) <= room <= MAX_CLASSES:
        raise InputError(
            f"there shall be room for {room} classes; {len(head.labels)} were taught, "
            f"{MAX_CLASSES} are allowed"
        )
    fields = npz.read(path, _storage.MAX_BYTES)
    saved = {name.removeprefix("online/"): value for name, value in fields.items()}
    arrays = _arrays(saved)
    return {
        "listen_online_model.h": _HEADER.format(
            defines="\n".join(
                define(f"LISTEN_ONLINE_{name}", value)
                for name, value in _constants(head, saved, room).items()
            ),
            arrays="".join(
                f"extern const {one.kind} {name}[{len(one.values)}];\n"
                for name, one in arrays.items()
            ),
        ),
        "listen_online_model.c": _SOURCE.format(
            arrays="\n".join(array(name, one, "const") for name, one in arrays.items()),
            labels=", ".join(map(c_string, head.labels)),
        ),
    }


def _constants(head: OnlineClassifier, saved: dict[str, Any], room: int) -> dict[str, Any]:
    every = int(saved["hold_out"])
    width = saved["prototypes"].shape[1]
    return {
        "DIM": width,
        "CLASSES": room,
        "TAUGHT": len(head.labels),
        "ROOT": float(root(width)),
        "STEP": float(STEP),
        "RATE": float(saved["rate"]),
        "DUE": f"{2**32 // every if every else 0}u",
        "COUNT": f"{int(saved['count'])}u",
        "OFFERED": f"{int(saved['offered']) % 2**32}u",
        # Its place in the ring, and whether the ring is full, is all that counts.
        "HELD_COUNT": f"{_in_ring(int(saved['held_count']))}u",
        "ROLLBACKS": f"{int(saved['rollbacks']) % 2**32}u",
    }


def _in_ring(count: int) -> int:
    return count if count < CAPACITY else CAPACITY + count % CAPACITY


def _arrays(saved: dict[str, Any]) -> dict[str, Array]:
    floats = ("mean", "squares", "prototypes", "weights", "trust")
    n_held, width = saved["held_rows"].shape
    rows, codes = np.zeros((CAPACITY, width), np.int8), np.zeros(CAPACITY, np.int16)
    rows[:n_held], codes[:n_held] = saved["held_rows"], saved["held_codes"]
    return {
        **{f"listen_online_{name}": Array("float", saved[name].ravel()) for name in floats},
        "listen_online_counts": Array("uint32_t", saved["counts"]),
        "listen_online_good": Array("int16_t", saved["good"].ravel()),
        "listen_online_held_rows": Array("int8_t", rows.ravel()),
        "listen_online_held_codes": Array("int16_t", codes),
    }
