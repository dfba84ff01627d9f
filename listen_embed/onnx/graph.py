"""A small writer of ONNX graphs: names are made here, equal constants are stored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# The first with DFT as it is now. The next one quantises to 16 bits, too, but onnxruntime 1.31
# trips over 8 bits in it when it moves transpositions, so it is used only where it must be.
OPSET, OPSET_16_BITS = 20, 21
IR_VERSION = 10


class Graph:
    """Grows node by node; every method returns the name of a value."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Add a float32 input."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return name

    def output(self, value: str, name: str, shape: Sequence[int]) -> None:
        """Give a value as a float32 output."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def constant(self, values: Any) -> str:
        """Add a constant; its dtype is kept."""
        array = np.ascontiguousarray(values)
        array = array.reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def floats(self, value: float) -> str:
        """Add a float32 scalar."""
        return self.constant(np.float32(value))

    def ints(self, *values: int) -> str:
        """Add a vector of int64, as shapes and axes are given."""
        return self.constant(np.array(values, np.int64))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def finish(
        self, output: str, name: str, shape: Sequence[int], facts: dict[str, str]
    ) -> onnx.ModelProto:
        """Return the model whose first output is this value, checked by onnx."""
        self.output(output, name, shape)
        *others, result = self._outputs
        is_wide = any(constant.data_type == TensorProto.INT16 for constant in self._initializers)
        opset = OPSET_16_BITS if is_wide else OPSET
        graph = helper.make_graph(
            self._nodes, "listen-embed", self._inputs, [result, *others], self._initializers
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=IR_VERSION,
            producer_name="listen-embed",
        )
        helper.set_model_props(model, facts)
        onnx.checker.check_model(model, full_check=True)
        return model
