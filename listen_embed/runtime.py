"""A .tflite in, arrays out: the only file that names an interpreter.

LiteRT is the maintained successor of tflite-runtime with the same interface; tflite-runtime serves
where LiteRT has no wheel.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.amx import without_amx
from listen_embed.errors import ConversionError, RuntimeUnavailableError

_IDENTIFIER = slice(4, 8)
_LENGTHS_KEPT = 4  # clips of a set mostly have one length, or a few
_TYPES = (np.float32, np.int8, np.int16)
_ALIKE = ("shape", "dtype", "quantization")  # a state before a step and after it

StateNames = tuple[tuple[str, str], ...]
State = list[NDArray[Any]]
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Network:
    """A model's network, ready to run.

    Parameters
    ----------
    content : bytes
        A .tflite with one output beside its state, float32, int8 or int16, batch 1. It has one
        input beside its state, or several, which are then rows of values one behind the other, in
        the order of its signature.
    threads : int
        Threads of the interpreter.
    n_steps : int, optional
        Columns of the log-mel that it shall take; None leaves the graph's own number. A network
        that ends in a mean over time takes any.
    state : tuple of (str, str)
        Inputs and outputs that carry what the network remembers, as `ModelSpec` has them.

    Raises
    ------
    ConversionError
        The bytes are not a .tflite that the interpreter accepts, it does not take `n_steps`, or
        it does not have the state that is named.
    RuntimeUnavailableError
        No interpreter is installed.
    """

    def __init__(
        self,
        content: bytes,
        threads: int = 1,
        n_steps: int | None = None,
        state: StateNames = (),
    ) -> None:
        self._made_of = (content, threads, n_steps, state)
        self._lock = threading.Lock()  # an interpreter has one set of tensors
        self._of_lengths: dict[int, Network] = {}
        if content[_IDENTIFIER] != b"TFL3":
            raise ConversionError("not a .tflite: its file identifier is not TFL3")
        try:
            interpreter_class = _interpreter_class()
            with without_amx():
                self._interpreter = interpreter_class(model_content=content, num_threads=threads)
                if n_steps is not None:
                    self._resize(n_steps)
                self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise ConversionError(f"the interpreter refuses this .tflite: {error}") from error
        self._state = [_state_pair(names, inputs, outputs) for names in state]
        carried = {end["name"] for pair in self._state for end in pair}
        self._inputs = _checked("input", [end for end in inputs if end["name"] not in carried])
        self._output = _the_only("output", [end for end in outputs if end["name"] not in carried])

    def __reduce__(self) -> tuple[Any, ...]:
        return Network, self._made_of

    def of_length(self, n_steps: int) -> Network:
        """Return this network for log-mels of `n_steps` columns; the last few are kept."""
        if len(self.input_shape) > 2 and n_steps == self.input_shape[2]:
            return self
        if len(self.input_shape) < 3 or self._state:
            raise ConversionError(f"a network that takes {self.input_shape} takes no other length")
        with self._lock:
            network = self._of_lengths.pop(n_steps, None)
        if network is None:
            network = Network(*self._made_of[:2], n_steps)  # one without a state
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

    @property
    def remembers(self) -> bool:
        """Whether it has a state, so that inputs must come in order."""
        return bool(self._state)

    @property
    def state_bytes(self) -> int:
        """Bytes of what it remembers."""
        return sum(value.nbytes for value in self.blank())

    def blank(self) -> State:
        """Return the state of a network that has heard nothing."""
        return [
            np.full(given["shape"], given["quantization"][1], given["dtype"])
            for given, _ in self._state
        ]

    def start(self) -> Run:
        """Return what runs this network over one sound, piece by piece: see `__call__`."""
        return Remembering(self) if self.remembers else self

    def __call__(
        self, inputs: NDArray[np.float32], state: State | None = None
    ) -> NDArray[np.float32]:
        """Return float32 (T, D) of inputs (T, ...), one run per row; threads take turns.

        Rows are steps in order for a network that remembers; `state` is what it knows before the
        first, nothing by default, and is set to what it knows after the last.
        """
        state = self.blank() if state is None else state
        outputs = np.empty((len(inputs), self.output_size), self._output["dtype"])
        for row, values in enumerate(zip(*self._shaped(inputs), strict=True)):
            outputs[row] = self._run(values, state)
        return _dequantised(outputs, self._output)

    def _shaped(self, inputs: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Return the values of every input tensor, (T, ...) each."""
        flat = inputs.reshape(len(inputs), self._columns[-1].stop)
        return [
            _quantised(flat[:, columns], tensor).reshape(len(inputs), *tensor["shape"])
            for columns, tensor in zip(self._columns, self._inputs, strict=True)
        ]

    @cached_property
    def _columns(self) -> list[slice]:
        """Which columns of a joined row are whose."""
        sizes = [math.prod(int(n) for n in tensor["shape"]) for tensor in self._inputs]
        ends = accumulate(sizes)
        return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def _run(self, values: Sequence[NDArray[Any]], state: State) -> NDArray[Any]:
        """Return what one run gives, flat, and put the next state in the place of the last."""
        try:
            with self._lock:
                for tensor, value in zip(self._inputs, values, strict=True):
                    self._interpreter.set_tensor(tensor["index"], value)
                for (given, _), known in zip(self._state, state, strict=True):
                    self._interpreter.set_tensor(given["index"], known)
                self._interpreter.invoke()
                given = self._interpreter.get_tensor(self._output["index"]).ravel()
                state[:] = [self._interpreter.get_tensor(end["index"]) for _, end in self._state]
        except (ValueError, RuntimeError) as error:  # some operators look at tensors only now
            raise ConversionError(f"the interpreter cannot run this .tflite: {error}") from error
        if len(given) != self.output_size:
            raise ConversionError(f"this .tflite gives {len(given)} values, not the stated size")
        return np.asarray(given)


class Remembering:
    """A network that remembers, on its way through one sound; one thread's own.

    Parameters
    ----------
    network : Network
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._state = network.blank()

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 (T, D) of the next steps (T, ...)."""
        return self._network(inputs, self._state)


def _state_pair(
    names: tuple[str, str], inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the input and the output that carry a state."""
    given, following = (
        {end["name"]: end for end in ends}.get(name)
        for name, ends in zip(names, (inputs, outputs), strict=True)
    )
    if given is None or following is None:
        raise ConversionError(f"this .tflite has no input {names[0]!r} with an output {names[1]!r}")
    if not all(np.array_equal(given[key], following[key]) for key in _ALIKE):
        raise ConversionError(f"the state {names[0]!r} is not of the kind of {names[1]!r}")
    return given, following


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
