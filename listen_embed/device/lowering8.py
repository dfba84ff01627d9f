"""Operators on int8 tensors -> calls of the kernels in listen_kernels.h."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from listen_embed.device import rescale, thresholds
from listen_embed.device.context import Context, cut, join, period, product_sizes, transpose
from listen_embed.device.folding import VALID, constant, same_padding
from listen_embed.device.softmax import single_exponentials, whole_exponentials
from listen_embed.device.steps import (
    Argument,
    Array,
    Channels,
    Exact,
    Factor,
    Factors,
    Field,
    Memory,
    Scratch,
    Step,
    Struct,
    Table,
    int8,
)
from listen_embed.device.tables import table_of
from listen_embed.errors import InputError

_LARGEST_VALUE = 128
# What the kernels' fields hold: of a width, of all other sides and channels, of a stride.
_LARGEST_WIDTH, _LARGEST_SIZE, _LARGEST_STRIDE = (1 << 20) - 1, (1 << 15) - 1, (1 << 8) - 1
# Columns that are computed at once, and rows of a filter whose only channel is.
_LARGEST_TILE, _LARGEST_FILTER = 128, 7
_LARGEST_ROW = 511  # of a softmax: TensorFlow Lite for Microcontrollers stops at sums of 512


# -- convolutions ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Where a convolution's kernel lies; sizes of images are height, width and channels."""

    taken: tuple[int, int, int]
    given: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)

    def fields(self) -> dict[str, Field]:
        """Return the fields of listen_geometry."""
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
    def is_pointwise(self) -> bool:
        """Whether each pixel becomes one pixel, by itself."""
        return self.kernel == (1, 1) and self.taken[:2] == self.given[:2]

    @property
    def lag(self) -> int:
        """Values that the input must begin after the output, if the output may run into it.

        While row ``y`` is written, rows before the first that it reads are read no more.
        """
        row_in, row_out = math.prod(self.taken[1:]), math.prod(self.given[1:])
        first = (max(0, y * self.stride[0] - self.pad[0]) for y in range(self.given[0]))
        return max((y + 1) * row_out - begin * row_in for y, begin in enumerate(first))

    @property
    def lag_of_pairs(self) -> int:
        """The same if two pixels are read and written at once, be they in one row or in two."""
        (height, width, n_in), n_out = self.taken, self.given[2]
        pixels = height * width
        pairs = (min(pixels, p + 2) * n_out - p * n_in for p in range(0, pixels, 2))
        return max(self.lag, *pairs) if self.is_pointwise else self.lag

    @property
    def may_replace(self) -> bool:
        """Whether the output may lie where the input is, if each channel is copied before.

        When row ``y`` is written, all rows under the kernel have been copied.
        """
        (height, width, _), (rows, columns, _) = self.taken, self.given
        ends = (y * self.stride[0] - self.pad[0] + self._reach(0) for y in range(rows))
        return all((y + 1) * columns <= min(end, height) * width for y, end in enumerate(ends))

    def ring_bytes(self, tile: int) -> int:
        """Return the scratch memory of listen_depthwise_run."""
        planes, filters = (1, self.given[2]) if self.taken[2] == 1 else (4, 4)
        length = -2 * (-((tile - 1) * self.stride[1] + self._reach(1)) // 2)
        taps = 2 * self.kernel[0] * (self.kernel[1] - 1)
        return 2 * ((self._reach(0) + 1) * planes * length + filters * taps) + 16 * tile

    def _reach(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1


def _conv(context: Context) -> list[Step]:
    weights = context.weights()  # (out, height, width, in)
    window = window_of(context, weights.shape[1:3])
    steps = _filters if _is_of_one_channel(window) else _dense
    return _for_each_image(context, steps(context, weights, window))


def _depthwise(context: Context) -> list[Step]:
    weights = context.weights().transpose(3, 1, 2, 0)  # (channels, height, width, 1)
    window = window_of(context, weights.shape[1:3])
    if window.taken[2] == 1:
        steps = _filters if _is_of_one_channel(window) else _dense
        return _for_each_image(context, steps(context, weights, window))
    if context.op.options["depthMultiplier"] != 1:
        raise InputError(f"{context.output.name}: a depth multiplier above 1 needs one channel")
    return _for_each_image(context, _filters(context, weights, window))


def _is_of_one_channel(window: Window) -> bool:
    """Whether filters of an image's only channel are those that the C is quick at."""
    is_small = window.kernel[1] in (3, 5) and window.kernel[0] <= _LARGEST_FILTER
    return window.taken[2] == 1 and is_small and max(window.stride) <= 2


def _filters(context: Context, weights: NDArray[np.int8], window: Window) -> list[Step]:
    """Lower one filter for each channel, or several of the only one."""
    per_channel = weights.reshape(len(weights), -1)
    tile = min(-4 * (-window.given[1] // 4), _LARGEST_TILE)
    fields: dict[str, Field] = {"place": window.fields(), "tile": tile}
    fields |= _sums(context, per_channel) | {"weights": int8(per_channel)}
    taken, is_whole = context.op.inputs[0], tile >= window.given[1]
    by_channel = window.taken[2] > 1
    step = context.step(
        "listen_depthwise_run",
        Struct("listen_depthwise", fields),
        lags={taken: window.lag} if not by_channel and is_whole else {},
    )
    if by_channel and is_whole and window.may_replace:
        step = replace(step, replaces=frozenset({taken}))
    return with_scratch(step, window.ring_bytes(tile))


def _for_each_image(context: Context, steps: list[Step]) -> list[Step]:
    """Return steps of one image as those of a batch."""
    n = context.input(0).shape[0]
    if n == 1:
        return steps

    def striding(argument: Argument) -> Argument:
        if not isinstance(argument, Memory):
            return argument
        return replace(argument, stride=context.graph.tensors[argument.tensor].size_bytes // n)

    return [
        replace(
            step,
            arguments=tuple(map(striding, step.arguments)),
            lags={},
            replaces=frozenset(),
            repeats=n,
        )
        for step in steps
    ]


def _fully_connected(context: Context) -> list[Step]:
    weights = context.weights()  # (out, in)
    n_out, n_in = weights.shape
    rows = math.prod(context.input(0).shape) // n_in
    window = Window((rows, 1, n_in), (rows, 1, n_out), (1, 1))
    return _dense(context, weights.reshape(n_out, 1, 1, n_in), window)


def _dense(context: Context, weights: NDArray[np.int8], window: Window) -> list[Step]:
    per_channel = weights.reshape(len(weights), -1)
    depth = -8 * (-per_channel.shape[1] // 8)
    fields: dict[str, Field] = {"place": window.fields(), "depth": depth, "is_wide": 0}
    fields |= _sums(context, per_channel, len(weights) % 2)
    fields |= {"weights": int8(_interleaved(per_channel))}
    step = context.step(
        "listen_conv_run",
        Struct("listen_conv", fields),
        lags={context.op.inputs[0]: window.lag_of_pairs},
    )
    # Two pixels in 16 bits, their patches, and the weights of two channels in 16 bits.
    return with_scratch(step, (4 + 2 + 4) * depth)


def _interleaved(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return weights (channels, values) in the order that listen_kernels.h tells of."""
    channels, n = weights.shape
    padded = np.pad(weights, ((0, channels % 2), (0, -n % 8)))
    return padded.reshape(len(padded) // 2, 2, -1, 4).transpose(0, 2, 1, 3)


def with_scratch(step: Step, n_bytes: int) -> list[Step]:
    """Return a step that has scratch memory."""
    return [replace(step, arguments=(*step.arguments, Scratch(n_bytes)))]


def window_of(context: Context, kernel: tuple[int, ...]) -> Window:
    """Return where the kernel (height, width) of an operator on images lies."""
    taken, given = context.input(0).shape, context.output.shape
    options, padding = context.op.options, context.folded.padding or (0, 0, 0, 0)
    steps = [options[f"stride{axis}"] for axis in "HW"]
    steps += [options[f"dilation{axis}Factor"] for axis in "HW"]
    if len(taken) != 4 or not _fits(taken, kernel, steps) or not _fits(given, kernel, steps):
        raise InputError(f"{context.output.name}: {taken} is no image that fits the kernels")
    return Window(
        (taken[1], taken[2], taken[3]),
        (given[1], given[2], given[3]),
        (kernel[0], kernel[1]),
        (options["strideH"], options["strideW"]),
        (options["dilationHFactor"], options["dilationWFactor"]),
        padding[:2],
    )


def _fits(image: tuple[int, ...], kernel: tuple[int, ...], steps: list[int]) -> bool:
    _, height, width, channels = image
    is_small = max(height, channels, *kernel) <= _LARGEST_SIZE and max(steps) <= _LARGEST_STRIDE
    return width <= _LARGEST_WIDTH and is_small


def _sums(context: Context, weights: NDArray[np.int8], missing: int = 0) -> dict[str, Field]:
    """Return bias, rates and steps of weights (channels, values), and of `missing` channels."""
    taken, info, given = context.input(0), context.input(1), context.output
    zero, whole = taken.zero_points[0], weights.astype(np.int64)
    bias = context.bias(len(weights))
    factors = rescale.product_factors(taken, info, given, len(weights))
    largest = np.abs(bias) + np.abs(whole).sum(1) * 2 * _LARGEST_VALUE
    rescale.check_products(largest.tolist(), factors, given.name)
    bias = bias - zero * whole.sum(1)
    spread = np.abs(whole).sum(1) * _LARGEST_VALUE
    rates, steps = _rates(context, factors, bias - spread, bias + spread)
    channels = Channels((*bias.tolist(), *(0,) * missing), (*rates, *rates[-1:] * missing))
    return {"in_zero": zero, "channels": channels, "steps": steps}


def _rates(
    context: Context, factors: Factors, low: NDArray[np.int64], high: NDArray[np.int64]
) -> tuple[tuple[Factor | int, ...], dict[str, Field]]:
    """Return listen_rate of each channel, whose sums lie from `low` to `high`; and listen_steps."""
    zero = context.output.zero_points[0]
    steps: dict[str, Field] = {"zero": zero, "table": _limits(context)}
    if context.mode == "reference":
        return factors.each, steps
    single = np.array([factor.single for factor in factors.each], np.float32)
    found = thresholds.multipliers(single, low, high, zero)
    steps |= {"offset": found.offset(zero), "shift": found.shift}
    return tuple(found.each.tolist()), steps


def _limits(context: Context) -> Table | int:
    """Return what an activation makes of every value, or 0 where it leaves them as they are."""
    activation = context.op.options.get("fusedActivationFunction", 0)
    low, high = rescale.limits(context.output, activation)
    values = np.arange(-_LARGEST_VALUE, _LARGEST_VALUE)
    return Table(int8(values.clip(low, high))) if (low, high) != (values[0], values[-1]) else 0


def _range(context: Context) -> dict[str, Field]:
    given = context.output
    low, high = rescale.limits(given, context.op.options.get("fusedActivationFunction", 0))
    return {"zero": given.zero_points[0], "low": low, "high": high}


# -- value by value ----------------------------------------------------------------------------


def _add(context: Context) -> list[Step]:
    periods = {"period_a": period(context, 0), "period_b": period(context, 1)}
    return _pairwise(context, "listen_add", periods | _terms(context, 1))


def _subtract(context: Context) -> list[Step]:
    terms = {"period_a": 0, "period_b": 0} | _terms(context, -1)
    return _pairwise(context, "listen_subtract", {"terms": terms} | _places(context))


def _places(context: Context) -> dict[str, Field]:
    """Return rows and columns of a result, and how far an operand's next ones are."""
    whole = context.output.shape
    shapes = [
        (1,) * (len(whole) - len(s)) + s for s in (context.input(0).shape, context.input(1).shape)
    ]
    for split in range(len(whole) + 1):
        rows, columns = math.prod(whole[:split]), math.prod(whole[split:])
        sizes = [(math.prod(s[:split]), math.prod(s[split:])) for s in shapes]
        if all(r in (1, rows) and c in (1, columns) for r, c in sizes):
            (row_a, column_a), (row_b, column_b) = (
                (c if r > 1 else 0, int(c > 1)) for r, c in sizes
            )
            return {
                "rows": rows, "columns": columns,
                "row_a": row_a, "column_a": column_a, "row_b": row_b, "column_b": column_b,
            }  # fmt: skip
    raise InputError(f"{context.output.name}: {shapes[0]} and {shapes[1]} repeat in no way C takes")


def _terms(context: Context, sign: int) -> dict[str, Field]:
    """Return the operands and factors of ``a + sign b``."""
    a, b, given = context.input(0), context.input(1), context.output
    fields = _operands(context) | {"range": _range(context)}
    if context.mode == "reference":
        names = ("factor_a", "factor_b", "factor_out")
        found = rescale.reference_sum_factors(a, b, given)
        fields |= dict(zip(names, found, strict=True))
    else:
        whole = rescale.sum_factors(a, b, given)
        fields |= {"factor_a": whole.a, "factor_b": sign * whole.b, "shift": whole.shift}
    return fields


def _mul(context: Context) -> list[Step]:
    factors = Factors((rescale.mul_factor(context.input(0), context.input(1), context.output),))
    largest = np.array([(2 * _LARGEST_VALUE) ** 2])
    rescale.check_products(largest.tolist(), factors, context.output.name)
    (rate,), steps = _rates(context, factors, -largest, largest)
    fields: dict[str, Field] = {
        "period_a": period(context, 0),
        "period_b": period(context, 1),
        **_operands(context),
        "rate": rate,
        "steps": steps,
    }
    return _pairwise(context, "listen_mul", fields)


def _operands(context: Context) -> dict[str, Field]:
    a, b = context.input(0), context.input(1)
    return {
        "n": math.prod(context.output.shape),
        "zero_a": a.zero_points[0],
        "zero_b": b.zero_points[0],
    }


def _pairwise(context: Context, kind: str, fields: dict[str, Field]) -> list[Step]:
    size = math.prod(context.output.shape)
    lags = {
        i: 0 for i in context.op.inputs[:2] if math.prod(context.graph.tensors[i].shape) == size
    }
    return [context.step(f"{kind}_run", Struct(kind, fields), lags=lags, n_inputs=2)]


def table(context: Context) -> list[Step]:
    """Lower a function of one value."""
    values = table_of(context.folded.chain or (context.op,), context.graph, context.mode)
    n = math.prod(context.output.shape)
    return [context.step("listen_table_run", int8(values), n, lags={context.op.inputs[0]: 0})]


# -- reductions and padding ----------------------------------------------------------------------


def _mean(context: Context) -> list[Step]:
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
        "bias": -n * taken.zero_points[0] if context.mode == "reference" else 0,
        "factor": rescale.mean_factor(taken, context.output, n),
        "offset": rescale.mean_offset(taken, context.output, n),
        "range": _range(context),
    }
    return [context.step("listen_mean_run", Struct("listen_mean", fields), lags={})]


def _pool(context: Context) -> list[Step]:
    options, taken, given = context.op.options, context.input(0), context.output
    if (taken.scales, taken.zero_points) != (given.scales, given.zero_points):
        raise InputError(f"{given.name}: C pools images, and keeps their scale")
    kernel = (options["filterHeight"], options["filterWidth"])
    strides = (options["strideH"], options["strideW"])
    pads = [
        0 if options["padding"] == VALID else same_padding(n_in, n_out, k, step)[0]
        for n_in, n_out, k, step in zip(
            taken.shape[1:], given.shape[1:], kernel, strides, strict=False
        )
    ]
    names = (
        "in_height", "in_width", "channels", "out_height", "out_width",
        "kernel_height", "kernel_width", "stride_y", "stride_x", "pad_top", "pad_left",
    )  # fmt: skip
    sizes = (*taken.shape[1:], *given.shape[1:3], *kernel, *strides, *pads)
    fields: dict[str, Field] = dict(zip(names, sizes, strict=True))
    fields["range"] = _range(context)
    step = context.step("listen_pool_run", Struct("listen_pool", fields), lags={})
    return _for_each_image(context, [step])


def _matmul(context: Context) -> list[Step]:
    a, b, given = context.input(0), context.input(1), context.output
    sizes = product_sizes(context)
    if a.shape[-1] * (2 * _LARGEST_VALUE) ** 2 >= 1 << 31:
        raise InputError(f"{given.name}: sums of {a.shape[-1]} products may not fit 32 bits")
    fields: dict[str, Field] = sizes | {
        "zero_a": a.zero_points[0],
        "zero_b": b.zero_points[0],
        "factor": Exact(rescale.mul_factor(a, b, given)),
        "range": _range(context),
    }
    struct = Struct("listen_matmul", fields)
    return [context.step("listen_matmul_run", struct, lags={}, n_inputs=2)]


def _softmax(context: Context) -> list[Step]:
    taken, given = context.input(0), context.output
    if given.zero_points != (-128,) or given.scales != (1 / 256,):
        raise InputError(f"{given.name}: a softmax in steps of {given.scales}; C takes 1/256")
    beta, n = context.op.options["beta"], taken.shape[-1]
    if context.mode == "reference":
        if n > _LARGEST_ROW:
            raise InputError(f"{given.name}: a softmax of {n} values, of {_LARGEST_ROW} at most")
        exponentials = Array("int32_t", whole_exponentials(taken.scales[0], beta))
    else:
        exponentials = Array("float", single_exponentials(taken.scales[0], beta))
    fields: dict[str, Field] = {
        "rows": math.prod(taken.shape[:-1]),
        "n": n,
        "exponentials": exponentials,
    }
    struct = Struct("listen_softmax", fields)
    return [context.step("listen_softmax_run", struct, lags={context.op.inputs[0]: 0})]


def _pad(context: Context) -> list[Step]:
    taken = context.input(0)
    widths = constant(context.graph, context.op.inputs[1])
    missing = 4 - len(taken.shape)
    fields: dict[str, Field] = {
        "sizes": (1,) * missing + taken.shape,
        "before": (0,) * missing + tuple(widths[:, 0].tolist()),
        "after": (0,) * missing + tuple(widths[:, 1].tolist()),
        "value": taken.zero_points[0],
    }
    return [context.step("listen_pad_run", Struct("listen_pad", fields), lags={})]


LOWERINGS: dict[str, Callable[[Context], list[Step]]] = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _matmul,
    "CONCATENATION": join,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": table,
    "LOGISTIC": table,
    "MEAN": _mean,
    "MUL": _mul,
    "PAD": _pad,
    "RELU": table,
    "RELU6": table,
    "SLICE": cut,
    "SUB": _subtract,
    "SOFTMAX": _softmax,
    "TANH": table,
    "TRANSPOSE": transpose,
}
