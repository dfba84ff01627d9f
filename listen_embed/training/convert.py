"""A trained student -> .tflite, in float and fully in int8, without what a small device has no room for.

litert-torch converts, ai-edge-quantizer quantises: int8 weights (per channel) and int8 activations, input and
output too. What they leave in the file beyond need (long names, quantisation of biases, which every
kernel derives itself) is taken out afterwards.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Operators that TFLite Micro has int8 kernels for, of those that students are made of.
# Source: tensorflow/tflite-micro, micro/micro_mutable_op_resolver.h and micro/kernels.
MICRO_OPERATORS = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED", "HARD_SWISH", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD",
        "RELU", "RELU6", "RESHAPE", "RSQRT", "SOFTMAX", "SQUARED_DIFFERENCE", "SUB", "TRANSPOSE",
    }
)  # fmt: skip


class _ChannelsLast(nn.Module):
    """Take (1, n_bands, n_steps, 1), as TFLite has it, where the student takes channels first."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


def to_float(student: nn.Module, input_shape: tuple[int, int]) -> bytes:
    """Return the float32 .tflite of a student for log-mels of `input_shape` (n_bands, n_steps)."""
    import litert_torch

    example = (torch.zeros(1, *input_shape, 1),)
    with _quiet():
        model = litert_torch.convert(_ChannelsLast(student).cpu().eval(), example)
    return slimmed(_exported(model))


def to_int8(float_model: bytes, features: NDArray[np.float32]) -> bytes:
    """Return the fully quantised .tflite of a float one.

    Parameters
    ----------
    float_model : bytes
    features : ndarray, float32 (N, n_bands, n_steps)
        Typical inputs: the ranges of all activations are taken from them.
    """
    from ai_edge_quantizer import quantizer, recipe

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "float.tflite"
        path.write_bytes(float_model)
        job = quantizer.Quantizer(str(path))
        job.load_quantization_recipe(recipe.static_wi8_ai8())
        signature, tensor = _signature(float_model)
        samples = [{tensor: x[None, :, :, None]} for x in features.astype(np.float32)]
        result = job.quantize(job.calibrate({signature: samples}))
        return slimmed(bytes(result.quantized_model))


def slimmed(model: bytes) -> bytes:
    """Return a .tflite with short names, and without quantisation of biases and metadata."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tree: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    (graph,) = tree.subgraphs
    for buffer in tree.buffers:
        if buffer.offset > 1:  # its bytes stand behind the flatbuffer; a rebuilt one holds them itself
            content = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.data, buffer.offset, buffer.size = content, 0, 0
    kept = {*graph.inputs, *graph.outputs}
    for index, tensor in enumerate(graph.tensors):
        if index not in kept:
            tensor.name = str(index).encode()  # the quantiser tells tensors apart by name
        is_bias = tensor.type == schema.TensorType.INT32 and tree.buffers[tensor.buffer].data is not None
        if is_bias:
            tensor.quantization = None
        elif tensor.quantization is not None:
            tensor.quantization.min = tensor.quantization.max = None
    tree.metadata, tree.description = None, b""
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


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
    """Keep the converters' own progress reports out of ours."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)
