"""Networks' operators written again in plain numpy, float64, and a way to run a .tflite.

Nothing here knows the package's graph builder: agreement between the two means something.
Images are (height, width, channels).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]


def run(content: bytes, *inputs: Array) -> Array:
    """Return the only output of a .tflite for its inputs, in the file's order."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    for detail, value in zip(details, inputs, strict=True):
        assert detail["dtype"] == np.float32
        interpreter.set_tensor(detail["index"], value.astype(np.float32).reshape(detail["shape"]))
    interpreter.invoke()
    (output,) = interpreter.get_output_details()
    assert output["dtype"] == np.float32
    result: Array = interpreter.get_tensor(output["index"])
    return result


def pad_same(
    x: Array, window: tuple[int, int], stride: int | tuple[int, int], fill: float
) -> Array:
    """Pad as TensorFlow's SAME: what is odd goes to the end."""
    strides = (stride, stride) if isinstance(stride, int) else stride
    widths = []
    for n, k, s in zip(x.shape[:2], window, strides, strict=True):
        total = max(0, (-(-n // s) - 1) * s + k - n)
        widths.append((total // 2, total - total // 2))
    return np.pad(x, [*widths, (0, 0)], constant_values=fill)


def windows(x: Array, size: tuple[int, int], stride: tuple[int, int]) -> Array:
    """Return (rows, columns, channels, height, width)."""
    return sliding_window_view(x, size, axis=(0, 1))[:: stride[0], :: stride[1]]


def conv2d(x: Array, kernel: Array, bias: Array | float = 0.0, stride: int = 1) -> Array:
    """Convolve, without padding, with a kernel (height, width, in, out)."""
    view = windows(x, kernel.shape[:2], (stride, stride))
    return np.einsum("rcihw,hwio->rco", view, kernel, optimize=True) + bias


def depthwise(x: Array, kernel: Array, bias: Array | float = 0.0, stride: int = 1) -> Array:
    """Convolve each channel, without padding, with a kernel (height, width, channels)."""
    view = windows(x, kernel.shape[:2], (stride, stride))
    return np.einsum("rcihw,hwi->rci", view, kernel, optimize=True) + bias


def max_pool(x: Array, size: tuple[int, int]) -> Array:
    """Take maxima of windows side by side; rows and columns left over are dropped."""
    return windows(x, size, size).max(axis=(3, 4))


def batch_norm(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
) -> Array:
    """Normalise by stored moments, the channels on the last axis."""
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def layer_norm(x: Array, scale: Array, shift: Array, epsilon: float) -> Array:
    """Normalise along the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + epsilon) * scale + shift


def relu(x: Array) -> Array:
    """Rectify."""
    return np.maximum(x, 0)


def hard_swish(x: Array) -> Array:
    """Swish with a piecewise linear gate."""
    return x * np.clip(x + 3, 0, 6) / 6


def sigmoid(x: Array) -> Array:
    """Squash to 0 .. 1."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    """Exponentials that sum to one along the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
