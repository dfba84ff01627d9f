"""Operators on int16 tensors with int8 weights -> calls of the kernels in listen_kernels16.h."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.device import rescale
from listen_embed.device.context import Context, cut, join, period, transpose
from listen_embed.device.steps import Array, Exact, Field, Step, Struct, int8
from listen_embed.errors import InputError
from listen_embed.graph import TensorInfo

Floats = NDArray[Any]  # float32 or float64

_LARGEST_SUM = (1 << 31) - 1
_SUM_SHIFT = 15
# Of the softmax: exponents from -10 to 0 are spread over all of int16.
_LOWEST_EXPONENT, _SPREAD = -10.0, 65535.0
_N_INTERVALS = 512
# Of listen_kernels16.h.
_TWICE_AWAY, _TWICE_UP, _ONCE, _SHORT = range(4)


def _fully_connected(context: Context) -> list[Step]:
    info, given, weights = context.input(1), context.output, context.weights()
    n_out, n_in = weights.shape
    if np.abs(weights.astype(np.int64)).sum(1).max() << 15 > _LARGEST_SUM:
        raise InputError(f"{given.name}: sums of {n_in} products may not fit 32 bits")
    rows = math.prod(context.input(0).shape) // n_in
    fields: dict[str, Field] = {
        "rows": rows,
        "n_in": n_in,
        "n_out": n_out,
        "rounding": _dense_rounding(context),
        "weights": int8(weights),
        "bias": Array("int64_t", context.bias(n_out)),
        "factors": Exact(rescale.product_factors(context.input(0), info, given, n_out)),
        "range": _range(context),
    }
    lag = max((row + 1) * n_out - row * n_in for row in range(rows)) * 2
    struct = Struct("listen_dense16", fields)
    return [context.step("listen_dense16_run", struct, lags={context.op.inputs[0]: lag})]


def _dense_rounding(context: Context) -> int:
    if context.mode == "reference":
        return _SHORT
    return _ONCE if context.has(2) else _TWICE_UP


def _range(context: Context) -> dict[str, Field]:
    activation = context.op.options.get("fusedActivationFunction", 0)
    low, high = rescale.limits(context.output, activation)
    return {"low": low, "high": high}


def _matmul(context: Context) -> list[Step]:
    a, b = context.input(0), context.input(1)
    if context.op.options.get("adjX") or context.op.options.get("adjY") or b.is_constant:
        raise InputError(f"{context.output.name}: C multiplies matrices as they are")
    fields: dict[str, Field] = {
        "batches": math.prod(a.shape[:-2]),
        "rows": a.shape[-2],
        "n": a.shape[-1],
        "columns": b.shape[-1],
        "rounding": _SHORT,
        "factor": Exact(rescale.mul_factor(a, b, context.output)),
    }
    struct = Struct("listen_matmul16", fields)
    return [context.step("listen_matmul16_run", struct, lags={}, n_inputs=2)]


def _add(context: Context, sign: int = 1) -> list[Step]:
    size = math.prod(context.output.shape)
    scales = _unscaled(context) if sign < 0 else context.output
    a, b, out = rescale.reference_sum_factors(
        context.input(0), context.input(1), scales, _SUM_SHIFT
    )
    fields: dict[str, Field] = {
        "n": size,
        "period_a": period(context, 0),
        "period_b": period(context, 1),
        "sign": sign,
        "rounding": _ONCE if context.mode == "xnn" and sign > 0 else _TWICE_AWAY,
        "factor_a": Exact(a),
        "factor_b": Exact(b),
        "factor_out": Exact(out),
        "range": _range(context),
    }
    tensors = context.graph.tensors
    lags = {i: 0 for i in context.op.inputs[:2] if math.prod(tensors[i].shape) == size}
    struct = Struct("listen_add16", fields)
    return [context.step("listen_add16_run", struct, lags=lags, n_inputs=2)]


def _unscaled(context: Context) -> TensorInfo:
    """Return what LiteRT takes the output's scale for, where it subtracts and repeats an operand.

    There it goes by powers of two: scales of the same one are taken as equal.
    """
    a, b, given = context.input(0), context.input(1), context.output
    if context.mode == "reference" or math.prod(a.shape) == math.prod(b.shape):
        return given
    powers = {round(math.log2(tensor.scales[0])) for tensor in (a, b, given)}
    if len(powers) > 1 or a.scales != b.scales:
        raise InputError(f"{given.name}: C subtracts repeated operands of one scale")
    return replace(given, scales=a.scales)


def _subtract(context: Context) -> list[Step]:
    return _add(context, -1)


def _mean(context: Context) -> list[Step]:
    taken, axes = context.input(0), context.folded.axes
    if any(b - a != 1 for a, b in pairwise(axes)):
        raise InputError(f"{context.output.name}: the mean over axes {axes}; C takes neighbours")
    n = math.prod(taken.shape[axes[0] : axes[-1] + 1])
    fields: dict[str, Field] = {
        "outer": math.prod(taken.shape[: axes[0]]),
        "n": n,
        "inner": math.prod(taken.shape[axes[-1] + 1 :]),
        "factor": Exact(rescale.mean_factor(taken, context.output, n)),
    }
    return [context.step("listen_mean16_run", Struct("listen_mean16", fields), lags={})]


def _relu(context: Context) -> list[Step]:
    taken, given = context.input(0), context.output
    fields: dict[str, Field] = {
        "n": math.prod(given.shape),
        "factor": Exact(rescale.factor(taken.scales[0] / given.scales[0])),
        "range": {"low": 0, "high": (1 << 15) - 1},
    }
    struct = Struct("listen_scale16", fields)
    return [context.step("listen_scale16_run", struct, lags={context.op.inputs[0]: 0})]


def _softmax(context: Context) -> list[Step]:
    taken = context.input(0)
    n = taken.shape[-1]
    # LiteRT fills its tables in double precision, TFLite Micro in single.
    precision = np.float64 if context.mode == "xnn" else np.float32
    spread = taken.scales[0] * context.op.options["beta"] * _SPREAD / -_LOWEST_EXPONENT
    fields: dict[str, Field] = {
        "rows": math.prod(taken.shape[:-1]),
        "n": n,
        "factor": Exact(rescale.factor(spread)),
        "exponentials": Array("int16_t", _interpolated(np.exp, _LOWEST_EXPONENT, 0.0, precision)),
        "reciprocals": Array("int16_t", _interpolated(_reciprocal, 0.0, 1.0, precision)),
    }
    struct = Struct("listen_softmax16", fields)
    return [context.step("listen_softmax16_run", struct, lags={context.op.inputs[0]: 0})]


def _reciprocal(x: Floats) -> Floats:
    return 1 / (1 + x)


def _interpolated(
    function: Callable[[Floats], Floats], low: float, high: float, precision: type[np.floating[Any]]
) -> NDArray[np.int16]:
    """Return 513 values of a function in 15 bits, between which lines err least.

    Each is moved by half of what the line through it and the next misses in the middle.
    """
    unit = precision(1 << 15)
    step = precision((high - low) / _N_INTERVALS)
    begins = precision(low) + np.arange(_N_INTERVALS).astype(precision) * step
    ends = precision(low) + np.arange(1, _N_INTERVALS + 1).astype(precision) * step
    first = _rounded(function(begins) * unit)
    on_line = _rounded((function(ends) * unit + first) / 2)
    missed = on_line - _rounded(function(begins + step / 2) * unit)
    last = _rounded(function(np.array([high], precision)) * unit)
    values = np.append(first - _rounded(missed / 2), last)
    table: NDArray[np.int16] = np.clip(values, -(1 << 15), (1 << 15) - 1).astype(np.int16)
    return table


def _rounded(values: Floats) -> Floats:
    """Return whole numbers, halves away from zero."""
    return np.asarray(np.sign(values) * np.floor(np.abs(values) + 0.5))


LOWERINGS: dict[str, Callable[[Context], list[Step]]] = {
    "ADD": _add,
    "BATCH_MATMUL": _matmul,
    "CONCATENATION": join,
    "FULLY_CONNECTED": _fully_connected,
    "MEAN": _mean,
    "RELU": _relu,
    "SLICE": cut,
    "SOFTMAX": _softmax,
    "SUB": _subtract,
    "TRANSPOSE": transpose,
}
