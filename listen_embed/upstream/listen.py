"""LISTEN: a tiny audio transformer for machine states, and its authors' classifier.

Patches of 16 x 16 become tokens by one convolution; two pre-norm transformer encoder layers
follow; the embedding is the mean over the tokens. There is no positional embedding.

Source: repository hanprd/LISTEN.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np

from listen_embed.errors import ConversionError
from listen_embed.upstream import batch_norm, torch_zip
from listen_embed.upstream.graph import GraphBuilder, Tensor

_HEADS = 4  # not visible in the file
_EPSILON = 1e-5  # torch's default, for both kinds of norm


def convert(path: Path, *, input_shape: tuple[int, ...], emb_dim: int) -> bytes:
    """Return the .tflite bytes of the LISTEN encoder.

    Parameters
    ----------
    path : Path
        LISTEN.pth.
    input_shape : (int, int)
        Mel bands and time steps of a log-mel, each at least one patch; what is left over at the
        end, as in torch, is not looked at.
    emb_dim : int
        Width of the tokens.

    Raises
    ------
    ConversionError
        The file has another layout, or gives embeddings of another length.
    """
    if len(input_shape) != 2:
        raise ConversionError(f"input_shape {input_shape} must be (n_mels, n_steps).")
    state = torch_zip.read_state_dict(path)
    graph = GraphBuilder()
    tokens = _tokens(graph, state, graph.input((1, *input_shape, 1), "logmel"), emb_dim)
    for index in itertools.count():
        name = f"blocks.{index}"
        if f"{name}.norm1.weight" not in state:
            break
        tokens = _encoder_layer(graph, state, tokens, name)
    return graph.finish([graph.mean(tokens, [0], keep_dims=True)])


def _tokens(graph: GraphBuilder, state: torch_zip.StateDict, x: Tensor, width: int) -> Tensor:
    kernel = state.tensor("conv1.weight", width, 1, None, None)
    patch = kernel.shape[2]
    if kernel.shape[3] != patch:
        raise ConversionError(f"conv1.weight has the shape {kernel.shape}: patches not square.")
    kinds = ("weight", "bias", "running_mean", "running_var")
    arrays = (state.tensor(f"bn1.{kind}", width) for kind in kinds)
    norm = batch_norm.affine(*arrays, epsilon=_EPSILON)
    weights, bias = batch_norm.folded(kernel, state.tensor("conv1.bias", width), norm)
    weights = weights.transpose(0, 2, 3, 1)
    x = graph.conv2d(x, weights, bias, stride=patch, padding="valid", activation="relu")
    return graph.reshape(x, (x.shape[1] * x.shape[2], width))


def _encoder_layer(graph: GraphBuilder, state: torch_zip.StateDict, x: Tensor, name: str) -> Tensor:
    normed = _norm(graph, state, x, f"{name}.norm1")
    x = graph.add(x, _attention(graph, state, normed, f"{name}.self_attn"))
    normed = _norm(graph, state, x, f"{name}.norm2")
    hidden = _linear(graph, state, normed, f"{name}.linear1", relu=True)
    return graph.add(x, _linear(graph, state, hidden, f"{name}.linear2"))


def _attention(graph: GraphBuilder, state: torch_zip.StateDict, x: Tensor, name: str) -> Tensor:
    count, width = x.shape
    if width % _HEADS:
        raise ConversionError(f"{name}: a width of {width} does not divide by {_HEADS} heads.")
    # query, key and value stand above one another in the file
    weights = np.split(state.tensor(f"{name}.in_proj_weight", 3 * width, width), 3)
    biases = np.split(state.tensor(f"{name}.in_proj_bias", 3 * width), 3)
    scale = 1 / math.sqrt(width // _HEADS)
    weights[0], biases[0] = weights[0] * scale, biases[0] * scale
    query, key, value = (
        _split_heads(graph, graph.fully_connected(x, weight, bias))
        for weight, bias in zip(weights, biases, strict=True)
    )
    attention = graph.softmax(graph.batch_matmul(query, key, transpose_y=True))
    mixed = graph.transpose(graph.batch_matmul(attention, value), (1, 0, 2))
    return _linear(graph, state, graph.reshape(mixed, (count, width)), f"{name}.out_proj")


def _split_heads(graph: GraphBuilder, x: Tensor) -> Tensor:
    count, width = x.shape
    return graph.transpose(graph.reshape(x, (count, _HEADS, width // _HEADS)), (1, 0, 2))


def _norm(graph: GraphBuilder, state: torch_zip.StateDict, x: Tensor, name: str) -> Tensor:
    scale, shift = (state.tensor(f"{name}.{kind}", x.shape[-1]) for kind in ("weight", "bias"))
    return graph.layer_norm(x, scale, shift, _EPSILON)


def _linear(
    graph: GraphBuilder, state: torch_zip.StateDict, x: Tensor, name: str, *, relu: bool = False
) -> Tensor:
    weights = state.tensor(f"{name}.weight", None, x.shape[-1])
    bias = state.tensor(f"{name}.bias", len(weights))
    return graph.fully_connected(x, weights, bias, activation="relu" if relu else "none")


def _require_width(x: Tensor, wanted: int) -> None:
    if x.shape[-1] != wanted:
        raise ConversionError(f"emb_dim is {wanted}, but the file gives {x.shape[-1]} values.")
