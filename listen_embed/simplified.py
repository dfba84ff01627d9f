"""A graph with less in it: no constants that each run dequantises, no state among its ends."""

from __future__ import annotations

from dataclasses import replace

from listen_embed.errors import ConversionError
from listen_embed.graph import Graph, OperatorInfo, TensorInfo
from listen_embed.runtime import StateNames

Pairs = tuple[tuple[int, int], ...]

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


def without_state(graph: Graph, names: StateNames) -> tuple[Graph, Pairs]:
    """Return a graph whose ends are those beside its state, and the state's tensors.

    Each pair is an input and the output that is its value in the next step.

    Raises
    ------
    ConversionError
        The graph has no such tensors, or they are not of one kind.
    """
    pairs = tuple(_pair(graph, before, after) for before, after in names)
    carried = {tensor for pair in pairs for tensor in pair}
    rest = replace(
        graph,
        inputs=tuple(i for i in graph.inputs if i not in carried),
        outputs=tuple(i for i in graph.outputs if i not in carried),
    )
    return rest, pairs


def _pair(graph: Graph, before: str, after: str) -> tuple[int, int]:
    taken = {graph.tensors[i].name: i for i in graph.inputs}
    given = {graph.tensors[i].name: i for i in graph.outputs}
    if before not in taken or after not in given:
        raise ConversionError(f"this .tflite has no input {before!r} with an output {after!r}")
    a, b = graph.tensors[taken[before]], graph.tensors[given[after]]
    if (a.type, a.shape, a.scales, a.zero_points) != (b.type, b.shape, b.scales, b.zero_points):
        raise ConversionError(f"the state {before!r} is not of the kind of {after!r}")
    return taken[before], given[after]
