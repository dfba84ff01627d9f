"""A graph with fewer operators: paddings inside convolutions, means that need no transposition.

And functions of one int8 value, however many operators they take, as one: `Chains` finds them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from listen_embed.graph import Graph, OperatorInfo, TensorInfo

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_FUNCTIONS = ("ADD", "MUL", "HARD_SWISH", "LOGISTIC", "RELU", "RELU6", "TANH")
VALID = 1  # the schema's number of this padding


@dataclass(frozen=True)
class Folded:
    """An operator with what was folded into it.

    Attributes
    ----------
    operator : OperatorInfo
    padding : tuple of int
        Rows above, columns to the left, rows below, columns to the right.
    axes : tuple of int
        Of a mean; empty for all else.
    chain : tuple of OperatorInfo
        The operators of a function of one value, which becomes a table; empty for all else.
    names : str
        Of all operators that it stands for.
    """

    operator: OperatorInfo
    padding: tuple[int, int, int, int] | None = None
    axes: tuple[int, ...] = ()
    chain: tuple[OperatorInfo, ...] = ()
    names: str = ""


def constant(graph: Graph, tensor: int) -> NDArray[np.int64]:
    """Return the values of an integer constant in its shape."""
    return graph.tensors[tensor].values().astype(np.int64)


def fold(graph: Graph) -> list[Folded]:
    """Return the operators of a graph, some folded into their only readers."""
    makers = {output: op for op in graph.operators for output in op.outputs}
    chains = Chains(graph)
    folded = {id(op) for op in graph.operators if _is_foldable(graph, op)}
    kept = [op for op in graph.operators if id(op) not in folded and not chains.is_inner(op)]
    return [chains.taking(op) or _taking(graph, op, makers, folded) for op in kept]


class Chains:
    """Operators of a graph that together are functions of one int8 tensor, value by value.

    Such is ``x * relu6(x + 3) / 6``: a sum and two products, of one `x` and of constants.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        # For each tensor that is a function: of what, and by which operators.
        self._made: dict[int, tuple[int, tuple[OperatorInfo, ...]]] = {}
        for op in graph.operators:
            self._follow(op)

    def is_inner(self, op: OperatorInfo) -> bool:
        """Whether only functions of the same tensor read what an operator gives."""
        given = op.outputs[0]
        readers = list(_readers(self._graph, given))
        if given not in self._made or given in self._graph.outputs or not readers:
            return False
        return all(op in self._made.get(r.outputs[0], (0, ()))[1] for r in readers)

    def taking(self, op: OperatorInfo) -> Folded | None:
        """Return an operator as the last one of its function, if it is one."""
        if op.outputs[0] not in self._made:
            return None
        taken, chain = self._made[op.outputs[0]]
        names = " + ".join(one.name for one in chain)
        return Folded(replace(op, inputs=(taken,)), chain=chain, names=names)

    def _follow(self, op: OperatorInfo) -> None:
        if op.name not in _FUNCTIONS or self._graph.tensors[op.outputs[0]].type != "INT8":
            return
        computed = [i for i in dict.fromkeys(op.inputs) if not self._graph.tensors[i].is_constant]
        constants = [self._graph.tensors[i] for i in op.inputs if i not in computed]
        if any(math.prod(tensor.shape) != 1 for tensor in constants):
            return
        sources = {self._made.get(i, (i, ()))[0] for i in computed}
        if len(sources) == 1:
            inner = [one for i in computed for one in self._made.get(i, (i, ()))[1]]
            chain = [one for one in self._graph.operators if one in inner]
            self._made[op.outputs[0]] = (sources.pop(), (*chain, op))


def _readers(graph: Graph, tensor: int) -> Iterator[OperatorInfo]:
    return (op for op in graph.operators if tensor in op.inputs)


def _is_foldable(graph: Graph, op: OperatorInfo) -> bool:
    readers = list(_readers(graph, op.outputs[0]))
    if op.outputs[0] in graph.outputs or not readers:
        return False
    if op.name == "PAD":
        return _pads_an_image(graph, op) and all(_can_pad(reader) for reader in readers)
    return op.name == "TRANSPOSE" and all(_can_transpose(graph, op, r) for r in readers)


def _can_transpose(graph: Graph, op: OperatorInfo, reader: OperatorInfo) -> bool:
    """Whether a mean gives the same without a transposition, over other axes."""
    if reader.name != "MEAN" or reader.options.get("keepDims"):
        return False
    order = constant(graph, op.inputs[1]).ravel().tolist()
    axes = _own_axes(graph, reader)
    rest = [place for i, place in enumerate(order) if i not in axes]
    return rest == sorted(rest)


def _pads_an_image(graph: Graph, op: OperatorInfo) -> bool:
    taken, given = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    widths = constant(graph, op.inputs[1])
    has_same_steps = (taken.scales, taken.zero_points) == (given.scales, given.zero_points)
    return widths.shape == (4, 2) and not widths[[0, 3]].any() and has_same_steps


def _can_pad(reader: OperatorInfo) -> bool:
    return reader.name in _CONVOLUTIONS and reader.options["padding"] == VALID


def _taking(
    graph: Graph, op: OperatorInfo, makers: dict[int, OperatorInfo], folded: set[int]
) -> Folded:
    """Return an operator with the one before it, where that is folded."""
    found = (makers[i] for i in op.inputs if i in makers and id(makers[i]) in folded)
    before = next(found, None)
    if before is None:
        return _with_window(graph, op, op, None)
    return _with_window(graph, replace(op, inputs=(before.inputs[0], *op.inputs[1:])), op, before)


def _with_window(
    graph: Graph, joined: OperatorInfo, op: OperatorInfo, before: OperatorInfo | None
) -> Folded:
    names = f"{before.name} + {op.name}" if before else op.name
    if op.name == "MEAN":
        return Folded(joined, axes=_axes(graph, op, before), names=names)
    if op.name in _CONVOLUTIONS:
        widths = constant(graph, before.inputs[1]) if before else None
        return Folded(joined, padding=_padding(graph, op, widths), names=names)
    return Folded(joined, names=names)


def _axes(graph: Graph, op: OperatorInfo, transposition: OperatorInfo | None) -> tuple[int, ...]:
    axes = _own_axes(graph, op)
    if transposition is not None:
        order = constant(graph, transposition.inputs[1]).ravel().tolist()
        axes = [order[axis] for axis in axes]
    return tuple(sorted(axes))


def _own_axes(graph: Graph, op: OperatorInfo) -> list[int]:
    rank = len(graph.tensors[op.inputs[0]].shape)
    return [axis % rank for axis in constant(graph, op.inputs[1]).ravel().tolist()]


def _padding(
    graph: Graph, op: OperatorInfo, widths: NDArray[np.int64] | None
) -> tuple[int, int, int, int]:
    if widths is not None:
        return (int(widths[1, 0]), int(widths[2, 0]), int(widths[1, 1]), int(widths[2, 1]))
    if op.options["padding"] == VALID:
        return (0, 0, 0, 0)
    taken, weights, given = (graph.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    top, bottom = _same(taken, weights, given, 1, op.options["strideH"], _dilation(op, "H"))
    left, right = _same(taken, weights, given, 2, op.options["strideW"], _dilation(op, "W"))
    return (top, left, bottom, right)


def _dilation(op: OperatorInfo, axis: str) -> int:
    return int(op.options[f"dilation{axis}Factor"])


def _same(
    taken: TensorInfo, weights: TensorInfo, given: TensorInfo, axis: int, stride: int, dilation: int
) -> tuple[int, int]:
    reach = (weights.shape[axis] - 1) * dilation + 1
    return same_padding(taken.shape[axis], given.shape[axis], reach, stride)


def same_padding(n_in: int, n_out: int, reach: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after that TensorFlow's SAME means."""
    total = max(0, (n_out - 1) * stride + reach - n_in)
    return total // 2, total - total // 2
