"""A .tflite of one operator, and its C as a function."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from listen_embed.device import text
from listen_embed.device.export import LIBRARY
from listen_embed.device.lowering import lower
from listen_embed.device.steps import Mode
from listen_embed.device.widening import arranged
from listen_embed.graph import read_graph
from listen_embed.upstream.graph import pack, schema

PAINT = 0x5A
KERNELS = ("listen_kernels", "listen_convolution", "listen_depthwise", "listen_kernels32")
DECLARED = """#include "listen_kernels.h"
#include "listen_kernels32.h"
void listen_network(int8_t *arena);
"""
WARNINGS = ("-std=c99", "-O3", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


@dataclass
class Values:
    """A tensor: int8 with one scale or one for each channel, or plain int32 or float32."""

    shape: tuple[int, ...]
    scale: float | list[float] = 0.0
    zero: int = 0
    content: Any = None
    axis: int = 0
    dtype: Any = np.int8


@dataclass
class Call:
    """An operator: its name, its tensors by number, and its options."""

    name: str
    inputs: list[int]
    output: int
    options: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def model(name: str, tensors: list[Values], options: str = "", **fields: Any) -> bytes:
    """Return the file; the last tensor is the output, constants have contents."""
    given = len(tensors) - 1
    return graph_of(tensors, [Call(name, list(range(given)), given, options, fields)])


def graph_of(tensors: list[Values], calls: list[Call]) -> bytes:
    """Return the file of several operators; the last one's output is the graph's."""
    table = schema()
    tree, graph = table.ModelT(), table.SubGraphT()
    tree.buffers = [table.BufferT()]
    graph.tensors = [_tensor(values, tree, table) for values in tensors]
    graph.operators = [_operator(number, call, table) for number, call in enumerate(calls)]
    made = {call.output for call in calls}
    graph.outputs = [calls[-1].output]
    graph.inputs = [i for i, t in enumerate(tensors) if t.content is None and i not in made]
    tree.operatorCodes = [_code(call, table) for call in calls]
    tree.version, tree.subgraphs = 3, [graph]
    return pack(tree)


def _operator(number: int, call: Call, table: Any) -> Any:
    operator = table.OperatorT()
    operator.inputs, operator.outputs, operator.opcodeIndex = call.inputs, [call.output], number
    if call.options:
        operator.builtinOptionsType = getattr(table.BuiltinOptions, call.options)
        operator.builtinOptions = getattr(table, f"{call.options}T")()
        for name, value in call.fields.items():
            setattr(operator.builtinOptions, name, value)
    return operator


def _code(call: Call, table: Any) -> Any:
    code = table.OperatorCodeT()
    code.builtinCode = getattr(table.BuiltinOperator, call.name)
    code.deprecatedBuiltinCode = min(127, code.builtinCode)
    code.version = {"FULLY_CONNECTED": 5}.get(call.name, 1)
    return code


def _tensor(values: Values, tree: Any, table: Any) -> Any:
    tensor = table.TensorT()
    tensor.name, tensor.shape = b"t", list(values.shape)
    tensor.type = getattr(table.TensorType, np.dtype(values.dtype).name.upper())
    tensor.buffer = 0
    if values.content is not None:
        array = np.asarray(values.content)
        tensor.type = getattr(table.TensorType, array.dtype.name.upper())
        buffer = table.BufferT()
        buffer.data = array.tobytes()
        tree.buffers.append(buffer)
        tensor.buffer = len(tree.buffers) - 1
    if values.scale:
        scales = values.scale if isinstance(values.scale, list) else [values.scale]
        tensor.quantization = table.QuantizationParametersT()
        tensor.quantization.scale = scales
        tensor.quantization.zeroPoint = [values.zero] * len(scales)
        tensor.quantization.quantizedDimension = values.axis
    return tensor


def by_litert(content: bytes, *inputs: Any) -> Any:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for details, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel()


def by_tflm(content: bytes, *inputs: Any) -> Any:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=1 << 20)
    for i, values in enumerate(inputs):
        interpreter.set_input(values, i)
    interpreter.invoke()
    return interpreter.get_output(0).ravel()


def compile_c(headers: Path, *arguments: str | Path) -> None:
    paths = ("-I", headers, "-I", LIBRARY / "src")
    subprocess.run(["gcc", *WARNINGS, "-fPIC", *paths, *arguments], check=True)


def constants(mode: Mode) -> str:
    """Return what the kernels read of a model's header, ready for any network."""
    values = {
        "REFERENCE": int(mode == "reference"),
        "MAX_ROWS": 50,
        "MAX_COLUMNS": 50,
        "ANY_FILTERS": 1,
        "ANY_PATCHES": 1,
    }
    return "".join(f"#define LISTEN_{name} {value}\n" for name, value in values.items())


def _kernels(place: Path, mode: Mode, flags: tuple[str, ...]) -> list[Path]:
    """Return the compiled kernels, the same for every network of a test session."""
    folder = place.parent / "-".join(("kernels", mode, *flags)).replace("=", "")
    compiled = [folder / f"{name}.o" for name in KERNELS]
    if not folder.exists():
        folder.mkdir()
        (folder / "listen_model.h").write_text(constants(mode))
        for target in compiled:
            source = LIBRARY / "src" / f"{target.stem}.c"
            compile_c(folder, *flags, "-c", source, "-o", target)
    return compiled


def in_c(
    content: bytes, folder: Path, mode: Mode = "xnn", flags: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """Return the network as a function of its inputs, compiled."""
    plan, layout = arranged(lower(read_graph(content), mode))
    folder.mkdir(exist_ok=True)
    (folder / "network.c").write_text(DECLARED + text.network(plan, layout, mode))
    library, kernels = folder / "network.so", _kernels(folder.parent, mode, flags)
    compile_c(kernels[0].parent, folder / "network.c", *kernels, "-shared", "-o", library)
    run = ctypes.CDLL(str(library)).listen_network
    arena = np.empty(layout.n_bytes + 8, np.int8)

    def call(*inputs: Any) -> Any:
        arena[:] = PAINT
        for taken, values in zip(plan.taken, inputs, strict=True):
            begin = layout.tensors[taken]
            arena[begin : begin + values.nbytes] = np.frombuffer(values.tobytes(), np.int8)
        end = layout.tensors[plan.given]
        run(arena.ctypes.data_as(ctypes.c_void_p))
        assert (arena[layout.n_bytes :] == PAINT).all()
        return arena[end : end + plan.n_bytes[plan.given]].copy()

    return call
