"""A trained student -> .tflite, float and fully int8, without what a small device has no room for.

litert-torch converts, ai-edge-quantizer quantises: int8 weights (per channel) and int8 activations,
input and output too. What they leave in the file beyond need (names, metadata, the same zeros many
times) is taken out afterwards. Students are made of operators that TFLite Micro has; `c_export`
sees to it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from listen_embed.upstream.graph import pack, schema


class _ChannelsLast(nn.Module):
    """Take (1, n_bands, n_steps, 1), as TFLite has it, where the student takes channels first."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


def to_float(student: nn.Module, input_shape: tuple[int, int]) -> bytes:
    """Return the float32 .tflite of a student for log-mels of `input_shape` (n_bands, n_steps)."""
    example = (torch.zeros(1, *input_shape, 1),)
    copied = copy.deepcopy(student).cpu().eval()
    with _quiet():
        import litert_torch

        model = litert_torch.convert(_ChannelsLast(copied), example)
    return slimmed(_exported(model))


def to_int8(
    float_model: bytes, features: NDArray[np.float32], activations: Literal[8, 16] = 8
) -> bytes:
    """Return the fully quantised .tflite of a float one: int8 weights, integer activations.

    Parameters
    ----------
    float_model : bytes
    features : ndarray, float32 (N, n_bands, n_steps)
        Typical inputs: the ranges of all activations are taken from them.
    activations : {8, 16}
        Bits of the activations, input and output; 16 keep faint differences for twice the arena.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        from ai_edge_quantizer import quantizer, recipe

        path = Path(folder) / "float.tflite"
        path.write_bytes(float_model)
        job = quantizer.Quantizer(str(path))
        job.load_quantization_recipe(
            recipe.static_wi8_ai8() if activations == 8 else recipe.static_wi8_ai16()
        )
        signature, tensor = _signature(float_model)
        found = [
            job.calibrate({signature: [{tensor: x[None, :, :, None]}]})
            for x in features.astype(np.float32)
        ]
        result = job.quantize(_joined_ranges(found))
        return slimmed(bytes(result.quantized_model))


def _joined_ranges(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ranges that hold all but the most extreme hundredth of the inputs.

    The quantiser's own moving average would cut off the peaks of every second input.
    """
    joined = dict(found[-1])
    for name, last in joined.items():
        if "min" in last and "max" in last:
            lowest = np.stack([ranges[name]["min"] for ranges in found])
            highest = np.stack([ranges[name]["max"] for ranges in found])
            low = np.quantile(lowest, 0.01, axis=0).astype(np.float32)
            high = np.quantile(highest, 0.99, axis=0).astype(np.float32)
            joined[name] = {**last, "min": low, "max": high}
    return joined


def slimmed(model: bytes) -> bytes:
    """Return a .tflite without metadata and long names, and with equal scales stored once.

    The biases' quantisation stays, though every kernel could derive it: XNNPACK refuses layers
    without it, and then a network takes up to five times as long.
    """
    table = schema()
    tree = table.ModelT.InitFromPackedBuf(model, 0)
    (graph,) = tree.subgraphs
    for buffer in tree.buffers:
        if buffer.offset > 1:  # its bytes stand behind the flatbuffer; here they move inside
            content = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.data, buffer.offset, buffer.size = content, 0, 0
    kept = {*graph.inputs, *graph.outputs}
    is_float = any(tensor.type == table.TensorType.FLOAT32 for tensor in graph.tensors)
    vectors: dict[bytes, int] = {}
    for index, tensor in enumerate(graph.tensors):
        if index not in kept:  # the quantiser, which comes next, tells tensors apart by name
            tensor.name = str(index).encode() if is_float else None
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


def _signature(model: bytes) -> tuple[str, str]:
    """Return the name of the only signature, and of its only input."""
    from ai_edge_litert.interpreter import Interpreter

    ((name, ends),) = Interpreter(model_content=model).get_signature_list().items()
    return name, ends["inputs"][0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters' own reports, and warnings about themselves, out of ours."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
