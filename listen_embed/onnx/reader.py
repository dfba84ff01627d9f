"""A .tflite as plain objects: tensors with their values and quantisation, operators with options.

The bytes are hostile until checked: indices, sizes and types, before anything is computed.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.upstream.graph import schema

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

    name: str
    shape: tuple[int, ...]
    dtype: Any
    values: NDArray[Any] | None
    quantisation: Quantisation | None

    def dequantised(self) -> NDArray[np.float32]:
        """Return the values of a constant as float32."""
        assert self.values is not None
        if self.quantisation is None:
            return self.values.astype(np.float32)
        shape = [1] * self.values.ndim
        if len(self.quantisation.scales) > 1:
            shape[self.quantisation.axis] = -1
        zero = self.quantisation.zero_points.reshape(shape)
        scale = self.quantisation.scales.astype(np.float64).reshape(shape)
        return ((self.values.astype(np.float64) - zero) * scale).astype(np.float32)


@dataclass(frozen=True)
class Operator:
    """An operator; an optional input that is left out is None."""

    kind: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Network:
    """The only graph of a .tflite, its operators in the order of execution."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    input: int
    output: int


def read(model: bytes) -> Network:
    """Return the network in a .tflite.

    Raises
    ------
    ConversionError
        It is no .tflite of ours: one graph, one input, one output, fixed shapes.
    """
    if model[4:8] != b"TFL3":
        raise ConversionError("not a .tflite: its file identifier is not TFL3")
    table = schema()
    try:
        return _network(table.ModelT.InitFromPackedBuf(model, 0), table)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        if isinstance(error, ConversionError):
            raise
        raise ConversionError(f"a damaged .tflite: {error}") from error


def _network(model: Any, table: Any) -> Network:
    graph = model.subgraphs[0]
    if len(model.subgraphs) != 1 or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ConversionError("a network of ours has one graph with one input and one output")
    types, codes = _names(table.TensorType), _names(table.BuiltinOperator)
    kinds = [codes[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    tensors = tuple(_tensor(tensor, model.buffers, types) for tensor in graph.tensors)
    operators = tuple(_operator(entry, kinds, len(tensors)) for entry in graph.operators)
    ends = [_index(i, len(tensors)) for i in (graph.inputs[0], graph.outputs[0])]
    return Network(tensors, operators, ends[0], ends[1])


def _tensor(tensor: Any, buffers: Any, types: dict[int, str]) -> Tensor:
    name = (tensor.name or b"").decode(errors="replace")
    if types[tensor.type] not in _TYPES:
        raise ConversionError(f"tensor {name} has the type {types[tensor.type]}, not known here")
    dtype = np.dtype(_TYPES[types[tensor.type]])
    shape = tuple(int(n) for n in ([] if tensor.shape is None else tensor.shape))
    if any(size < 0 for size in shape):
        raise ConversionError(f"tensor {name} has a shape of unknown size: {shape}")
    content = buffers[tensor.buffer].data
    values = None
    if content is not None and len(content):
        values = np.frombuffer(bytes(content), dtype.newbyteorder("<"), math.prod(shape))
        values = values.reshape(shape)
    return Tensor(name, shape, dtype, values, _quantisation(tensor.quantization))


def _quantisation(table: Any) -> Quantisation | None:
    if table is None or table.scale is None or not len(table.scale):
        return None
    scales = np.asarray(table.scale, np.float32)
    given = np.zeros(1, np.int64) if table.zeroPoint is None else np.asarray(table.zeroPoint)
    zeros = np.broadcast_to(given.astype(np.int64), scales.shape)
    if not np.isfinite(scales).all() or (scales <= 0).any():
        raise ConversionError("a scale of the quantisation is not a positive number")
    return Quantisation(scales, zeros, int(table.quantizedDimension))


def _operator(entry: Any, kinds: list[str], n_tensors: int) -> Operator:
    inputs = tuple(None if i == -1 else _index(i, n_tensors) for i in entry.inputs)
    outputs = tuple(_index(i, n_tensors) for i in entry.outputs)
    return Operator(kinds[entry.opcodeIndex], inputs, outputs, entry.builtinOptions)


def _index(index: Any, n_tensors: int) -> int:
    if not 0 <= index < n_tensors:
        raise ConversionError(f"a damaged .tflite: it has no tensor {index}")
    return int(index)


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
