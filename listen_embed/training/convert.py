"""A trained student -> .tflite, float and fully int8, without what a small device has no room for.

litert-torch converts, ai-edge-quantizer quantises: int8 weights (per channel) and int8 activations,
input and output too. What they leave in the file beyond need (names, metadata, the same zeros many
times) is taken out afterwards. Students are made of operators that there is C for; the device
room sees to it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from listen_embed.graph import Graph, read_graph
from listen_embed.runtime import StateNames
from listen_embed.training import int8_ranges
from listen_embed.training.streaming import Streamer
from listen_embed.upstream.graph import pack, schema, unpack

Inputs = tuple[NDArray[np.float32], ...]

# Smaller weights take less room as they are: int8 ones need scales, and an operator to read them.
_WORTH_QUANTISING = 150
_N_NARROWING = 64  # inputs on which the width of a range is tried


class ChannelsLast(nn.Module):
    """Take (1, n_bands, n_steps, 1), as TFLite has it, where the student takes channels first."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: Tensor) -> Tensor:
        """Return what the student gives."""
        return self.student(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


class _StepChannelsLast(nn.Module):
    """The same for one step, with its state."""

    def __init__(self, streamer: Streamer) -> None:
        super().__init__()
        self.streamer = streamer

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return self.streamer.step(x.permute(0, 3, 1, 2), *state)


def to_float(student: nn.Module, input_shape: tuple[int, int]) -> bytes:
    """Return the float32 .tflite of a student for log-mels of `input_shape` (n_bands, n_steps)."""
    return to_float_of(ChannelsLast(student), (torch.zeros(1, *input_shape, 1),))


def to_float_of(network: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    """Return the float32 .tflite of a network that takes tensors shaped as an example's."""
    copied = copy.deepcopy(network).cpu().eval()
    with _quiet():
        import litert_torch

        model = litert_torch.convert(copied, example)
    return slimmed(_exported(model))


def to_float_step(streamer: Streamer, input_shape: tuple[int, int]) -> bytes:
    """Return the float32 .tflite of one step of a student that streams.

    Beside the log-mel (n_bands, n_steps) of `input_shape` and the embedding it has the tensors that
    `Streamer.state_names` names, float32 (1, n).
    """
    states = [torch.zeros(1, n) for n in streamer.state_sizes]
    example = (torch.zeros(1, *input_shape, 1), *states)
    copied = copy.deepcopy(streamer).cpu().eval()
    with _quiet():
        import litert_torch

        model = litert_torch.convert(_StepChannelsLast(copied), example)
    return _with_named_ends(slimmed(_exported(model)), streamer.state_names)


def to_int8_weights(float_model: bytes) -> bytes:
    """Return a float .tflite with its weights in int8, per channel; all else stays float32.

    What a network remembers must not be rounded at every step: a fading mean moves by less than an
    int8 step, and would stand still.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        from ai_edge_quantizer import quantizer, recipe

        path = Path(folder) / "float.tflite"
        path.write_bytes(float_model)
        job = quantizer.Quantizer(str(path))
        rules = recipe.weight_only_wi8_afp32()
        for rule in rules:
            rule["op_config"]["min_weight_elements"] = _WORTH_QUANTISING
        job.load_quantization_recipe(rules)
        return slimmed(bytes(job.quantize().quantized_model), keeps_names=False)


def _with_named_ends(model: bytes, state: StateNames) -> bytes:
    """Return a step whose ends have the names by which a model's card tells them apart."""
    tree = schema().ModelT.InitFromPackedBuf(model, 0)
    (graph,) = tree.subgraphs
    known, following = zip(*state, strict=True)
    inputs, outputs = ("logmel", *known), ("embedding", *following)
    for names, ends in ((inputs, graph.inputs), (outputs, graph.outputs)):
        for name, index in zip(names, ends, strict=True):
            graph.tensors[index].name = name.encode()
    return pack(tree)


def to_int8(float_model: bytes, features: NDArray[np.float32]) -> bytes:
    """Return the fully quantised .tflite of a float one: int8 weights, integer activations.

    Parameters
    ----------
    float_model : bytes
    features : ndarray, float32 (N, n_bands, n_steps)
        Typical inputs: the ranges of all activations are taken from them.
    """
    typical = [(x[None, :, :, None],) for x in features.astype(np.float32)]
    return to_int8_of(float_model, typical)


def to_int8_of(float_model: bytes, typical: Sequence[Inputs]) -> bytes:
    """Return the same of a .tflite of any inputs; each of `typical` has one array for each."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        from ai_edge_quantizer import quantizer, recipe

        path = Path(folder) / "float.tflite"
        path.write_bytes(float_model)
        job = quantizer.Quantizer(str(path))
        job.load_quantization_recipe(recipe.static_wi8_ai8())
        signature, names = _signature(float_model)
        named = [dict(zip(names, inputs, strict=True)) for inputs in typical]
        found = [job.calibrate({signature: [inputs]}) for inputs in named]
        extremes = _narrowed(_joined(found), float_model, typical[:_N_NARROWING])
        result = job.quantize(extremes)
        return slimmed(bytes(result.quantized_model))


def _joined(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ranges that hold all but the most extreme hundredth of the inputs.

    The quantiser's own moving average would cut off the peaks of every second input.
    """
    joined = dict(found[-1])
    for name, last in joined.items():
        if "min" in last and "max" in last and np.asarray(last["min"]).dtype != bool:
            lowest = np.stack([of_one[name]["min"] for of_one in found])
            highest = np.stack([of_one[name]["max"] for of_one in found])
            low = np.quantile(lowest, 0.01, axis=0).astype(np.float32)
            high = np.quantile(highest, 0.99, axis=0).astype(np.float32)
            joined[name] = {**last, "min": low, "max": high}
    return joined


def _narrowed(
    extremes: dict[str, Any], float_model: bytes, typical: Sequence[Inputs]
) -> dict[str, Any]:
    """Return the ranges of all activations narrowed to where int8 errs least on some inputs."""
    graph = read_graph(float_model)
    needed = {
        i: _needed(graph, i) for i in _activations(graph) if graph.tensors[i].name in extremes
    }
    ends = {}
    for i, (bottom, top) in needed.items():
        found = extremes[graph.tensors[i].name]
        low, high = torch.from_numpy(found["min"]).min(), torch.from_numpy(found["max"]).max()
        ends[i] = low.clamp(bottom, 0), high.clamp(0, top)
    errors = {i: torch.zeros(len(int8_ranges.SHARES)) for i in needed}
    for read in _runs(float_model, typical):
        for i, (low, high) in ends.items():
            errors[i] += int8_ranges.rounding_errors(
                torch.from_numpy(read(i)), low, high, needed[i]
            )
    narrowed = dict(extremes)
    for i, (low, high) in ends.items():
        name, share = graph.tensors[i].name, int8_ranges.SHARES[int(errors[i].argmin())]
        shape = extremes[name]["min"].shape
        low_high = (np.full(shape, share * float(end), np.float32) for end in (low, high))
        narrowed[name] = {**extremes[name], **dict(zip(("min", "max"), low_high, strict=True))}
    return narrowed


def _activations(graph: Graph) -> list[int]:
    """Return the numbers of a graph's float tensors that are computed, or given."""
    return [i for i, t in enumerate(graph.tensors) if t.type == "FLOAT32" and not t.is_constant]


def _needed(graph: Graph, tensor: int) -> int8_ranges.Range:
    """Return outside which values of a tensor its readers make no difference."""
    readers = {operator.name for operator in graph.operators if tensor in operator.inputs}
    return int8_ranges.NEEDED.get(frozenset(readers), int8_ranges.EVERYTHING)


def _runs(
    float_model: bytes, typical: Sequence[Inputs]
) -> Iterator[Callable[[int], NDArray[np.float32]]]:
    """Run inputs one by one; yield what reads a tensor of the graph by its number."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=float_model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    given = sorted(interpreter.get_input_details(), key=lambda tensor: str(tensor["name"]))
    for inputs in typical:
        for tensor, values in zip(given, inputs, strict=True):
            interpreter.set_tensor(tensor["index"], values)
        interpreter.invoke()
        yield interpreter.get_tensor


def slimmed(model: bytes, keeps_names: bool | None = None) -> bytes:
    """Return a .tflite without metadata and long names, and with equal scales stored once.

    A float graph keeps short names unless told otherwise: the quantiser, which mostly comes next,
    tells tensors apart by them.

    The biases' quantisation stays, though every kernel could derive it: XNNPACK refuses layers
    without it, and then a network takes up to five times as long.
    """
    table = schema()
    tree = unpack(model)
    (graph,) = tree.subgraphs
    kept = {*graph.inputs, *graph.outputs}
    if keeps_names is None:
        keeps_names = any(t.type == table.TensorType.FLOAT32 for t in graph.tensors)
    vectors: dict[bytes, int] = {}
    for index, tensor in enumerate(graph.tensors):
        if index not in kept:
            tensor.name = str(index).encode() if keeps_names else None
        if tensor.quantization is not None and tensor.quantization.scale is None:
            tensor.quantization = None
        if tensor.quantization is not None:
            tensor.quantization = _SharedQuantization(tensor.quantization, vectors)
    tree.metadata, tree.description = None, b""
    return pack(tree)


class _SharedQuantization:
    """Stands in for ``QuantizationParametersT``; writes each vector once for all tensors of a file.

    Most are the zeros of symmetric weights, eight bytes for every channel.
    """

    def __init__(self, parameters: Any, vectors: dict[bytes, int]) -> None:
        self._parameters = parameters
        self._vectors = vectors

    def Pack(self, builder: Any) -> Any:
        """Write the table and return its offset, as the schema's own class does."""
        table = schema()
        scale = self._vector(builder, self._parameters.scale, "<f4")
        zero_point = self._vector(builder, self._parameters.zeroPoint, "<i8")
        table.QuantizationParametersStart(builder)
        if scale is not None:
            table.QuantizationParametersAddScale(builder, scale)
        if zero_point is not None:
            table.QuantizationParametersAddZeroPoint(builder, zero_point)
        dimension = self._parameters.quantizedDimension
        table.QuantizationParametersAddQuantizedDimension(builder, dimension)
        return table.QuantizationParametersEnd(builder)

    def _vector(self, builder: Any, values: Any, kind: str) -> int | None:
        if values is None:
            return None
        array = np.asarray(values, kind)
        key = kind.encode() + array.tobytes()
        if key not in self._vectors:
            self._vectors[key] = builder.CreateNumpyVector(array)
        return self._vectors[key]


def _exported(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.tflite"
        model.export(str(path))
        return path.read_bytes()


def _signature(model: bytes) -> tuple[str, list[str]]:
    """Return the name of the only signature, and those of its inputs in order."""
    from ai_edge_litert.interpreter import Interpreter

    ((name, ends),) = Interpreter(model_content=model).get_signature_list().items()
    return name, sorted(ends["inputs"])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters' own reports, and warnings about themselves, out of ours."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            _native_quiet(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _native_quiet() -> Iterator[None]:
    """Silence what native code writes to the process's standard error, past Python's own."""
    stderr = 2
    kept = os.dup(stderr)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stderr)
            yield
    finally:
        os.dup2(kept, stderr)
        os.close(kept)
