"""The graph of a .tflite -> calls of the kernels in listen_kernels.h."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from listen_embed.device import rescale
from listen_embed.device.folding import Folded, constant, fold
from listen_embed.device.steps import (
    Argument,
    Factors,
    Field,
    Memory,
    Mode,
    Plan,
    Scratch,
    Step,
    Struct,
    int8,
    int32,
)
from listen_embed.device.tables import table_of
from listen_embed.errors import InputError
from listen_embed.graph import Graph, OperatorInfo, TensorInfo

_LARGEST_VALUE = 128
# Longest side of an image, and most channels, that the kernels' 16-bit fields hold.
_LARGEST_SIZE = (1 << 15) - 1


def lower(graph: Graph, mode: Mode = "xnn") -> Plan:
    """Return a graph as steps.

    Parameters
    ----------
    graph : Graph
        Of int8 tensors, with one input and one output.
    mode : {"xnn", "reference"}
        Whose rounding the network keeps; tables are filled by its kernels.

    Raises
    ------
    InputError
        An operator, or a form of one, that there is no kernel for; every missing one is named.
    """
    _check_types(graph)
    folded = fold(graph)
    _check_operators(folded)
    same = _aliases(graph, folded)
    steps = []
    for one in folded:
        if one.operator.name not in _ALIASING:
            made = _table if one.chain else _LOWERINGS[one.operator.name]
            steps.append(_renamed(made(_Context(graph, one, mode)), same))
    n_bytes = {
        i: graph.tensors[i].size_bytes for step in steps for i in (*step.inputs, step.output)
    }
    (taken,), (given,) = graph.inputs, graph.outputs
    return Plan(tuple(steps), n_bytes, same.get(taken, taken), same.get(given, given))


@dataclass(frozen=True)
class _Context:
    """An operator and all that its lowering reads."""

    graph: Graph
    folded: Folded
    mode: Mode

    @property
    def op(self) -> OperatorInfo:
        return self.folded.operator

    def input(self, i: int) -> TensorInfo:
        return self.graph.tensors[self.op.inputs[i]]

    @property
    def output(self) -> TensorInfo:
        return self.graph.tensors[self.op.outputs[0]]

    def has(self, i: int) -> bool:
        return len(self.op.inputs) > i and self.op.inputs[i] >= 0

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
            return int8(np.frombuffer(info.content, np.int8))
        return Memory(tensor)


# -- what is allowed ---------------------------------------------------------------------------


def _check_types(graph: Graph) -> None:
    for what, ends in (("input", graph.inputs), ("output", graph.outputs)):
        if len(ends) != 1:
            raise InputError(f"a network of ours has one {what}, this one has {len(ends)}")
    used = {i for op in graph.operators for i in op.outputs} | set(graph.inputs)
    kinds = sorted({graph.tensors[i].type.lower() for i in used})
    if kinds != ["int8"]:
        raise InputError(
            f"the network computes in {', '.join(kinds)}; C is made of networks that are int8 "
            "throughout: quantise it first (listen-embed specialize does)"
        )


def _check_operators(folded: list[Folded]) -> None:
    names = {one.operator.name for one in folded}
    if missing := sorted(names - _LOWERINGS.keys() - _ALIASING):
        known = sorted(_LOWERINGS.keys() | _ALIASING)
        raise InputError(
            f"the network has {', '.join(missing)}, which there is no C for; "
            f"there is C for {', '.join(known)}"
        )


# -- tensors that share their memory -----------------------------------------------------------

# Operators that change nothing but the shape.
_ALIASING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})


def _aliases(graph: Graph, folded: list[Folded]) -> dict[int, int]:
    same: dict[int, int] = {}
    for one in folded:
        if one.operator.name in _ALIASING:
            taken, given = one.operator.inputs[0], one.operator.outputs[0]
            same[given] = same.get(taken, taken)
    return same


def _renamed(step: Step, same: dict[int, int]) -> Step:
    def named(argument: Argument) -> Argument:
        if isinstance(argument, Memory):
            return Memory(same.get(argument.tensor, argument.tensor))
        return argument

    return replace(
        step,
        arguments=tuple(map(named, step.arguments)),
        inputs=tuple(same.get(i, i) for i in step.inputs),
        output=same.get(step.output, step.output),
        lags={same.get(i, i): lag for i, lag in step.lags.items()},
    )


# -- convolutions ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Window:
    """Where a convolution's kernel lies."""

    taken: tuple[int, int, int]
    given: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)

    def fields(self) -> dict[str, Field]:
        """Return the fields of listen_conv that tell of it."""
        names = {
            "in": (self.taken, ("height", "width", "channels")),
            "out": (self.given, ("height", "width", "channels")),
            "kernel": (self.kernel, ("height", "width")),
            "stride": (self.stride, ("y", "x")),
            "dilation": (self.dilation, ("y", "x")),
            "pad": (self.pad, ("top", "left")),
        }
        return {
            f"{what}_{axis}": size
            for what, (sizes, axes) in names.items()
            for axis, size in zip(axes, sizes, strict=True)
        }

    @property
    def lag(self) -> int:
        """Bytes that the input must begin after the output, if the output may run into it.

        While row ``y`` is written, rows before the first that it reads are read no more.
        """
        row_in, row_out = math.prod(self.taken[1:]), math.prod(self.given[1:])
        first = (max(0, y * self.stride[0] - self.pad[0]) for y in range(self.given[0]))
        return max((y + 1) * row_out - begin * row_in for y, begin in enumerate(first))


def _conv(context: _Context) -> Step:
    weights = _weights(context)  # (out, height, width, in)
    return _dense(context, weights, _window(context, weights.shape[1:3]))


def _depthwise(context: _Context) -> Step:
    weights = _weights(context)  # (1, height, width, channels)
    window = _window(context, weights.shape[1:3])
    if window.taken[2] == 1:
        return _dense(context, weights.transpose(3, 1, 2, 0), window)
    if context.op.options["depthMultiplier"] != 1:
        raise InputError(f"{context.output.name}: a depth multiplier above 1 needs one channel")
    per_channel = weights[0].reshape(-1, weights.shape[3]).T  # (channels, taps)
    fields = window.fields() | {"depth": 0} | _sums(context, per_channel)
    fields |= {"weights": int8(_paired(per_channel))}
    step = context.step(
        "listen_depthwise_run",
        Struct("listen_depthwise", fields),
        lags={context.op.inputs[0]: window.lag},
    )
    return _with_scratch(step, -4 * (-window.taken[2] // 4))


def _paired(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return weights (channels, taps) in the order that listen_kernels.h tells of."""
    channels, taps = weights.shape
    padded = np.pad(weights, ((0, -channels % 4), (0, -taps % 2)))
    groups = padded.reshape(len(padded) // 4, 2, 2, -1, 2)  # group, half, channel, pair, tap
    return groups.transpose(0, 3, 1, 4, 2)


def _fully_connected(context: _Context) -> Step:
    weights = _weights(context)  # (out, in)
    n_out, n_in = weights.shape
    rows = math.prod(context.input(0).shape) // n_in
    window = _Window((rows, 1, n_in), (rows, 1, n_out), (1, 1))
    return _dense(context, weights.reshape(n_out, 1, 1, n_in), window)


def _dense(context: _Context, weights: NDArray[np.int8], window: _Window) -> Step:
    per_channel = weights.reshape(len(weights), -1)
    depth = -4 * (-per_channel.shape[1] // 4)
    fields = window.fields() | {"depth": depth} | _sums(context, per_channel)
    fields |= {"weights": int8(_interleaved(per_channel))}
    step = context.step(
        "listen_conv_run",
        Struct("listen_conv", fields),
        lags={context.op.inputs[0]: window.lag},
    )
    return _with_scratch(step, 5 * depth)


def _interleaved(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return weights (channels, values) in the order that listen_kernels.h tells of."""
    channels, n = weights.shape
    padded = np.pad(weights, ((0, channels % 2), (0, -n % 4)))
    return padded.reshape(len(padded) // 2, 2, -1, 4).transpose(0, 2, 1, 3)


def _with_scratch(step: Step, n_bytes: int) -> Step:
    return replace(step, arguments=(*step.arguments, Scratch(n_bytes)))


def _weights(context: _Context) -> NDArray[np.int8]:
    info = context.input(1)
    if info.type != "INT8" or not info.is_constant or any(info.zero_points):
        raise InputError(f"{context.output.name}: weights must be int8 constants around zero")
    return np.frombuffer(info.content, np.int8).reshape(info.shape)


def _window(context: _Context, kernel: tuple[int, ...]) -> _Window:
    taken, given = context.input(0).shape, context.output.shape
    options, padding = context.op.options, context.folded.padding or (0, 0, 0, 0)
    if len(taken) != 4 or taken[0] != 1 or max(*taken, *given) > _LARGEST_SIZE:
        raise InputError(f"{context.output.name}: {taken} is not one image that fits the kernels")
    return _Window(
        (taken[1], taken[2], taken[3]),
        (given[1], given[2], given[3]),
        (kernel[0], kernel[1]),
        (options["strideH"], options["strideW"]),
        (options["dilationHFactor"], options["dilationWFactor"]),
        padding[:2],
    )


def _sums(context: _Context, weights: NDArray[np.int8]) -> dict[str, Field]:
    """Return bias, factors and limits of weights (channels, values)."""
    taken, info, given = context.input(0), context.input(1), context.output
    zero = taken.zero_points[0]
    bias = np.zeros(len(weights), np.int64)
    if context.has(2):
        bias = np.frombuffer(context.input(2).content, "<i4").astype(np.int64)
    factors = rescale.product_factors(taken, info, given, len(weights))
    largest = np.abs(bias) + np.abs(weights.astype(np.int64)).sum(1) * 2 * _LARGEST_VALUE
    rescale.check_products(largest.tolist(), factors, given.name)
    return {
        "in_zero": zero,
        "bias": int32(bias - zero * weights.astype(np.int64).sum(1)),
        "factors": factors,
        "range": _range(context),
    }


def _range(context: _Context) -> dict[str, Field]:
    given = context.output
    low, high = rescale.limits(given, context.op.options.get("fusedActivationFunction", 0))
    return {"zero": given.zero_points[0], "low": low, "high": high}


# -- value by value ----------------------------------------------------------------------------


def _add(context: _Context) -> Step:
    a, b, given = context.input(0), context.input(1), context.output
    fields = _operands(context)
    if context.mode == "reference":
        names = ("factor_a", "factor_b", "factor_out")
        found = rescale.reference_sum_factors(a, b, given)
        fields |= dict(zip(names, found, strict=True))
    else:
        whole = rescale.sum_factors(a, b, given)
        fields |= {"factor_a": whole.a, "factor_b": whole.b, "shift": whole.shift}
    return _pairwise(context, "listen_add", fields)


def _mul(context: _Context) -> Step:
    factor = rescale.mul_factor(context.input(0), context.input(1), context.output)
    largest = (2.0 * _LARGEST_VALUE) ** 2
    rescale.check_products([largest], Factors((factor,)), context.output.name)
    return _pairwise(context, "listen_mul", _operands(context) | {"factor": factor})


def _operands(context: _Context) -> dict[str, Field]:
    a, b = context.input(0), context.input(1)
    return {
        "n": math.prod(context.output.shape),
        "period_a": _period(context, 0),
        "period_b": _period(context, 1),
        "zero_a": a.zero_points[0],
        "zero_b": b.zero_points[0],
        "range": _range(context),
    }


def _period(context: _Context, i: int) -> int:
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


def _pairwise(context: _Context, kind: str, fields: dict[str, Field]) -> Step:
    size = math.prod(context.output.shape)
    lags = {
        i: 0 for i in context.op.inputs[:2] if math.prod(context.graph.tensors[i].shape) == size
    }
    return context.step(f"{kind}_run", Struct(kind, fields), lags=lags, n_inputs=2)


def _table(context: _Context) -> Step:
    table = table_of(context.folded.chain or (context.op,), context.graph, context.mode)
    n = math.prod(context.output.shape)
    return context.step("listen_table_run", int8(table), n, lags={context.op.inputs[0]: 0})


# -- reductions and moves ----------------------------------------------------------------------


def _mean(context: _Context) -> Step:
    taken, axes = context.input(0), context.folded.axes
    if any(b - a != 1 for a, b in pairwise(axes)):
        raise InputError(f"{context.output.name}: the mean over axes {axes}; C takes neighbours")
    outer, n, inner = (
        math.prod(taken.shape[begin:end])
        for begin, end in ((0, axes[0]), (axes[0], axes[-1] + 1), (axes[-1] + 1, None))
    )
    fields: dict[str, Field] = {
        "outer": outer,
        "n": n,
        "inner": inner,
        "bias": -n * taken.zero_points[0],
        "factor": rescale.mean_factor(taken, context.output, n),
        "range": _range(context),
    }
    return context.step("listen_mean_run", Struct("listen_mean", fields), lags={})


def _transpose(context: _Context) -> Step:
    shape, order = context.input(0).shape, constant(context.graph, context.op.inputs[1]).ravel()
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    missing = 4 - len(shape)
    fields: dict[str, Field] = {
        "sizes": (1,) * missing + tuple(shape[axis] for axis in order),
        "strides": (0,) * missing + tuple(strides[axis] for axis in order),
    }
    return context.step("listen_transpose_run", Struct("listen_transpose", fields), lags={})


def _pad(context: _Context) -> Step:
    taken = context.input(0)
    widths = constant(context.graph, context.op.inputs[1])
    missing = 4 - len(taken.shape)
    fields: dict[str, Field] = {
        "sizes": (1,) * missing + taken.shape,
        "before": (0,) * missing + tuple(widths[:, 0].tolist()),
        "after": (0,) * missing + tuple(widths[:, 1].tolist()),
        "value": taken.zero_points[0],
    }
    return context.step("listen_pad_run", Struct("listen_pad", fields), lags={})


_LOWERINGS: dict[str, Callable[[_Context], Step]] = {
    "ADD": _add,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _table,
    "LOGISTIC": _table,
    "MEAN": _mean,
    "MUL": _mul,
    "PAD": _pad,
    "RELU": _table,
    "RELU6": _table,
    "TANH": _table,
    "TRANSPOSE": _transpose,
}
