"""An operator and its surroundings, as lowering reads them; and operators that only move values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listen_embed.device.folding import Folded, constant
from listen_embed.device.steps import Argument, Array, Field, Memory, Mode, Step, Struct
from listen_embed.device.values import kind_of
from listen_embed.errors import InputError
from listen_embed.graph import Graph, OperatorInfo, TensorInfo

_BYTES = {"INT8": 1, "FLOAT32": 4}


@dataclass(frozen=True)
class Context:
    """An operator and all that its lowering reads."""

    graph: Graph
    folded: Folded
    mode: Mode

    @property
    def op(self) -> OperatorInfo:
        """The operator itself."""
        return self.folded.operator

    def input(self, i: int) -> TensorInfo:
        """Return the operator's input `i`."""
        return self.graph.tensors[self.op.inputs[i]]

    @property
    def output(self) -> TensorInfo:
        """The operator's only output."""
        return self.graph.tensors[self.op.outputs[0]]

    def has(self, i: int) -> bool:
        """Return whether an optional input is there."""
        return len(self.op.inputs) > i and self.op.inputs[i] >= 0

    def weights(self) -> NDArray[np.int8]:
        """Return the second input's values.

        Raises
        ------
        InputError
            They are no int8 constants around zero.
        """
        info = self.input(1)
        if info.type != "INT8" or not info.is_constant or any(info.zero_points):
            raise InputError(f"{self.output.name}: weights must be int8 constants around zero")
        return info.values()

    def bias(self, n: int) -> NDArray[np.int64]:
        """Return the third input's values, zeros (n,) where it is left out."""
        if not self.has(2):
            return np.zeros(n, np.int64)
        return constant(self.graph, self.op.inputs[2])

    def step(
        self, function: str, *before: Argument, lags: dict[int, int], n_inputs: int = 1
    ) -> Step:
        """Return a step whose tensors are the first inputs and the output."""
        memories = tuple(map(self._argument, self.op.inputs[:n_inputs]))
        taken = tuple(i for i in self.op.inputs[:n_inputs] if not self.graph.tensors[i].is_constant)
        given = self.op.outputs[0]
        arguments = (*before, *memories, Memory(given))
        return Step(self.folded.names, function, arguments, taken, given, lags)

    def _argument(self, tensor: int) -> Argument:
        info = self.graph.tensors[tensor]
        if info.is_constant:
            return Array(kind_of(info), info.values().ravel())
        return Memory(tensor)


def period(context: Context, i: int) -> int:
    """Return after how many values an operand that is broadcast repeats."""
    shape, whole = context.input(i).shape, context.output.shape
    size = math.prod(shape)
    repeats = whole[len(whole) - _rank(shape) :] == shape[len(shape) - _rank(shape) :]
    if not repeats and size != math.prod(whole):
        raise InputError(
            f"{context.output.name}: {shape} within {whole}; only leading axes repeat in C"
        )
    return size


def _rank(shape: tuple[int, ...]) -> int:
    while shape and shape[0] == 1:
        shape = shape[1:]
    return len(shape)


def item(tensor: TensorInfo) -> int:
    """Return the bytes of one value."""
    return _BYTES[tensor.type]


def product_sizes(context: Context) -> dict[str, Field]:
    """Return the sizes of a product of matrices, those of leading axes one after the other."""
    a, b = context.input(0).shape, context.input(1).shape
    if context.op.options.get("adjX") or context.op.options.get("adjY"):
        raise InputError(f"{context.output.name}: C multiplies matrices as they are")
    if math.prod(a[:-2]) != math.prod(b[:-2]):
        raise InputError(f"{context.output.name}: C repeats no matrix, of {a} and {b}")
    return {"batches": math.prod(a[:-2]), "rows": a[-2], "n": a[-1], "columns": b[-1]}


def transpose(context: Context) -> list[Step]:
    """Lower TRANSPOSE."""
    taken = context.input(0)
    shape, order = taken.shape, constant(context.graph, context.op.inputs[1]).ravel().tolist()
    strides = [math.prod(shape[axis + 1 :]) * item(taken) for axis in range(len(shape))]
    missing = 4 - len(shape)
    fields: dict[str, Field] = {
        "item": item(taken),
        "sizes": (1,) * missing + tuple(shape[axis] for axis in order),
        "strides": (0,) * missing + tuple(strides[axis] for axis in order),
    }
    return [context.step("listen_transpose_run", Struct("listen_transpose", fields), lags={})]


def cut(context: Context) -> list[Step]:
    """Lower SLICE along one axis."""
    taken, shape = context.input(0), context.input(0).shape
    begin = constant(context.graph, context.op.inputs[1]).ravel().tolist()
    given = context.output.shape
    axes = [axis for axis in range(len(shape)) if given[axis] != shape[axis]]
    if len(axes) > 1:
        raise InputError(f"{context.output.name}: a slice along {len(axes)} axes; C takes one")
    axis = axes[0] if axes else 0
    inner = math.prod(shape[axis + 1 :]) * item(taken)
    n, size = math.prod(shape[:axis]), given[axis] * inner
    source = Memory(context.op.inputs[0], begin[axis] * inner)
    return [_copy(context, 0, (n, size, shape[axis] * inner, size), source, 0)]


def join(context: Context) -> list[Step]:
    """Lower CONCATENATION of tensors of one quantisation: a copy for each."""
    axis = context.op.options["axis"] % len(context.output.shape)
    after = math.prod(context.output.shape[axis + 1 :]) * item(context.output)
    whole, steps, offset = context.output.shape[axis] * after, [], 0
    for i, tensor in enumerate(context.op.inputs):
        taken = context.input(i)
        if taken.is_constant or _steps(taken) != _steps(context.output):
            raise InputError(f"{context.output.name}: joins tensors of different scales")
        size = taken.shape[axis] * after
        n = math.prod(taken.shape[:axis])
        steps.append(_copy(context, i, (n, size, size, whole), Memory(tensor), offset))
        offset += size
    return steps


def _steps(tensor: TensorInfo) -> tuple[object, object]:
    return tensor.scales, tensor.zero_points


def _copy(
    context: Context, i: int, counts: tuple[int, int, int, int], source: Memory, offset: int
) -> Step:
    given = context.op.outputs[0]
    arguments = (*counts, source, Memory(given, offset))
    names = context.folded.names
    return Step(names, "listen_copy_run", arguments, (context.op.inputs[i],), given, {})
