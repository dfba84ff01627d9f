"""A trained encoder -> a model folder: float and, where it holds, int8 .tflite, card, golden."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from listen_embed.pretrain.encoder import Encoder, front_end
from listen_embed.runtime import Network
from listen_embed.training import convert, export
from listen_embed.training.export import Identity, Trained

_LOG = logging.getLogger(__name__)

# Below this mean cosine to the float model an int8 one is not worth its bytes.
LEAST_COSINE = 0.98

Array = NDArray[np.float32]


def converted(encoder: nn.Module, log_mels: Array) -> Trained:
    """Return an encoder as .tflite files; rounded to int8 where it then still says the same.

    Parameters
    ----------
    encoder : nn.Module
        Log-mels (B, 1, F, T) in, embeddings out: an `Encoder`, or a network that holds one.
    log_mels : ndarray, float32 (n, F, T)
        Typical inputs: the first half gives int8 its ranges, the rest judges it.
    """
    in_float = convert.to_float(encoder, log_mels.shape[1:])
    typical, others = np.array_split(log_mels, 2)
    try:
        in_int8 = convert.to_int8(in_float, typical)
    except Exception as error:  # the quantiser names no common kind for what it cannot do
        _LOG.warning("kept in float32: the quantiser cannot round this network (%s)", error)
        return Trained(in_float, in_float)
    cosine = cosine_of(Network(in_float)(others), Network(in_int8)(others))
    if cosine < LEAST_COSINE:
        _LOG.warning("kept in float32: int8 has a cosine of %.3f only to float", cosine)
        return Trained(in_float, in_float)
    return Trained(in_float, in_int8)


def write(
    folder: Path,
    encoder: Encoder,
    trained: Trained,
    n_steps: int,
    licence: str,
    settings: Mapping[str, Any],
    quality: str,
    complete: Callable[[Path], None],
) -> None:
    """Write a model folder, replacing an older one of ours.

    Parameters
    ----------
    folder : Path
    encoder : Encoder
    trained : Trained
    n_steps : int
        Columns of the log-mels that it takes.
    licence : str
        What the card says about the recordings, and so about the weights.
    settings : mapping
        What the card says about how it was made.
    quality : str
        How good it is, Markdown.
    complete : callable
        Adds to the folder, given where it is written.
    """
    heard = front_end(n_steps)
    identity = Identity(
        model_type="own",
        emb_dim=encoder.architecture.emb_dim,
        variant=folder.name,
        licence=licence,
        source="pretrained without labels, by listen-embed",
    )

    def finish(place: Path) -> None:
        export.write_card(place, identity, heard, trained, settings, quality, folder.name)
        complete(place)

    # There is no C for attention, nor for scans.
    export.write_folder(folder, identity, heard, trained, finish, as_c=False)


def cosine_of(a: Array, b: Array) -> float:
    """Return the mean cosine of rows."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12
    return float(((a * b).sum(1) / lengths).mean())
