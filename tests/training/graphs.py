"""Small .tflite files for tests, and a way to change what stands in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from listen_embed.upstream.graph import GraphBuilder, Tensor, pack, schema

Build = Callable[[GraphBuilder, Tensor], Tensor]


def one(shape: tuple[int, ...], build: Build) -> bytes:
    """Return the file of a graph with one input and one output."""
    graph = GraphBuilder()
    return graph.finish([build(graph, graph.input(shape))])


def changed(model: bytes, change: Callable[[Any], None]) -> bytes:
    """Return a file after `change` was applied to its ``ModelT``."""
    tree = schema().ModelT.InitFromPackedBuf(model, 0)
    change(tree)
    return pack(tree)


def as_int8(model: bytes, scale: float = 0.05, zero_point: int = -3) -> bytes:
    """Return a float graph with its values, not its weights, declared int8."""
    table = schema()

    def change(tree: Any) -> None:
        for tensor in tree.subgraphs[0].tensors:
            if tensor.type == table.TensorType.FLOAT32 and tree.buffers[tensor.buffer].data is None:
                tensor.type = table.TensorType.INT8
                tensor.quantization = table.QuantizationParametersT()
                tensor.quantization.scale = [scale]
                tensor.quantization.zeroPoint = [zero_point]

    return changed(model, change)
