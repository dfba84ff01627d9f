"""A function of one value, inside the convolution that makes the value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed.device.lowering import lower
from listen_embed.graph import read_graph

from .one import Call, Values, by_litert, by_tflm, graph_of, in_c
from .test_lowering import bias, inputs, weights


def swish(activation: int = 0, read_twice: bool = False) -> bytes:
    """Return a convolution, and of its `x` the product x * (relu6(x + 3) / 6)."""
    shape = (1, 4, 5, 6)
    tensors = [
        Values((1, 4, 5, 8), 0.037, -5),
        Values((6, 1, 1, 8), [0.01] * 6, 0, weights((6, 1, 1, 8))),
        Values((6,), [0.00037] * 6, 0, bias(6)),
        Values(shape, 0.06, 9),
        Values((), 0.0118, -128, np.array(126, np.int8)),
        Values(shape, 6 / 255, -128),
        Values((), 1 / 6 / 255, -128, np.array(127, np.int8)),
        Values(shape, 1 / 255, -128),
        Values(shape, 0.05, -100),
    ]
    fields = {"strideW": 1, "strideH": 1, "padding": 1, "fusedActivationFunction": activation}
    fields |= {"dilationWFactor": 1, "dilationHFactor": 1}
    calls = [
        Call("CONV_2D", [0, 1, 2], 3, "Conv2DOptions", fields),
        Call("ADD", [3, 4], 5, "AddOptions", {"fusedActivationFunction": 3}),
        Call("MUL", [5, 6], 7, "MulOptions"),
        Call("MUL", [3, 7], 8, "MulOptions"),
    ]
    if read_twice:
        tensors.append(Values(shape, 0.07, -20))
        calls.append(Call("ADD", [8, 3], 9, "AddOptions"))
    return graph_of(tensors, calls)


CASES = {"swish": swish(), "behind a relu": swish(1), "read twice": swish(0, True)}


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("name", CASES)
def test_a_looked_up_function_equals_its_operators(name: str, tmp_path: Path) -> None:
    run = in_c(CASES[name], tmp_path / "xnn")
    exact = in_c(CASES[name], tmp_path / "reference", "reference")
    for seed in range(10):
        given = inputs(CASES[name], seed)
        assert np.array_equal(run(*given), by_litert(CASES[name], *given))
        assert np.array_equal(exact(*given), by_tflm(CASES[name], *given))


def test_four_operators_become_one_step() -> None:
    (step,) = lower(read_graph(CASES["swish"])).steps
    assert step.title == "CONV_2D + ADD + MUL + MUL"


def test_a_function_of_a_sum_is_one_too() -> None:
    """All of it is a function of the convolution, even where its value is read once more."""
    assert len(lower(read_graph(CASES["read twice"])).steps) == 1
