"""A small writer of TFLite graphs: operators on float32 tensors in, file bytes out.

Only what the published networks need. Shapes are inferred and checked while the graph grows, so
weights that do not fit are refused here and not in the interpreter.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError, RuntimeUnavailableError

Padding = Literal["same", "valid"]
Activation = Literal["none", "relu"]
Shape: TypeAlias = tuple[int, ...]
Array: TypeAlias = NDArray[Any]

# The schema asks for it (force_align), the generated Python writer forgets it, kernels like it.
BUFFER_ALIGNMENT = 16

# A code above this does not fit the schema's first, one-byte field, which old readers look at.
_LARGEST_OLD_CODE = 127
_MAX_AXES = 4


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph under construction: its index and its shape."""

    index: int
    shape: Shape


def schema() -> Any:
    """Return the TFLite flatbuffer schema module.

    Raises
    ------
    RuntimeUnavailableError
        ai-edge-litert is absent (tflite-runtime brings no schema).
    """
    return _import("ai_edge_litert.schema_py_generated")


def unpack(model: bytes) -> Any:
    """Return the ``ModelT`` of a file, the data of its buffers inside it."""
    tree = schema().ModelT.InitFromPackedBuf(model, 0)
    for buffer in tree.buffers:
        if buffer.offset > 1:  # its bytes stand behind the flatbuffer
            content = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.data, buffer.offset, buffer.size = content, 0, 0
    return tree


def pack(model: Any) -> bytes:
    """Return the file bytes of a ``ModelT``, each buffer's data aligned to 16 bytes."""
    flatbuffers = _import("flatbuffers")
    model.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"Converting published weights needs {name}, which could not be imported ({error}). "
            "tflite-runtime does not have it. Install with: pip install ai-edge-litert"
        ) from error


class _AlignedBuffer:
    """Stands in for ``BufferT``; writes its data where a kernel can load it at once."""

    def __init__(self, data: Any) -> None:
        self.data = None if data is None else bytes(data)

    def Pack(self, builder: Any) -> Any:
        table = schema()
        vector = None
        if self.data is not None:
            builder.Prep(BUFFER_ALIGNMENT, len(self.data))
            vector = builder.CreateByteVector(self.data)
        table.BufferStart(builder)
        if vector is not None:
            table.BufferAddData(builder, vector)
        return table.BufferEnd(builder)


class GraphBuilder:
    """Grow one TFLite graph operator by operator, then :meth:`finish` it.

    Images are ``(1, height, width, channels)``. Weights and operands given as arrays become
    float32 constants; equal ones are stored once.
    """

    def __init__(self) -> None:
        self._schema = schema()
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._inputs: list[int] = []
        self._codes: dict[str, int] = {}
        self._buffers: dict[bytes, int] = {}
        self._constants: dict[tuple[str, Shape, int], Tensor] = {}

    # -- tensors ---------------------------------------------------------------------------

    def input(self, shape: Shape, name: str = "input") -> Tensor:
        """Add a float32 input of the graph."""
        tensor = self._tensor(shape, name)
        self._inputs.append(tensor.index)
        return tensor

    def constant(self, array: Array) -> Tensor:
        """Add a constant: int32 stays int32, anything else becomes float32."""
        kind = "INT32" if array.dtype == np.int32 else "FLOAT32"
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(array, "<i4" if kind == "INT32" else "<f4")
        _check(bool(np.isfinite(values).all()), "a weight is too large for a float32")
        data = values.tobytes()
        buffer = self._buffers.setdefault(data, len(self._buffers) + 1)  # 0 means "no data"
        key = (kind, array.shape, buffer)
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = self._tensor(array.shape, name, kind, buffer)
        return self._constants[key]

    def _tensor(self, shape: Shape, name: str, kind: str = "FLOAT32", buffer: int = 0) -> Tensor:
        tensor = self._schema.TensorT()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = getattr(self._schema.TensorType, kind)
        tensor.buffer = buffer
        tensor.name = name
        tensor.hasRank = True
        self._tensors.append(tensor)
        return Tensor(len(self._tensors) - 1, tuple(int(size) for size in shape))

    # -- convolution and pooling -----------------------------------------------------------

    def conv2d(
        self,
        x: Tensor,
        weights: Array,
        bias: Array,
        *,
        stride: int = 1,
        padding: Padding = "same",
        activation: Activation = "none",
    ) -> Tensor:
        """Convolve with weights ``(out, height, width, in)``."""
        _check(
            len(x.shape) == weights.ndim == 4 and weights.shape[3] == x.shape[3],
            f"conv2d: weights {weights.shape} do not fit an input of {x.shape}",
        )
        _check(bias.shape == weights.shape[:1], f"conv2d: bias {bias.shape}, {weights.shape}")
        size = _window(x.shape[1:3], weights.shape[1:3], (stride, stride), padding)
        return self._operator(
            "CONV_2D",
            [x, self.constant(weights), self.constant(bias)],
            (x.shape[0], *size, weights.shape[0]),
            "Conv2DOptions",
            strideH=stride,
            strideW=stride,
            padding=self._padding(padding),
            fusedActivationFunction=self._activation(activation),
        )

    def depthwise_conv2d(
        self,
        x: Tensor,
        weights: Array,
        bias: Array,
        *,
        stride: int = 1,
        padding: Padding = "same",
        activation: Activation = "none",
    ) -> Tensor:
        """Convolve every channel with its own kernel; weights ``(height, width, channels)``."""
        _check(
            weights.ndim == 3 and weights.shape[2:] == x.shape[3:] == bias.shape,
            f"depthwise_conv2d: weights {weights.shape} and bias {bias.shape} "
            f"do not fit an input of {x.shape}",
        )
        size = _window(x.shape[1:3], weights.shape[:2], (stride, stride), padding)
        return self._operator(
            "DEPTHWISE_CONV_2D",
            [x, self.constant(weights[np.newaxis]), self.constant(bias)],
            (x.shape[0], *size, x.shape[3]),
            "DepthwiseConv2DOptions",
            strideH=stride,
            strideW=stride,
            depthMultiplier=1,
            padding=self._padding(padding),
            fusedActivationFunction=self._activation(activation),
        )

    def max_pool(self, x: Tensor, size: tuple[int, int], *, padding: Padding = "valid") -> Tensor:
        """Take the maximum of windows that lie side by side (stride = size)."""
        _check(len(x.shape) == 4, f"max_pool: {x.shape} is not an image")
        grid = _window(x.shape[1:3], size, size, padding)
        return self._operator(
            "MAX_POOL_2D",
            [x],
            (x.shape[0], *grid, x.shape[3]),
            "Pool2DOptions",
            filterHeight=size[0],
            filterWidth=size[1],
            strideH=size[0],
            strideW=size[1],
            padding=self._padding(padding),
        )

    def pad(self, x: Tensor, widths: Sequence[tuple[int, int]]) -> Tensor:
        """Put zeros before and after, one pair of counts per axis."""
        _check(len(widths) == len(x.shape), f"pad: {len(widths)} pairs for {x.shape}")
        shape = tuple(size + sum(pair) for size, pair in zip(x.shape, widths, strict=True))
        table = self.constant(np.array(widths, np.int32))
        return self._operator("PAD", [x, table], shape, "PadOptions")

    # -- products and sums -----------------------------------------------------------------

    def fully_connected(
        self, x: Tensor, weights: Array, bias: Array, *, activation: Activation = "none"
    ) -> Tensor:
        """Multiply ``x (n, in)`` by the transposed weights ``(out, in)`` and add the bias."""
        _check(
            len(x.shape) == weights.ndim == 2
            and x.shape[1] == weights.shape[1]
            and bias.shape == weights.shape[:1],
            f"fully_connected: weights {weights.shape} and bias {bias.shape} "
            f"do not fit an input of {x.shape}",
        )
        return self._operator(
            "FULLY_CONNECTED",
            [x, self.constant(weights), self.constant(bias)],
            (x.shape[0], weights.shape[0]),
            "FullyConnectedOptions",
            fusedActivationFunction=self._activation(activation),
        )

    def batch_matmul(self, x: Tensor, y: Tensor, *, transpose_y: bool = False) -> Tensor:
        """Multiply the last two axes as matrices, ``y`` transposed if so asked."""
        rows, columns = (y.shape[-1], y.shape[-2]) if transpose_y else y.shape[-2:]
        _check(
            len(x.shape) >= 2 and x.shape[:-2] == y.shape[:-2] and x.shape[-1] == rows,
            f"batch_matmul: {x.shape} times {y.shape}",
        )
        shape = (*x.shape[:-1], columns)
        return self._operator("BATCH_MATMUL", [x, y], shape, "BatchMatMulOptions", adjY=transpose_y)

    def add(self, x: Tensor, y: Tensor | Array) -> Tensor:
        """``x + y``, broadcasting."""
        return self._binary("ADD", x, y, "AddOptions")

    def sub(self, x: Tensor, y: Tensor | Array) -> Tensor:
        """``x - y``, broadcasting."""
        return self._binary("SUB", x, y, "SubOptions")

    def mul(self, x: Tensor, y: Tensor | Array) -> Tensor:
        """``x * y``, broadcasting."""
        return self._binary("MUL", x, y, "MulOptions")

    def squared_difference(self, x: Tensor, y: Tensor | Array) -> Tensor:
        """``(x - y) ** 2``, broadcasting."""
        return self._binary("SQUARED_DIFFERENCE", x, y, "SquaredDifferenceOptions")

    def _binary(self, kind: str, x: Tensor, y: Tensor | Array, options: str) -> Tensor:
        other = y if isinstance(y, Tensor) else self.constant(y)
        try:
            shape = np.broadcast_shapes(x.shape, other.shape)
        except ValueError:
            message = f"{kind.lower()}: {x.shape} and {other.shape} do not broadcast"
            raise ConversionError(message) from None
        return self._operator(kind, [x, other], shape, options)

    # -- one tensor in, one out ------------------------------------------------------------

    def mean(self, x: Tensor, axes: Sequence[int], *, keep_dims: bool = False) -> Tensor:
        """Average over non-negative axes."""
        kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        dropped = [size for axis, size in enumerate(x.shape) if axis not in axes]
        return self._operator(
            "MEAN",
            [x, self.constant(np.array(axes, np.int32))],
            tuple(kept if keep_dims else dropped),
            "ReducerOptions",
            keepDims=keep_dims,
        )

    def relu(self, x: Tensor) -> Tensor:
        """``max(x, 0)``."""
        return self._operator("RELU", [x], x.shape)

    def hard_swish(self, x: Tensor) -> Tensor:
        """``x * clip(x + 3, 0, 6) / 6``."""
        return self._operator("HARD_SWISH", [x], x.shape, "HardSwishOptions")

    def logistic(self, x: Tensor) -> Tensor:
        """``1 / (1 + exp(-x))``."""
        return self._operator("LOGISTIC", [x], x.shape)

    def rsqrt(self, x: Tensor) -> Tensor:
        """``1 / sqrt(x)``."""
        return self._operator("RSQRT", [x], x.shape)

    def softmax(self, x: Tensor) -> Tensor:
        """Exponentials that sum to one along the last axis."""
        return self._operator("SOFTMAX", [x], x.shape, "SoftmaxOptions", beta=1.0)

    def reshape(self, x: Tensor, shape: Shape) -> Tensor:
        """Return the same values in another shape."""
        _check(math.prod(shape) == math.prod(x.shape), f"reshape: {x.shape} to {shape}")
        target = np.array(shape, np.int32)
        return self._operator(
            "RESHAPE", [x, self.constant(target)], shape, "ReshapeOptions", newShape=target
        )

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """Reorder the axes."""
        _check(sorted(order) == list(range(len(x.shape))), f"transpose: {x.shape} by {order}")
        shape = tuple(x.shape[axis] for axis in order)
        table = self.constant(np.array(order, np.int32))
        return self._operator("TRANSPOSE", [x, table], shape, "TransposeOptions")

    def layer_norm(self, x: Tensor, scale: Array, shift: Array, epsilon: float) -> Tensor:
        """Normalise along the last axis, then scale and shift; made of the operators above."""
        last = [len(x.shape) - 1]
        mean = self.mean(x, last, keep_dims=True)
        variance = self.mean(self.squared_difference(x, mean), last, keep_dims=True)
        gain = self.rsqrt(self.add(variance, np.array([epsilon])))
        return self.add(self.mul(self.mul(self.sub(x, mean), gain), scale), shift)

    # -- the file --------------------------------------------------------------------------

    def finish(self, outputs: Sequence[Tensor]) -> bytes:
        """Return the bytes of the TFLite file whose outputs are these tensors."""
        graph = self._schema.SubGraphT()
        graph.name = "main"
        graph.tensors = self._tensors
        graph.operators = self._operators
        graph.inputs = np.array(self._inputs, np.int32)
        graph.outputs = np.array([tensor.index for tensor in outputs], np.int32)
        model = self._schema.ModelT()
        model.version = 3
        model.description = "listen-embed"
        model.subgraphs = [graph]
        model.operatorCodes = [self._operator_code(kind) for kind in self._codes]
        model.buffers = [_AlignedBuffer(data) for data in (None, *self._buffers)]
        return pack(model)

    def _operator_code(self, kind: str) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, _LARGEST_OLD_CODE)
        code.version = 1
        return code

    def _operator(
        self, kind: str, inputs: Sequence[Tensor], shape: Shape, options: str = "", **fields: Any
    ) -> Tensor:
        # Up to four axes, float32, all of these operators are in their first version.
        _check(len(shape) <= _MAX_AXES, f"{kind.lower()}: {shape} has more than {_MAX_AXES} axes")
        code = self._codes.setdefault(kind, len(self._codes))
        output = self._tensor(shape, f"{kind.lower()}_{len(self._operators)}")
        operator = self._schema.OperatorT()
        operator.opcodeIndex = code
        operator.inputs = np.array([tensor.index for tensor in inputs], np.int32)
        operator.outputs = np.array([output.index], np.int32)
        if options:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self._schema, f"{options}T")()
            for field, value in fields.items():
                setattr(operator.builtinOptions, field, value)
        self._operators.append(operator)
        return output

    def _padding(self, padding: Padding) -> int:
        return int(getattr(self._schema.Padding, padding.upper()))

    def _activation(self, activation: Activation) -> int:
        return int(getattr(self._schema.ActivationFunctionType, activation.upper()))


def _window(size: Shape, window: Shape, stride: Shape, padding: Padding) -> Shape:
    if padding == "same":
        return tuple(-(-n // step) for n, step in zip(size, stride, strict=True))
    grid = tuple((n - k) // step + 1 for n, k, step in zip(size, window, stride, strict=True))
    _check(min(grid) >= 1, f"a window of {window} does not fit into {size}")
    return grid


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ConversionError(message)
