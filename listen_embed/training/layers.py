"""The layers with weights of a student's .tflite, in the order of execution, as torch has them.

The graph of a student is a chain, so its layers in order are enough to tell its architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    stride : int
        1 for a linear layer.
    is_hard_swish : bool
        The operator HARD_SWISH reads it.
    """

    kind: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    n_rows: int
    stride: int
    is_hard_swish: bool


def layers(graph: Graph) -> list[Layer]:
    """Return the convolutions and linear layers of a graph in order.

    Raises
    ------
    ConversionError
        The weights of one do not stand in the file.
    """
    swished = {op.inputs[0] for op in graph.operators if op.name == "HARD_SWISH"}
    return [_layer(op, graph, swished) for op in graph.operators if op.name in _ORDERS]


def _layer(op: OperatorInfo, graph: Graph, swished: set[int]) -> Layer:
    _, weight, bias = (graph.tensors[i] for i in op.inputs[:3])
    return Layer(
        op.name,
        weight.dequantised().transpose(_ORDERS[op.name]),
        bias.dequantised(),
        graph.tensors[op.outputs[0]].shape[1],
        op.options.get("strideH", 1),
        op.outputs[0] in swished,
    )
