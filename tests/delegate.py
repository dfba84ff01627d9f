"""Which operators of a .tflite the CPU's delegate leaves to the slower reference kernels."""

from __future__ import annotations

from typing import Any


def outside_delegate(model: bytes) -> list[str]:
    """Return the names of the operators that run outside the delegate, conversions aside.

    What is run is found by walking from the outputs to what makes them. A delegated stretch stands
    in the list as one operator behind all those it replaces; a graph that is taken whole has one.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    makers: dict[int, Any] = {}
    for operator in interpreter._get_ops_details():
        makers |= dict.fromkeys(map(int, operator["outputs"]), operator)
    waiting = [end["index"] for end in interpreter.get_output_details()]
    run: dict[int, str] = {}
    while waiting:
        operator = makers.pop(waiting.pop(), None)
        if operator is not None:
            run[operator["index"]] = operator["op_name"]
            waiting += map(int, operator["inputs"])
    stretches = list(run.values()).count("DELEGATE")
    left = [name for name in run.values() if name not in ("DELEGATE", "QUANTIZE", "DEQUANTIZE")]
    return left + ["DELEGATE"] * max(0, stretches - 1)
