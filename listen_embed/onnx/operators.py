"""TFLite's operators in ONNX, one function each; values keep TFLite's layout, channels last.

Integer networks become graphs of floats with a QuantizeLinear and DequantizeLinear wherever TFLite
rounds (QDQ, what onnxruntime and its accelerators expect); their weights stay integers in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.onnx.graph import Graph
from listen_embed.onnx.reader import Network, Operator, Tensor
from listen_embed.upstream.graph import schema

_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class Converter:
    """Puts a network into a graph.

    Parameters
    ----------
    network : Network
    graph : Graph
        Gets the nodes.
    """

    def __init__(self, network: Network, graph: Graph) -> None:
        self.network = network
        self.graph = graph
        self._values: dict[int, str] = {}

    def convert(self, *values: str) -> str:
        """Return the network's output for its inputs; a state becomes ends of the graph.

        Raises
        ------
        ConversionError
            An operator that is not known here.
        """
        for before, _ in self.network.state:
            tensor = self.tensor(before)
            self._values[before] = self.graph.input(tensor.name, tensor.shape)
        for index, value in zip(self.network.inputs, values, strict=True):
            self._values[index] = self.rounded(value, self.tensor(index))
        for operator in self.network.operators:
            if operator.kind not in _OPERATORS:
                raise ConversionError(
                    f"no ONNX is known here for the operator {operator.kind}; "
                    f"for these it is: {', '.join(sorted(_OPERATORS))}"
                )
            result = _OPERATORS[operator.kind](self, operator)
            result = self._activated(result, operator)
            (output,) = operator.outputs
            self._values[output] = self.rounded(result, self.tensor(output))
        for _, after in self.network.state:
            tensor = self.tensor(after)
            self.graph.output(self._values[after], tensor.name, tensor.shape)
        return self._values[self.network.output]

    def tensor(self, index: int | None) -> Tensor:
        """Return a tensor's facts."""
        if index is None:
            raise ConversionError("an operator lacks an input")
        return self.network.tensors[index]

    def value(self, operator: Operator, number: int) -> str:
        """Return an operator's input: computed before, or a constant."""
        index = operator.inputs[number]
        if index in self._values:
            return self._values[index]
        tensor = self.tensor(index)
        if tensor.values is None:
            raise ConversionError(f"the value {tensor.name} is used before it is made")
        return self.weights(tensor, tensor.values, axis=_axis(tensor))

    def numbers(self, operator: Operator, number: int) -> list[int]:
        """Return a constant input of whole numbers: axes, shapes, widths."""
        tensor = self.tensor(operator.inputs[number])
        if tensor.values is None:
            raise ConversionError(f"{operator.kind}: {tensor.name} must be a constant")
        return [int(value) for value in tensor.values.ravel()]

    def shape(self, operator: Operator) -> tuple[int, ...]:
        """Return the shape of an operator's output."""
        return self.tensor(operator.outputs[0]).shape

    def weights(self, tensor: Tensor, arranged: NDArray[Any], axis: int) -> str:
        """Return a constant, its values arranged anew with the channels on `axis`."""
        stored = self.graph.constant(np.ascontiguousarray(arranged))
        quantisation = tensor.quantisation
        if quantisation is None:
            return stored
        is_each = len(quantisation.scales) > 1
        scales = quantisation.scales if is_each else quantisation.scales[0]
        zeros = quantisation.zero_points.astype(tensor.dtype)
        zero = self.graph.constant(zeros if is_each else zeros[0])
        return self.graph.node(
            "DequantizeLinear", stored, self.graph.constant(scales), zero, axis=axis
        )

    def bias(self, operator: Operator) -> list[str]:
        """Return the third input, if there is one."""
        if len(operator.inputs) < 3 or operator.inputs[2] is None:
            return []
        tensor = self.tensor(operator.inputs[2])
        if tensor.dtype == np.int32 and tensor.values is not None:
            return [self.weights(tensor, tensor.values, axis=0)]
        return [self.graph.constant(tensor.dequantised())]  # ONNX dequantises no 64 bits

    def rounded(self, value: str, tensor: Tensor) -> str:
        """Return a value as its integers can tell it."""
        quantisation = tensor.quantisation
        if quantisation is None or tensor.dtype not in (np.int8, np.int16):
            return value
        if len(quantisation.scales) != 1:
            raise ConversionError(f"{tensor.name}: a scale for each channel of a computed value")
        scale = self.graph.constant(quantisation.scales[0])
        zero = self.graph.constant(quantisation.zero_points.astype(tensor.dtype)[0])
        integers = self.graph.node("QuantizeLinear", value, scale, zero)
        return self.graph.node("DequantizeLinear", integers, scale, zero)

    def transposed(self, value: str, order: Sequence[int]) -> str:
        """Return a value with its axes in another order."""
        return self.graph.node("Transpose", value, perm=list(order))

    def reshaped(self, value: str, shape: Sequence[int]) -> str:
        """Return a value in another shape."""
        return self.graph.node("Reshape", value, self.graph.ints(*shape))

    def _activated(self, value: str, operator: Operator) -> str:
        number = getattr(operator.options, "fusedActivationFunction", 0)
        kinds = schema().ActivationFunctionType
        limits: dict[int, tuple[float, float | None]] = {
            kinds.RELU: (0.0, None),
            kinds.RELU6: (0.0, 6.0),
            kinds.RELU_N1_TO_1: (-1.0, 1.0),
        }
        if number == kinds.NONE:
            return value
        if number not in limits:
            raise ConversionError(f"{operator.kind}: an activation that is not known here")
        return self.clipped(value, *limits[number])

    def clipped(self, value: str, low: float, high: float | None) -> str:
        """Return a value within limits."""
        ends = [self.graph.floats(low)] + ([] if high is None else [self.graph.floats(high)])
        return self.graph.node("Clip", value, *ends)


def _axis(tensor: Tensor) -> int:
    return tensor.quantisation.axis if tensor.quantisation else 0


def _padding(operator: Operator, size: Sequence[int], window: Sequence[int]) -> list[int]:
    """Return zeros before and after both axes, as TensorFlow's SAME has them."""
    options = operator.options
    if options.padding == schema().Padding.VALID:
        return [0, 0, 0, 0]
    steps = (options.strideH, options.strideW)
    total = [
        max(0, (-(-n // step) - 1) * step + k - n)
        for n, k, step in zip(size, window, steps, strict=True)
    ]
    return [total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2]


def _convolution(c: Converter, operator: Operator, kernel: NDArray[Any], group: int) -> str:
    """Convolve with a kernel (out, in / group, height, width)."""
    options = operator.options
    dilation = (options.dilationHFactor, options.dilationWFactor)
    window = [1 + (k - 1) * d for k, d in zip(kernel.shape[2:], dilation, strict=True)]
    size = c.tensor(operator.inputs[0]).shape[1:3]
    x = c.transposed(c.value(operator, 0), _TO_CHANNELS_FIRST)
    weights = c.weights(c.tensor(operator.inputs[1]), kernel, axis=0)
    y = c.graph.node(
        "Conv",
        x,
        weights,
        *c.bias(operator),
        strides=[options.strideH, options.strideW],
        dilations=list(dilation),
        pads=_padding(operator, size, window),
        group=group,
    )
    return c.transposed(y, _TO_CHANNELS_LAST)


def _constant(c: Converter, operator: Operator, number: int) -> NDArray[Any]:
    values = c.tensor(operator.inputs[number]).values
    if values is None:
        raise ConversionError(f"{operator.kind}: its weights must be constant")
    return values


def _conv_2d(c: Converter, operator: Operator) -> str:
    return _convolution(c, operator, _constant(c, operator, 1).transpose(0, 3, 1, 2), group=1)


def _depthwise_conv_2d(c: Converter, operator: Operator) -> str:
    kernel = _constant(c, operator, 1).transpose(3, 0, 1, 2)
    return _convolution(c, operator, kernel, group=c.tensor(operator.inputs[0]).shape[3])


def _pool(kind: str) -> Callable[[Converter, Operator], str]:
    def pool(c: Converter, operator: Operator) -> str:
        options = operator.options
        window = [options.filterHeight, options.filterWidth]
        pads = _padding(operator, c.tensor(operator.inputs[0]).shape[1:3], window)
        x = c.transposed(c.value(operator, 0), _TO_CHANNELS_FIRST)
        strides = [options.strideH, options.strideW]
        y = c.graph.node(kind, x, kernel_shape=window, strides=strides, pads=pads)
        return c.transposed(y, _TO_CHANNELS_LAST)

    return pool


def _fully_connected(c: Converter, operator: Operator) -> str:
    tensor = c.tensor(operator.inputs[1])
    kernel = _constant(c, operator, 1)
    flat = c.reshaped(c.value(operator, 0), (-1, kernel.shape[1]))
    if tensor.quantisation and c.tensor(operator.inputs[0]).quantisation is None:
        # Of a MatMul onnxruntime would round the values to 8 bits, as the weights are.
        y = c.graph.node("Gemm", flat, c.weights(tensor, kernel, axis=0), transB=1)
    else:
        y = c.graph.node("MatMul", flat, c.weights(tensor, kernel.T, axis=1))
    for bias in c.bias(operator):
        y = c.graph.node("Add", y, bias)
    return c.reshaped(y, c.shape(operator))


def _batch_matmul(c: Converter, operator: Operator) -> str:
    sides = []
    for number, is_turned in enumerate((operator.options.adjX, operator.options.adjY)):
        value = c.value(operator, number)
        n_axes = len(c.tensor(operator.inputs[number]).shape)
        turned = [*range(n_axes - 2), n_axes - 1, n_axes - 2]
        sides.append(c.transposed(value, turned) if is_turned else value)
    return c.graph.node("MatMul", *sides)


def _binary(kind: str) -> Callable[[Converter, Operator], str]:
    return lambda c, operator: c.graph.node(kind, c.value(operator, 0), c.value(operator, 1))


def _unary(kind: str) -> Callable[[Converter, Operator], str]:
    return lambda c, operator: c.graph.node(kind, c.value(operator, 0))


def _squared_difference(c: Converter, operator: Operator) -> str:
    difference = _binary("Sub")(c, operator)
    return c.graph.node("Mul", difference, difference)


def _mean(c: Converter, operator: Operator) -> str:
    axes = c.graph.ints(*c.numbers(operator, 1))
    keeps = int(operator.options.keepDims)
    return c.graph.node("ReduceMean", c.value(operator, 0), axes, keepdims=keeps)


def _pad(c: Converter, operator: Operator) -> str:
    pairs = np.array(c.numbers(operator, 1)).reshape(-1, 2)
    return c.graph.node("Pad", c.value(operator, 0), c.graph.ints(*pairs.T.ravel().tolist()))


def _reshape(c: Converter, operator: Operator) -> str:
    return c.reshaped(c.value(operator, 0), c.shape(operator))


def _transpose(c: Converter, operator: Operator) -> str:
    return c.transposed(c.value(operator, 0), c.numbers(operator, 1))


def _slice(c: Converter, operator: Operator) -> str:
    begin, size = c.numbers(operator, 1), c.shape(operator)
    ends = [first + n for first, n in zip(begin, size, strict=True)]
    return c.graph.node("Slice", c.value(operator, 0), c.graph.ints(*begin), c.graph.ints(*ends))


def _concatenation(c: Converter, operator: Operator) -> str:
    values = [c.value(operator, number) for number in range(len(operator.inputs))]
    return c.graph.node("Concat", *values, axis=operator.options.axis)


def _softmax(c: Converter, operator: Operator) -> str:
    scaled = c.value(operator, 0)
    if operator.options.beta != 1:
        scaled = c.graph.node("Mul", scaled, c.graph.floats(operator.options.beta))
    return c.graph.node("Softmax", scaled, axis=-1)


def _rsqrt(c: Converter, operator: Operator) -> str:
    return c.graph.node("Reciprocal", c.graph.node("Sqrt", c.value(operator, 0)))


def _relu6(c: Converter, operator: Operator) -> str:
    return c.clipped(c.value(operator, 0), 0.0, 6.0)


_OPERATORS: dict[str, Callable[[Converter, Operator], str]] = {
    "ADD": _binary("Add"),
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "BATCH_MATMUL": _batch_matmul,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DIV": _binary("Div"),
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _unary("HardSwish"),
    "LOGISTIC": _unary("Sigmoid"),
    "MAX_POOL_2D": _pool("MaxPool"),
    "MEAN": _mean,
    "MUL": _binary("Mul"),
    "PAD": _pad,
    "RELU": _unary("Relu"),
    "RELU6": _relu6,
    "RESHAPE": _reshape,
    "RSQRT": _rsqrt,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SQUARED_DIFFERENCE": _squared_difference,
    "SUB": _binary("Sub"),
    "TRANSPOSE": _transpose,
}
