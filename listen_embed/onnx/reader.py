"""A .tflite as plain objects: tensors with their values and quantisation, operators with options.

The bytes are hostile until checked: indices, sizes and types, before anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.graph import OperatorInfo, TensorInfo, read_graph
from listen_embed.runtime import StateNames
from listen_embed.simplified import Pairs, without_dequantised, without_state

_NO_TENSOR = -1  # an optional input that is left out
_TYPES: dict[str, Any] = {
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
}


@dataclass(frozen=True)
class Quantisation:
    """How integers stand for values: ``value = scale * (integer - zero_point)``.

    Attributes
    ----------
    scales : ndarray, float32 (1,) or (channels,)
    zero_points : ndarray, int64, of the same shape
    axis : int
        Axis of the channels.
    """

    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int


@dataclass(frozen=True)
class Tensor:
    """A tensor; `values` is None unless they stand in the file."""

    info: TensorInfo
    name: str
    shape: tuple[int, ...]
    dtype: Any
    values: NDArray[Any] | None
    quantisation: Quantisation | None

    def dequantised(self) -> NDArray[np.float32]:
        """Return the values of a constant as float32."""
        return self.info.dequantised()


@dataclass(frozen=True)
class Operator:
    """An operator; an optional input that is left out is None."""

    kind: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Network:
    """The only graph of a .tflite, its operators in the order of execution.

    Its inputs, one or two, come in the order of its signature. Each pair of `state` is an input and
    the output that is its value in the next step.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    output: int
    state: Pairs = ()


def read(model: bytes, state: StateNames = ()) -> Network:
    """Return the network in a .tflite; `state` is as `ModelSpec` has it.

    Raises
    ------
    ConversionError
        It is no .tflite of ours: one graph, one input or two and one output beside its state, fixed
        shapes.
    """
    # In float: onnxruntime would round activations for layers whose weights are integers.
    simple = without_dequantised(read_graph(model), keeps_weights=False)
    graph, pairs = without_state(simple, state)
    if not 1 <= len(graph.inputs) <= 2 or len(graph.outputs) != 1:
        raise ConversionError("a network of ours has one graph, one input or two, and one output")
    if _NO_TENSOR in (*graph.inputs, *graph.outputs):
        raise ConversionError("a damaged .tflite: its input or output is no tensor")
    try:
        tensors = tuple(map(_tensor, graph.tensors))
    except (IndexError, ValueError) as error:
        raise ConversionError(f"a damaged .tflite: {error}") from error
    operators = tuple(map(_operator, graph.operators))
    inputs = sorted(graph.inputs, key=lambda i: tensors[i].name)
    return Network(tensors, operators, tuple(inputs), graph.outputs[0], pairs)


def _tensor(tensor: TensorInfo) -> Tensor:
    if tensor.type not in _TYPES:
        raise ConversionError(f"tensor {tensor.name} has the type {tensor.type}, not known here")
    dtype = np.dtype(_TYPES[tensor.type])
    values = tensor.values() if tensor.is_constant else None
    return Tensor(tensor, tensor.name, tensor.shape, dtype, values, _quantisation(tensor))


def _quantisation(tensor: TensorInfo) -> Quantisation | None:
    if not tensor.scales:
        return None
    scales = np.asarray(tensor.scales, np.float32)
    zeros = np.broadcast_to(np.asarray(tensor.zero_points or (0,), np.int64), scales.shape)
    if not np.isfinite(scales).all() or (scales <= 0).any():
        raise ConversionError("a scale of the quantisation is not a positive number")
    return Quantisation(scales, zeros, tensor.axis)


def _operator(entry: OperatorInfo) -> Operator:
    inputs = tuple(None if i == _NO_TENSOR else i for i in entry.inputs)
    return Operator(entry.name, inputs, entry.outputs, SimpleNamespace(**entry.options))
