"""YAMNet: the published .tflite, cut at its global average.

The classifier behind the average, and whatever only it used, is dropped; everything else stays
as published (int8 weights, float32 activations, waveform in).

Source: TF-Hub google/yamnet/1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from listen_embed.errors import ConversionError
from listen_embed.upstream import small_files
from listen_embed.upstream.graph import pack, schema

_EMBEDDING = "yamnet_frames/global_average_pooling2d/Mean"
_IDENTIFIER = slice(4, 8)  # where a flatbuffer names its kind
_NO_TENSOR = -1  # an optional input that is left out
_MAX_BYTES = 16_000_000  # the published file has 4 MB


def convert(path: Path, *, input_shape: tuple[int, ...], emb_dim: int) -> bytes:
    """Return the .tflite bytes of YAMNet up to its embedding.

    Parameters
    ----------
    path : Path
        The published .tflite.
    input_shape : (int,)
        Samples of the waveform that it takes.
    emb_dim : int
        Channels of the last convolution.

    Raises
    ------
    ConversionError
        Not a TFLite file, or not this one.
    """
    data = small_files.read(path, _MAX_BYTES)
    if data[_IDENTIFIER] != b"TFL3":
        raise ConversionError(f"{path.name} is not a TFLite file.")
    try:
        return _cut(schema().ModelT.InitFromPackedBuf(data, 0), input_shape, emb_dim)
    except (AttributeError, IndexError, TypeError, ValueError, struct.error) as error:
        if isinstance(error, ConversionError):
            raise
        raise ConversionError(f"{path.name} is a damaged TFLite file: {error}.") from error


def _cut(model: Any, input_shape: tuple[int, ...], emb_dim: int) -> bytes:
    if len(model.subgraphs) != 1:
        raise ConversionError(f"The file has {len(model.subgraphs)} subgraphs, expected one.")
    graph = model.subgraphs[0]
    output = _find(graph, _EMBEDDING)
    _require_shape(graph, output, (1, emb_dim))
    _require_shape(graph, int(graph.inputs[0]), input_shape)
    graph.operators = _needed(graph.operators, output)
    graph.outputs = np.array([output], np.int32)
    _drop_unused(model, graph)
    model.metadata = model.metadataBuffer = model.signatureDefs = None
    return pack(model)


def _find(graph: Any, name: str) -> int:
    found = [index for index, tensor in enumerate(graph.tensors) if _name(tensor) == name]
    if len(found) != 1:
        raise ConversionError(f"{len(found)} tensors are called {name}, expected one.")
    return found[0]


def _name(tensor: Any) -> str:
    """Return the first of the names that the original converter joined with semicolons."""
    return (tensor.name or b"").decode(errors="replace").partition(";")[0]


def _require_shape(graph: Any, tensor: int, expected: tuple[int, ...]) -> None:
    found = tuple(int(size) for size in graph.tensors[tensor].shape)
    if found != expected:
        name = _name(graph.tensors[tensor])
        raise ConversionError(f"Tensor {name} has the shape {found}, expected {expected}.")


def _needed(operators: list[Any], output: int) -> list[Any]:
    """Return the operators that lead to the output; a file lists them in order of execution."""
    wanted = {output}
    kept = []
    for operator in reversed(operators):
        if not wanted.isdisjoint(map(int, operator.outputs)):
            wanted.update(map(int, operator.inputs))
            kept.append(operator)
    return kept[::-1]


def _drop_unused(model: Any, graph: Any) -> None:
    lists = [graph.inputs, graph.outputs]
    lists += [indices for op in graph.operators for indices in (op.inputs, op.outputs)]
    tensors = _renumber(index for indices in lists for index in indices if index != _NO_TENSOR)
    graph.inputs, graph.outputs = (_mapped(part, tensors) for part in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        operator.inputs = _mapped(operator.inputs, tensors)
        operator.outputs = _mapped(operator.outputs, tensors)
    graph.tensors = [graph.tensors[index] for index in tensors]
    buffers = _renumber([0, *(tensor.buffer for tensor in graph.tensors)])
    for tensor in graph.tensors:
        tensor.buffer = buffers[tensor.buffer]
    model.buffers = [model.buffers[index] for index in buffers]
    codes = _renumber(operator.opcodeIndex for operator in graph.operators)
    for operator in graph.operators:
        operator.opcodeIndex = codes[operator.opcodeIndex]
    model.operatorCodes = [model.operatorCodes[index] for index in codes]


def _renumber(indices: Iterable[int]) -> dict[int, int]:
    """Map the indices in use, sorted, to 0, 1, 2, ..."""
    return {old: new for new, old in enumerate(sorted({int(index) for index in indices}))}


def _mapped(indices: Any, numbers: dict[int, int]) -> Any:
    return np.array([numbers.get(int(index), _NO_TENSOR) for index in indices], np.int32)
