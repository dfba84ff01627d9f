"""The layers with weights of a student's .tflite, in the order of execution, as torch has them.

The graph of a student is a chain, so its layers in order are enough to tell its architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.graph import Graph, OperatorInfo

# Where torch has the axes: a convolution's weights are (out, in, height, width) there.
_ORDERS = {
    "CONV_2D": (0, 3, 1, 2),
    "DEPTHWISE_CONV_2D": (3, 0, 1, 2),
    "FULLY_CONNECTED": (0, 1),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with weights: real values, whatever the file's type.

    Attributes
    ----------
    kind : str
        The schema's name of its operator.
    weight, bias : ndarray, float32
        As torch has them.
    n_rows : int
        Of the picture that it gives.
    stride : (int, int)
        Over rows and over columns; ones for a linear layer.
    is_hard_swish : bool
        A hard-swish reads it: the operator, or a sum and a product.
    leaves_sixth : bool
        The sixth of that hard-swish stands in the weights that read it.
    """

    kind: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    n_rows: int
    stride: tuple[int, int]
    is_hard_swish: bool
    leaves_sixth: bool


def layers(graph: Graph) -> list[Layer]:
    """Return the convolutions and linear layers of a graph in order.

    Raises
    ------
    ConversionError
        The weights of one do not stand in the file.
    """
    swished = _hard_swishes(graph)
    return [_layer(op, graph, swished) for op in graph.operators if op.name in _ORDERS]


def _layer(op: OperatorInfo, graph: Graph, swished: dict[int, bool]) -> Layer:
    if len(op.inputs) != 3 or op.inputs[2] < 0:
        raise ConversionError("a layer has no bias, which no student of ours lacks")
    _, weight, bias = (graph.tensors[i] for i in op.inputs)
    return Layer(
        op.name,
        weight.dequantised().transpose(_ORDERS[op.name]),
        bias.dequantised(),
        graph.tensors[op.outputs[0]].shape[1],
        (op.options.get("strideH", 1), op.options.get("strideW", 1)),
        op.outputs[0] in swished,
        swished.get(op.outputs[0]) is False,
    )


def _hard_swishes(graph: Graph) -> dict[int, bool]:
    """Return the tensors that hard-swishes read, and whether their sixth stands beside them.

    One is an operator, or a sum and a product of the same tensor, and a product with a sixth.
    """
    readers: dict[int, list[OperatorInfo]] = {}
    for op in graph.operators:
        for tensor in op.inputs:
            readers.setdefault(tensor, []).append(op)
    found = {op.inputs[0]: True for op in graph.operators if op.name == "HARD_SWISH"}
    for tensor, ops in readers.items():
        if {op.name for op in ops} == {"ADD", "MUL"}:
            (product,) = (op for op in ops if op.name == "MUL")
            found[tensor] = any(graph.tensors[i].is_constant for i in product.inputs)
    return found
