"""Constants that a float graph keeps in fewer bits, and dequantises in each run."""

from __future__ import annotations

from dataclasses import replace

from listen_embed.graph import Graph, OperatorInfo, TensorInfo

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_WEIGHTS = 1  # their place among the inputs of such an operator


def without_dequantised(graph: Graph, *, keeps_weights: bool = True) -> Graph:
    """Return a graph that dequantises no constants.

    The weights of layers stay int8, with a scale for each channel, if they are to be kept; other
    constants become float.
    """
    makers = {op.outputs[0]: op for op in graph.operators if _dequantises(graph, op)}
    kept = {
        made: op.inputs[0]
        for made, op in makers.items()
        if keeps_weights
        and graph.tensors[op.inputs[0]].type == "INT8"
        and _are_weights(graph, made)
    }
    tensors = list(graph.tensors)
    for made in makers.keys() - kept.keys():
        tensors[made] = _in_float(graph.tensors[makers[made].inputs[0]])
    operators = [op for op in graph.operators if op.outputs[0] not in makers]
    return replace(
        graph,
        tensors=tuple(tensors),
        operators=tuple(
            replace(op, inputs=tuple(kept.get(i, i) for i in op.inputs)) for op in operators
        ),
    )


def _dequantises(graph: Graph, op: OperatorInfo) -> bool:
    is_end = op.outputs[0] in graph.outputs
    return op.name == "DEQUANTIZE" and graph.tensors[op.inputs[0]].is_constant and not is_end


def _are_weights(graph: Graph, tensor: int) -> bool:
    readers = [op for op in graph.operators if tensor in op.inputs]
    return all(
        op.name in _WEIGHTED and [i for i, t in enumerate(op.inputs) if t == tensor] == [_WEIGHTS]
        for op in readers
    )


def _in_float(constant: TensorInfo) -> TensorInfo:
    values = constant.dequantised()
    return replace(
        constant, type="FLOAT32", size_bytes=values.nbytes, scales=(), zero_points=(),
        content=values.astype("<f4").tobytes(),
    )  # fmt: skip
