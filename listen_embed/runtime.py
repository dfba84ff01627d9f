"""A .tflite in, arrays out: the only file that names an interpreter.

LiteRT is the maintained successor of tflite-runtime with the same interface; tflite-runtime serves
where LiteRT has no wheel.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError, RuntimeUnavailableError

_IDENTIFIER = slice(4, 8)
_LENGTHS_KEPT = 4  # clips of a set mostly have one length, or a few
_TYPES = (np.float32, np.int8, np.int16)


class Network:
    """A model's network, ready to run.

    Parameters
    ----------
    content : bytes
        A .tflite with one output, float32, int8 or int16, batch 1. It has one input, or several,
        which are then rows of values one behind the other, in the order of its signature.
    threads : int
        Threads of the interpreter.
    n_steps : int, optional
        Columns of the log-mel that it shall take; None leaves the graph's own number. A network
        that ends in a mean over time takes any.

    Raises
    ------
    ConversionError
        The bytes are not a .tflite that the interpreter accepts, or it does not take `n_steps`.
    RuntimeUnavailableError
        No interpreter is installed.
    """

    def __init__(self, content: bytes, threads: int = 1, n_steps: int | None = None) -> None:
        self._made_of = (content, threads, n_steps)
        self._lock = threading.Lock()  # an interpreter has one set of tensors
        self._of_lengths: dict[int, Network] = {}
        if content[_IDENTIFIER] != b"TFL3":
            raise ConversionError("not a .tflite: its file identifier is not TFL3")
        try:
            self._interpreter = _interpreter_class()(model_content=content, num_threads=threads)
            if n_steps is not None:
                self._resize(n_steps)
            self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise ConversionError(f"the interpreter refuses this .tflite: {error}") from error
        self._inputs = _checked("input", inputs)
        self._output = _the_only("output", outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Network, self._made_of

    def of_length(self, n_steps: int) -> Network:
        """Return this network for log-mels of `n_steps` columns; the last few are kept."""
        if len(self.input_shape) < 3:
            raise ConversionError(f"a network that takes {self.input_shape} takes no other length")
        if n_steps == self.input_shape[2]:
            return self
        with self._lock:
            network = self._of_lengths.pop(n_steps, None)
        if network is None:
            network = Network(*self._made_of[:2], n_steps)
        with self._lock:
            self._of_lengths[n_steps] = network
            while len(self._of_lengths) > _LENGTHS_KEPT:
                self._of_lengths.pop(next(iter(self._of_lengths)))
        return network

    def _resize(self, n_steps: int) -> None:
        """Let the picture (1, n_bands, n_steps, 1), or without the last 1, have other columns."""
        given = _the_only("input", self._interpreter.get_input_details())
        shape = [int(n) for n in given["shape"]]
        if len(shape) < 3:
            raise ConversionError(f"a network that takes {shape} takes no other length")
        if shape[2] != n_steps:
            shape[2] = n_steps
            self._interpreter.resize_tensor_input(given["index"], shape)

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input tensor, batch included; of several, that of their joined row."""
        shapes = [tuple(int(n) for n in tensor["shape"]) for tensor in self._inputs]
        return shapes[0] if len(shapes) == 1 else (1, sum(math.prod(shape) for shape in shapes))

    @cached_property
    def output_size(self) -> int:
        """Values that one run gives."""
        return int(np.prod(self._output["shape"]))

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 (T, D) of inputs (T, ...), one run per row; threads take turns."""
        outputs = np.empty((len(inputs), self.output_size), self._output["dtype"])
        for row, values in enumerate(zip(*self._shaped(inputs), strict=True)):
            outputs[row] = self._run(values)
        return _dequantised(outputs, self._output)

    def _shaped(self, inputs: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Return the values of every input tensor, (T, ...) each."""
        sizes = [math.prod(int(n) for n in tensor["shape"]) for tensor in self._inputs]
        flat = inputs.reshape(len(inputs), sum(sizes))
        parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
        return [
            _quantised(part, tensor).reshape(len(inputs), *tensor["shape"])
            for part, tensor in zip(parts, self._inputs, strict=True)
        ]

    def _run(self, values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return what one run gives, flat."""
        try:
            with self._lock:
                for tensor, value in zip(self._inputs, values, strict=True):
                    self._interpreter.set_tensor(tensor["index"], value)
                self._interpreter.invoke()
                given = self._interpreter.get_tensor(self._output["index"]).ravel()
        except (ValueError, RuntimeError) as error:  # some operators look at tensors only now
            raise ConversionError(f"the interpreter cannot run this .tflite: {error}") from error
        if len(given) != self.output_size:
            raise ConversionError(f"this .tflite gives {len(given)} values, not the stated size")
        return np.asarray(given)


def _the_only(what: str, tensors: list[dict[str, Any]]) -> dict[str, Any]:
    (tensor,) = _checked(what, tensors, most=1)
    return tensor


def _checked(what: str, tensors: list[dict[str, Any]], most: int = 2) -> list[dict[str, Any]]:
    """Return tensors of a graph in the order of their names, which is that of its arguments."""
    if not 1 <= len(tensors) <= most or any(t["dtype"] not in _TYPES for t in tensors):
        found = ", ".join(f"{tensor['name']} {tensor['dtype'].__name__}" for tensor in tensors)
        allowed = f"one {what}" if most == 1 else f"{most} {what}s at most"
        raise ConversionError(
            f"a network of ours has {allowed}, float32, int8 or int16; this has: {found or 'none'}"
        )
    return sorted(tensors, key=lambda tensor: str(tensor["name"]))


def _quantised(values: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    if tensor["dtype"] == np.float32:
        return values
    scale, zero = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    steps = np.rint(values / np.float32(scale)) + zero
    quantised: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(tensor["dtype"])
    return quantised


def _dequantised(values: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    if tensor["dtype"] == np.float32:
        return values
    scale, zero = tensor["quantization"]
    dequantised: NDArray[np.float32] = (values.astype(np.float32) - zero) * np.float32(scale)
    return dequantised


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError as error:
            raise RuntimeUnavailableError(
                "no TFLite interpreter is installed. Install one with: pip install ai-edge-litert "
                "(or tflite-runtime where that has no wheel)"
            ) from error
    return Interpreter
