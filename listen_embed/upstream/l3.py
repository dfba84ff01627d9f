"""EdgeL3 (pruned and specialised) and OpenL3: the audio half of a Look, Listen and Learn network.

A batch norm on the log-mel, then four blocks of two 3x3 convolutions, each with batch norm and
ReLU, and 2x2 max-pooling between blocks. Files differ in the number of filters, in whether the
last convolution is normalised and rectified (specialised students) or bare (OpenL3, pruned), and
OpenL3 pools the last block either to one value per filter or to a grid of 4 x 3.

Source: Cramer et al., "Look, Listen and Learn More", ICASSP 2019; Kumari et al., "EdgeL3", 2019;
the published files of marl/openl3 and ksangeeta2429/edgel3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.upstream import batch_norm, keras_h5
from listen_embed.upstream.graph import Activation, GraphBuilder, Tensor

_CONVOLUTIONS = 8
_KERNEL = (3, 3)
_EPSILON = 1e-3  # Keras' default
_LARGE_GRID = (4, 3)  # OpenL3's 6144 = 4 * 3 * 512


class _Stage(NamedTuple):
    """One convolution ``(out, height, width, in)`` with what was folded into it."""

    weights: NDArray[Any]
    bias: NDArray[Any]
    activation: Activation


def convert(path: Path, *, input_shape: tuple[int, ...], emb_dim: int) -> bytes:
    """Return the .tflite bytes of an EdgeL3 or OpenL3 file (.h5 or .h5.gz).

    Parameters
    ----------
    path : Path
        The published file.
    input_shape : (int, int)
        Mel bands (or FFT bins) and time steps of a log-mel.
    emb_dim : int
        The last convolution's filters, or 12 times as many.

    Raises
    ------
    ConversionError
        The file has another layout, or cannot give such an embedding.
    """
    if len(input_shape) != 2:
        raise ConversionError(f"input_shape {input_shape} must be (n_mels, n_steps).")
    norm, stages = _network(keras_h5.read_layers(path))
    graph = GraphBuilder()
    x = graph.input((1, *input_shape, 1), "logmel")
    # This norm cannot move into the first convolution, which pads with zeros after it.
    x = graph.add(graph.mul(x, norm.scale), norm.shift)
    for index, stage in enumerate(stages):
        if index in (2, 4, 6):
            x = graph.max_pool(x, (2, 2))
        x = graph.conv2d(x, stage.weights, stage.bias, activation=stage.activation)
    return graph.finish([_pool(graph, x, emb_dim)])


def _pool(graph: GraphBuilder, x: Tensor, emb_dim: int) -> Tensor:
    _, height, width, filters = x.shape
    rows, columns = (1, 1) if emb_dim == filters else _LARGE_GRID
    pooled = graph.max_pool(x, (-(-height // rows), -(-width // columns)), padding="same")
    if pooled.shape != (1, rows, columns, filters) or emb_dim != rows * columns * filters:
        raise ConversionError(
            f"emb_dim {emb_dim} does not fit the file: its last layer gives {filters} filters on "
            f"{height} x {width}, so embeddings of {filters} or {12 * filters}."
        )
    return graph.reshape(pooled, (1, emb_dim))


def _network(layers: list[keras_h5.Layer]) -> tuple[batch_norm.Affine, list[_Stage]]:
    """Read the first batch norm and the convolutions, the later norms folded in."""
    known = [layer for layer in layers if "gamma" in layer.arrays or "kernel" in layer.arrays]
    plan = "".join("n" if "gamma" in layer.arrays else "c" for layer in known)
    bare_end = "n" + "cn" * (_CONVOLUTIONS - 1) + "c"
    if plan not in (bare_end, bare_end + "n"):
        raise ConversionError(
            "This is not an L3 network: expected a batch norm, then 8 convolutions, each but the "
            f"last with a batch norm; found {' '.join(layer.name for layer in known) or 'none'}."
        )
    channels = 1
    stages = []
    for index in range(1, len(known), 2):
        norm = known[index + 1] if index + 1 < len(known) else None
        stages.append(_stage(known[index], norm, channels))
        channels = len(stages[-1].bias)
    return _batch_norm(known[0], 1), stages


def _stage(layer: keras_h5.Layer, norm: keras_h5.Layer | None, channels: int) -> _Stage:
    filters = layer.arrays["kernel"].shape[-1] if layer.arrays["kernel"].ndim else 0
    kernel = layer.array("kernel", (*_KERNEL, channels, filters))
    weights: NDArray[Any] = np.transpose(kernel, (3, 0, 1, 2))
    bias: NDArray[Any] = layer.array("bias", (filters,))
    if norm is not None:
        weights, bias = batch_norm.folded(weights, bias, _batch_norm(norm, filters))
    return _Stage(weights, bias, "none" if norm is None else "relu")


def _batch_norm(layer: keras_h5.Layer, channels: int) -> batch_norm.Affine:
    kinds = ("gamma", "beta", "moving_mean", "moving_variance")
    gamma, beta, mean, variance = (layer.array(kind, (channels,)) for kind in kinds)
    return batch_norm.affine(gamma, beta, mean, variance, epsilon=_EPSILON)
