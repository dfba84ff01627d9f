"""Functions of one int8 value as tables, filled by running the operator itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.device.steps import Mode
from listen_embed.errors import RuntimeUnavailableError
from listen_embed.graph import Graph, OperatorInfo, TensorInfo
from listen_embed.upstream.graph import pack, schema

_INPUTS = np.arange(-128, 128).astype(np.int8)
_OPTIONS = {"ADD": "AddOptions", "HARD_SWISH": "HardSwishOptions", "MUL": "MulOptions"}


def table_of(operators: tuple[OperatorInfo, ...], graph: Graph, mode: Mode) -> NDArray[np.int8]:
    """Return what operators make of -128 to 127, one after the other, int8 (256,).

    Parameters
    ----------
    operators : tuple of OperatorInfo
        The first one's first input is the value; all others are constants, or made before.

    Raises
    ------
    RuntimeUnavailableError
        ai-edge-litert is absent.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise RuntimeUnavailableError(
            "filling tables needs ai-edge-litert. Install with: pip install ai-edge-litert"
        ) from error
    kernels = OpResolverType.AUTO if mode == "xnn" else OpResolverType.BUILTIN_REF
    interpreter = Interpreter(
        model_content=_alone(operators, graph), experimental_op_resolver_type=kernels
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], _INPUTS[None])
    interpreter.invoke()
    values = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    table: NDArray[np.int8] = values[0].copy()
    return table


def _alone(operators: tuple[OperatorInfo, ...], source: Graph) -> bytes:
    """Return a .tflite of these operators over all values that a tensor can have."""
    table = schema()
    used = list(dict.fromkeys(i for op in operators for i in (*op.inputs, *op.outputs)))
    graph, model = table.SubGraphT(), table.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [table.BufferT()]
    graph.name = "main"
    graph.tensors = [_tensor(source.tensors[i], model, table) for i in used]
    graph.inputs = [used.index(operators[0].inputs[0])]
    graph.outputs = [used.index(operators[-1].outputs[0])]
    graph.operators = [_operator(n, op, used, table) for n, op in enumerate(operators)]
    model.operatorCodes = [_code(op, table) for op in operators]
    return pack(model)


def _code(op: OperatorInfo, table: Any) -> Any:
    code = table.OperatorCodeT()
    code.builtinCode = getattr(table.BuiltinOperator, op.name)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
    return code


def _operator(number: int, op: OperatorInfo, used: list[int], table: Any) -> Any:
    operator = table.OperatorT()
    operator.opcodeIndex = number
    operator.inputs = [used.index(i) for i in op.inputs]
    operator.outputs = [used.index(i) for i in op.outputs]
    if kind := _OPTIONS.get(op.name):
        operator.builtinOptionsType = getattr(table.BuiltinOptions, kind)
        operator.builtinOptions = getattr(table, f"{kind}T")()
        for field, value in op.options.items():
            setattr(operator.builtinOptions, field, value)
    return operator


def _tensor(info: TensorInfo, model: Any, table: Any) -> Any:
    tensor = table.TensorT()
    tensor.name, tensor.type, tensor.buffer = info.name, table.TensorType.INT8, 0
    tensor.shape = list(info.shape) if info.is_constant else [1, 256]
    if info.is_constant:
        buffer = table.BufferT()
        buffer.data = info.content
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    tensor.quantization = table.QuantizationParametersT()
    tensor.quantization.scale = list(info.scales)
    tensor.quantization.zeroPoint = list(info.zero_points)
    return tensor
