"""Functions of one int8 value as tables, filled by running the operator itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.device.steps import Mode
from listen_embed.errors import RuntimeUnavailableError
from listen_embed.graph import OperatorInfo, TensorInfo
from listen_embed.upstream.graph import pack, schema

_INPUTS = np.arange(-128, 128).astype(np.int8)
_OPTIONS = {"HARD_SWISH": "HardSwishOptions"}


def table_of(
    op: OperatorInfo, taken: TensorInfo, given: TensorInfo, mode: Mode
) -> NDArray[np.int8]:
    """Return what an operator makes of -128 to 127, int8 (256,).

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
        model_content=_alone(op, taken, given), experimental_op_resolver_type=kernels
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], _INPUTS[None])
    interpreter.invoke()
    values = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    table: NDArray[np.int8] = values[0].copy()
    return table


def _alone(op: OperatorInfo, taken: TensorInfo, given: TensorInfo) -> bytes:
    """Return a .tflite of one operator over all values that a tensor can have."""
    table = schema()
    graph, model, operator = table.SubGraphT(), table.ModelT(), table.OperatorT()
    graph.name = "main"
    graph.tensors = [_tensor(info, table) for info in (taken, given)]
    graph.inputs, graph.outputs = [0], [1]
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    if options := _OPTIONS.get(op.name):
        operator.builtinOptionsType = getattr(table.BuiltinOptions, options)
        operator.builtinOptions = getattr(table, f"{options}T")()
    graph.operators = [operator]
    code = table.OperatorCodeT()
    code.builtinCode = getattr(table.BuiltinOperator, op.name)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
    model.version, model.subgraphs = 3, [graph]
    model.operatorCodes, model.buffers = [code], [table.BufferT()]
    return pack(model)


def _tensor(info: TensorInfo, table: Any) -> Any:
    tensor = table.TensorT()
    tensor.name, tensor.shape, tensor.type = info.name, [1, 256], table.TensorType.INT8
    tensor.buffer = 0
    tensor.quantization = table.QuantizationParametersT()
    tensor.quantization.scale = list(info.scales)
    tensor.quantization.zeroPoint = list(info.zero_points)
    return tensor
