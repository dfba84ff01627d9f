"""What a .tflite costs, read from the file itself: multiplications, memory, operators.

Nothing is run, and nothing but the schema is needed, so this works without torch.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.upstream.graph import schema

_IDENTIFIER = slice(4, 8)
_NO_TENSOR = -1  # an optional input that is left out

# Bits of one value, by the schema's name of its type.
_BITS = {
    "BOOL": 8, "INT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16, "FLOAT16": 16,
    "INT32": 32, "UINT32": 32, "FLOAT32": 32, "INT64": 64, "UINT64": 64, "FLOAT64": 64,
    "COMPLEX64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
    type : str
        The schema's name: ``"INT8"``, ``"FLOAT32"``.
    size_bytes : int
        Of its values.
    is_constant : bool
        Its values stand in the file.
    is_variable : bool
        It keeps its values from one run to the next.
    scales, zero_points : tuple
        Of the quantisation: empty, one, or one for each channel.
    content : bytes
        The values of a constant, as they stand in the file.
    axis : int
        Axis of the quantisation's channels.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    size_bytes: int
    is_constant: bool
    is_variable: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    content: bytes = field(default=b"", repr=False)
    axis: int = 0

    def values(self) -> NDArray[Any]:
        """Return the values of a constant as they stand in the file, in its shape, read-only.

        Raises
        ------
        ConversionError
            The file has too few of them, or of a type that numpy does not know.
        """
        try:
            kind = np.dtype(self.type.lower()).newbyteorder("<")
            return np.frombuffer(self.content, kind, math.prod(self.shape)).reshape(self.shape)
        except (TypeError, ValueError) as error:
            raise ConversionError(f"a damaged .tflite: tensor {self.name}: {error}") from error

    def dequantised(self) -> NDArray[np.float32]:
        """Return the real values of a constant, scale * (value - zero point), in its shape.

        Raises
        ------
        ConversionError
            As `values`; or its quantisation does not fit its shape.
        """
        values = self.values().astype(np.float64)
        if not self.scales:
            return values.astype(np.float32)
        try:
            shape = [1] * values.ndim
            if len(self.scales) > 1:
                shape[self.axis] = -1
            scales = np.asarray(self.scales, np.float32).astype(np.float64).reshape(shape)
            zeros = np.asarray(self.zero_points or (0,), np.int64)
            shifted = values - (zeros if zeros.size == 1 else zeros.reshape(shape))
            return (shifted * scales).astype(np.float32)
        except (IndexError, ValueError) as error:
            raise ConversionError(f"a damaged .tflite: tensor {self.name}: {error}") from error


@dataclass(frozen=True, slots=True)
class OperatorInfo:
    """One operator of a graph; -1 stands for an optional input that is left out.

    ``options`` has the schema's names and numbers: ``{"strideH": 2, "padding": 1}``.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Graph:
    """The graph of a .tflite: its tensors, and its operators in the order of execution."""

    tensors: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(model: bytes) -> Graph:
    """Return the only graph of a .tflite.

    Raises
    ------
    ConversionError
        The bytes are not a .tflite of one graph with fixed shapes.
    RuntimeUnavailableError
        No installed runtime brings the TFLite schema.
    """
    if model[_IDENTIFIER] != b"TFL3":
        raise ConversionError("not a .tflite: its file identifier is not TFL3")
    table = schema()
    try:
        return _graph(table.ModelT.InitFromPackedBuf(model, 0), table, model)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        if isinstance(error, ConversionError):
            raise
        raise ConversionError(f"a damaged .tflite: {error}") from error


def operators(model: bytes) -> list[str]:
    """Return the names of a .tflite's operators, in the order of execution."""
    return [operator.name for operator in read_graph(model).operators]


def macs(model: bytes) -> int:
    """Return the multiply-accumulates of one run of a .tflite.

    Counted are convolutions, depthwise convolutions, fully connected layers and matrix products;
    what the others do (activations, pooling, norms, Fourier transforms) is left out, as is usual.
    """
    graph = read_graph(model)
    try:
        return sum(_macs(operator, graph) for operator in graph.operators)
    except (IndexError, ValueError) as error:
        raise ConversionError(f"a damaged .tflite: an operator lacks tensors ({error})") from error


def peak_bytes(model: bytes) -> int:
    """Return the most bytes that the tensors of a .tflite take at one time.

    A tensor lives from the operator that makes it to the last one that reads it; inputs live from
    the start, outputs to the end, variables always. Weights are not counted: they stay in flash. An
    interpreter's arena is at least this large; its own tables, the scratch memory of its kernels
    and gaps between tensors come on top, and only the target can tell how much they are.

    The largest single tensor, which is often given instead, is too small by half or more: an
    operator needs its input and its output at the same time.
    """
    graph = read_graph(model)
    first, last = _lifetimes(graph)
    changes = [0] * (len(graph.operators) + 2)
    for index, begin in first.items():
        changes[begin] += graph.tensors[index].size_bytes
        changes[last[index] + 1] -= graph.tensors[index].size_bytes
    return max(accumulate(changes))


def _lifetimes(graph: Graph) -> tuple[dict[int, int], dict[int, int]]:
    """Return the first and the last operator, by number, at which each tensor takes memory."""
    end = max(0, len(graph.operators) - 1)
    variables = [i for i, tensor in enumerate(graph.tensors) if tensor.is_variable]
    first = dict.fromkeys((i for i in (*variables, *graph.inputs) if i != _NO_TENSOR), 0)
    last = dict.fromkeys(first, 0)
    for step, operator in enumerate(graph.operators):
        for index in (*operator.inputs, *operator.intermediates, *operator.outputs):
            if index != _NO_TENSOR and not graph.tensors[index].is_constant:
                first.setdefault(index, step)
                last[index] = step
    last |= {index: end for index in (*variables, *graph.outputs) if index in first}
    return first, last


def _macs(operator: OperatorInfo, graph: Graph) -> int:
    if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"):
        return 0
    values, weights = (graph.tensors[index].shape for index in operator.inputs[:2])
    each = {
        "CONV_2D": math.prod(weights[1:]),  # (out, height, width, in)
        "DEPTHWISE_CONV_2D": math.prod(weights[1:3]),  # (1, height, width, channels)
        "FULLY_CONNECTED": weights[-1],  # (out, in)
        "BATCH_MATMUL": values[-2 if operator.options.get("adjX") else -1],
    }
    return math.prod(graph.tensors[operator.outputs[0]].shape) * each[operator.name]


def _graph(tree: Any, table: Any, model: bytes) -> Graph:
    if len(tree.subgraphs) != 1:
        raise ConversionError(f"a .tflite of ours has one graph; this has {len(tree.subgraphs)}")
    (graph,) = tree.subgraphs
    types, codes = _names(table.TensorType), _names(table.BuiltinOperator)
    kinds = [codes[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in tree.operatorCodes]
    read = Graph(
        tuple(_tensor(tensor, tree, types, model) for tensor in graph.tensors),
        tuple(_operator(operator, kinds) for operator in _listed(graph.operators)),
        _indices(graph.inputs),
        _indices(graph.outputs),
    )
    _check_indices(read)
    return read


def _check_indices(graph: Graph) -> None:
    used = [*graph.inputs, *graph.outputs]
    for operator in graph.operators:
        used += [*operator.inputs, *operator.outputs, *operator.intermediates]
    if wrong := [index for index in used if not _NO_TENSOR <= index < len(graph.tensors)]:
        raise ConversionError(f"a damaged .tflite: it has no tensor {wrong[0]}")


def _tensor(tensor: Any, tree: Any, types: dict[int, str], model: bytes) -> TensorInfo:
    name, shape = (tensor.name or b"").decode(errors="replace"), _indices(tensor.shape)
    signature = _indices(tensor.shapeSignature)
    if min((1, *shape, *signature)) < 0:
        raise ConversionError(f"tensor {name} has a shape of unknown size: {signature or shape}")
    kind = types[tensor.type]
    if kind not in _BITS:
        raise ConversionError(f"tensor {name} has the type {kind}, which has no fixed size")
    content = _content(tree.buffers[tensor.buffer], model)
    quantisation = tensor.quantization
    return TensorInfo(
        name,
        shape,
        kind,
        -(-math.prod(shape) * _BITS[kind] // 8),
        len(content) > 0,
        bool(tensor.isVariable),
        tuple(map(float, _listed(quantisation and quantisation.scale))),
        _indices(quantisation and quantisation.zeroPoint),
        content,
        int(quantisation.quantizedDimension) if quantisation else 0,
    )


def _content(buffer: Any, model: bytes) -> bytes:
    """Return a buffer's bytes, which large files keep outside the tables (offset 1: nowhere)."""
    if buffer.offset > 1:
        return model[buffer.offset : buffer.offset + buffer.size]
    return b"" if buffer.data is None else bytes(buffer.data)


def _operator(operator: Any, kinds: list[str]) -> OperatorInfo:
    return OperatorInfo(
        kinds[operator.opcodeIndex],
        _indices(operator.inputs),
        _indices(operator.outputs),
        _indices(operator.intermediates),
        vars(operator.builtinOptions) if operator.builtinOptions else {},
    )


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _listed(values: Any) -> list[Any]:
    """Return a vector of the schema, which is None where the file leaves it out."""
    return [] if values is None else list(values)


def _indices(values: Any) -> tuple[int, ...]:
    return tuple(map(int, _listed(values)))
