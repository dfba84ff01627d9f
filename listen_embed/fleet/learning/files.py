"""What a node learns from and what it gets, as files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from listen_embed import npz
from listen_embed.atomic import replacing
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.fleet.keys import Sign
from listen_embed.fleet.learning.layout import Agreement, Layout
from listen_embed.fleet.learning.network import Network, Rows
from listen_embed.fleet.learning.node import Model, Node, Start
from listen_embed.fleet.learning.prior import Prior
from listen_embed.fleet.learning.updates import Sending
from listen_embed.monitor.adapt import find_clips

_MAX_BYTES = 256 << 20


class Samples(NamedTuple):
    """Labelled embeddings: float32 (N, D), and N labels."""

    x: Rows
    labels: list[str]


def read_samples(path: Path, embedder: Embedder) -> Samples:
    """Return labelled embeddings from an .npz, or of a folder with a folder of sounds per label.

    Parameters
    ----------
    path : Path
        An .npz has ``embeddings`` (N, D) and ``labels`` (N,).
    embedder : Embedder
        Makes one embedding of each sound of a folder.

    Raises
    ------
    ListenEmbedError
        There are none, or they are not as above.
    """
    if path.is_dir():
        clips = find_clips(path)
        rows = [embedder.embed_clip_file(clip) for _, clip in clips]
        return Samples(np.stack(rows).astype(np.float32), [label for label, _ in clips])
    arrays = _read(path, "labelled embeddings")
    x, labels = arrays.get("embeddings"), arrays.get("labels")
    if x is None or labels is None or x.ndim != 2 or labels.shape != x.shape[:1]:
        raise InputError(
            f"{path}: holds no embeddings (N, D) and labels (N,); write them with numpy.savez"
        )
    return Samples(x.astype(np.float32), [str(label) for label in labels])


def _read(path: Path, what: str) -> dict[str, np.ndarray]:
    try:
        return npz.read(path, _MAX_BYTES)
    except Exception as error:  # hostile bytes trip parsers in ways that no list would cover
        raise InputError(f"{path}: holds no {what} that can be read ({error})") from error


def model_of(agreement: Agreement) -> Model:
    """Return the model that a fleet agreed on; raise `InputError` if there is none such."""
    layout = agreement.layout
    try:
        model = _MODELS[agreement.kind](layout)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"the fleet learns {agreement.kind!r}; this node knows {', '.join(_MODELS)}"
        ) from error
    if model.layout != layout:
        raise InputError(f"the fleet's layers are not those of a {agreement.kind}")
    return model


def _prior(layout: Layout) -> Model:
    n_classes, emb_dim = layout.layers[0].shape
    return Prior(emb_dim, n_classes)


def _network(layout: Layout) -> Model:
    weights = [layer.shape for layer in layout.layers[::2]]
    return Network([weights[0][0], *(shape[-1] for shape in weights)], "labels")


_MODELS = {"prior": _prior, "network": _network}


def make_node(
    agreement: Agreement,
    name: str,
    samples: Samples,
    embedder: Embedder,
    sending: Sending,
    sign: Sign,
) -> Node:
    """Return a node that takes part in what a fleet agreed on.

    Classes are found by their labels, so their order here does not matter, and some may be missing.

    Raises
    ------
    InputError
        Another embedder or digest, or classes that the fleet does not learn.
    """
    mine = Agreement(
        agreement.kind, agreement.layout, embedder.spec.name, embedder.digest, agreement.labels
    )
    agreement.require(mine)
    if new := sorted(set(samples.labels) - set(agreement.labels)):
        raise InputError(
            f"node {name!r} has samples of {new}, which this fleet does not learn; "
            f"it learns {list(agreement.labels)}"
        )
    if samples.x.shape[1] != embedder.spec.emb_dim:
        raise InputError(
            f"the samples have {samples.x.shape[1]} values each, {embedder.spec.name} gives "
            f"{embedder.spec.emb_dim}"
        )
    codes = np.array([agreement.labels.index(label) for label in samples.labels])
    return Node(name, model_of(agreement), agreement, samples.x, codes, sending=sending, sign=sign)


def save_start(path: Path, agreement: Agreement, start: Start) -> None:
    """Save a start as plain arrays in an .npz, complete or not at all."""
    arrays = {
        "agreement": np.array(agreement.json()),
        "round": np.array(start.round),
        "vector": start.vector,
        "rates": start.rates,
    }
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_start(path: Path) -> tuple[Agreement, Start]:
    """Return what `save_start` saved; raise `InputError` for anything else."""
    arrays = _read(path, "start of a fleet")
    try:
        agreement = Agreement.parse(str(arrays["agreement"]))
        vector, rates = (arrays[name].astype(np.float32) for name in ("vector", "rates"))
        start = Start(int(arrays["round"]), vector, rates)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: holds no start of a fleet ({error})") from error
    sizes = (agreement.layout.size,), (len(agreement.layout.layers),)
    if (vector.shape, rates.shape) != sizes or not np.isfinite([*vector, *rates]).all():
        raise InputError(f"{path}: its values are not those of its layers")
    return agreement, start
