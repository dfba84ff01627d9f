"""Operators on float tensors, with int8 or float weights -> calls of listen_kernels32.h."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.device.context import Context, cut, join, period, product_sizes, transpose
from listen_embed.device.folding import constant
from listen_embed.device.lowering8 import Window, window_of, with_scratch
from listen_embed.device.rescale import real_limits
from listen_embed.device.steps import Array, Field, Step, Struct, int8
from listen_embed.errors import InputError

Weights = NDArray[Any]  # int8 or float32

_ITEM = 4
_ROWS_AT_ONCE = 4  # of listen_kernels32.c


# -- sums of products ----------------------------------------------------------------------------


def _conv(context: Context) -> list[Step]:
    weights = _weights(context, axis=0)  # (out, height, width, in)
    window = _window(context, weights)
    if window.is_pointwise:
        height, width, _ = window.taken
        return _dense(context, weights.reshape(len(weights), -1), height * width)
    return _patches(context, weights, window)


def _window(context: Context, weights: Weights) -> Window:
    taken = context.input(0).shape
    if taken[0] != 1:
        raise InputError(f"{context.output.name}: {taken} is not one image; C of floats takes one")
    return window_of(context, weights.shape[1:3])


def _patches(context: Context, weights: Weights, window: Window) -> list[Step]:
    """Return a convolution as products with patches of the image, gathered in scratch memory."""
    depth = math.prod(weights.shape[1:])
    fields = window.fields() | _sums(context, weights, axis=0)
    struct = Struct("listen_conv32", fields)
    lags = {context.op.inputs[0]: _ITEM * window.lag}
    step = context.step("listen_conv32_run", struct, lags=lags)
    return with_scratch(step, _ITEM * _ROWS_AT_ONCE * depth)


def _depthwise(context: Context) -> list[Step]:
    weights = _weights(context, axis=3)  # (1, height, width, channels)
    window = _window(context, weights)
    if window.taken[2] == 1:
        return _patches(context, weights.transpose(3, 1, 2, 0), window)
    if context.op.options["depthMultiplier"] != 1:
        raise InputError(f"{context.output.name}: a depth multiplier above 1 needs one channel")
    fields = window.fields() | _sums(context, weights, axis=3)
    struct = Struct("listen_conv32", fields)
    lags = {context.op.inputs[0]: _ITEM * window.lag}
    return [context.step("listen_depthwise32_run", struct, lags=lags)]


def _fully_connected(context: Context) -> list[Step]:
    weights = _weights(context, axis=0)  # (out, in)
    return _dense(context, weights, math.prod(context.input(0).shape) // weights.shape[1])


def _dense(context: Context, weights: Weights, rows: int) -> list[Step]:
    """Return products of rows with one matrix; weights (out, in)."""
    n_out, n_in = weights.shape
    begins = range(0, rows, _ROWS_AT_ONCE)
    lag = max(min(rows, row + _ROWS_AT_ONCE) * n_out - row * n_in for row in begins)
    fields: dict[str, Field] = {"rows": rows, "n_in": n_in, "n_out": n_out}
    struct = Struct("listen_dense32", fields | _sums(context, weights, axis=0))
    return [context.step("listen_dense32_run", struct, lags={context.op.inputs[0]: _ITEM * lag})]


def _matmul(context: Context) -> list[Step]:
    struct = Struct("listen_matmul32", product_sizes(context))
    return [context.step("listen_matmul32_run", struct, lags={}, n_inputs=2)]


def _weights(context: Context, axis: int) -> Weights:
    """Return a layer's weights; those of int8 have one scale, or one for each output channel."""
    info = context.input(1)
    if not info.is_constant or info.type not in ("INT8", "FLOAT32"):
        raise InputError(f"{context.output.name}: weights must be int8 or float32 constants")
    n = info.shape[axis]
    is_each = len(info.scales) == n and (info.axis == axis or n == 1)
    if info.type == "INT8" and (any(info.zero_points) or not (is_each or len(info.scales) == 1)):
        raise InputError(
            f"{context.output.name}: int8 weights lie around zero, with one scale for each channel"
        )
    return info.values()


def _sums(context: Context, weights: Weights, axis: int) -> dict[str, Field]:
    """Return weights, bias and limits of a layer, whose channels lie along an axis."""
    info, n = context.input(1), weights.shape[axis]
    low, high = _limits(context)
    fields: dict[str, Field] = {"sums.low": low, "sums.high": high, "sums.bias": _bias(context, n)}
    if info.type == "INT8":
        scales = np.broadcast_to(np.array(info.scales), (n,))
        return fields | {"sums.whole": int8(weights), "sums.scales": _floats(scales)}
    return fields | {"sums.singles": _floats(weights), "sums.scales": _floats(np.ones(n))}


def _bias(context: Context, n: int) -> Array:
    if not context.has(2):
        return _floats(np.zeros(n))
    info = context.input(2)
    if not info.is_constant or info.type != "FLOAT32":
        raise InputError(f"{context.output.name}: a bias must be float32 constants")
    return _floats(info.values())


def _limits(context: Context) -> tuple[float, float]:
    return real_limits(context.output, context.op.options.get("fusedActivationFunction", 0))


def _floats(values: NDArray[Any]) -> Array:
    return Array("float", np.ascontiguousarray(values, np.float32).ravel())


# -- value by value ------------------------------------------------------------------------------


def _pairwise(function: str) -> Callable[[Context], list[Step]]:
    """Return the lowering of an operator on two tensors, of which one may repeat."""

    def lowered(context: Context) -> list[Step]:
        size, tensors = math.prod(context.output.shape), context.graph.tensors
        low, high = _limits(context)
        fields: dict[str, Field] = {
            "n": size,
            "period_a": period(context, 0),
            "period_b": period(context, 1),
            "low": low,
            "high": high,
        }
        struct = Struct("listen_pairwise32", fields)
        lags = {i: 0 for i in context.op.inputs[:2] if math.prod(tensors[i].shape) == size}
        return [context.step(function, struct, lags=lags, n_inputs=2)]

    return lowered


def _each(function: str) -> Callable[[Context], list[Step]]:
    """Return the lowering of a function of one value."""

    def lowered(context: Context) -> list[Step]:
        n = math.prod(context.output.shape)
        return [context.step(function, n, lags={context.op.inputs[0]: 0})]

    return lowered


def _softmax(context: Context) -> list[Step]:
    shape = context.input(0).shape
    fields: dict[str, Field] = {
        "rows": math.prod(shape[:-1]),
        "n": shape[-1],
        "beta": float(context.op.options["beta"]),
    }
    struct = Struct("listen_softmax32", fields)
    return [context.step("listen_softmax32_run", struct, lags={context.op.inputs[0]: 0})]


# -- reductions and padding ----------------------------------------------------------------------


def _mean(context: Context) -> list[Step]:
    taken, axes = context.input(0), context.folded.axes
    if any(b - a != 1 for a, b in pairwise(axes)):
        raise InputError(f"{context.output.name}: the mean over axes {axes}; C takes neighbours")
    fields: dict[str, Field] = {
        "outer": math.prod(taken.shape[: axes[0]]),
        "n": math.prod(taken.shape[axes[0] : axes[-1] + 1]),
        "inner": math.prod(taken.shape[axes[-1] + 1 :]),
    }
    return [context.step("listen_mean32_run", Struct("listen_mean32", fields), lags={})]


def _pad(context: Context) -> list[Step]:
    """Lower PAD with zeros, which are zero bytes too."""
    taken, widths = context.input(0), constant(context.graph, context.op.inputs[1])
    missing = 3 - len(taken.shape)
    if missing < 0 and (taken.shape[0] != 1 or widths[0].any()):
        raise InputError(f"{context.output.name}: C pads one image of {taken.shape}")
    around = [(size, *width) for size, width in zip(taken.shape, widths.tolist(), strict=True)]
    sizes, before, after = zip(*[(1, 0, 0)] * missing, *around[-3:], (_ITEM, 0, 0), strict=True)
    fields: dict[str, Field] = {"sizes": sizes, "before": before, "after": after, "value": 0}
    return [context.step("listen_pad_run", Struct("listen_pad", fields), lags={})]


LOWERINGS: dict[str, Callable[[Context], list[Step]]] = {
    "ADD": _pairwise("listen_add32_run"),
    "BATCH_MATMUL": _matmul,
    "CONCATENATION": join,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DIV": _pairwise("listen_div32_run"),
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _each("listen_hard_swish32_run"),
    "LOGISTIC": _each("listen_logistic32_run"),
    "MEAN": _mean,
    "MUL": _pairwise("listen_mul32_run"),
    "PAD": _pad,
    "RELU": _each("listen_relu32_run"),
    "SLICE": cut,
    "SOFTMAX": _softmax,
    "SUB": _pairwise("listen_sub32_run"),
    "TRANSPOSE": transpose,
}
