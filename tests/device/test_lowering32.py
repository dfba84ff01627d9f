"""Operators in single precision against LiteRT, one by one: the same values but for rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.device.lowering import lower
from listen_embed.errors import InputError
from listen_embed.graph import read_graph

from .one import Call, Values, by_litert, graph_of, in_c, model

NEAR = 2e-6  # of the largest value
CHANCE = np.random.default_rng(0)


def real(shape: tuple[int, ...], content: Any = None) -> Values:
    return Values(shape, content=content, dtype=np.float32)


def floats(*shape: int) -> Any:
    return CHANCE.standard_normal(shape, np.float32)


def layer(
    name: str,
    taken: tuple[int, ...],
    weights: tuple[int, ...],
    given: tuple[int, ...],
    options: str,
    n_scales: int = 0,
    has_bias: bool = True,
    **fields: Any,
) -> bytes:
    """Return a layer; with scales its weights are int8 behind a DEQUANTIZE."""
    axis = 3 if name == "DEPTHWISE_CONV_2D" else 0
    channels = weights[axis]
    tensors, calls, last = [real(taken)], [], 1
    if n_scales:
        scales = [0.01 * (1 + i / 7) for i in range(n_scales)]
        content = CHANCE.integers(-127, 128, weights).astype(np.int8)
        tensors += [Values(weights, scales, 0, content, axis), real(weights)]
        calls, last = [Call("DEQUANTIZE", [1], 2, "DequantizeOptions")], 2
    else:
        tensors += [real(weights, floats(*weights))]
    inputs = [0, last]
    if has_bias:
        tensors += [real((channels,), floats(channels))]
        inputs += [last + 1]
    calls += [Call(name, inputs, len(tensors), options, fields)]
    return graph_of([*tensors, real(given)], calls)


def conv(
    taken: tuple[int, int, int] = (5, 6, 8),
    kernel: tuple[int, int] = (1, 1),
    n_out: int = 7,
    stride: int = 1,
    padding: int = 1,
    depthwise: bool = False,
    dilation: int = 1,
    **more: Any,
) -> bytes:
    reaches = [(k - 1) * dilation + 1 for k in kernel]
    sides = zip(taken[:2], reaches, strict=True)
    given = [(n - r) // stride + 1 if padding else -(-n // stride) for n, r in sides]
    fields = {"strideW": stride, "strideH": stride, "padding": padding}
    fields |= {"dilationWFactor": dilation, "dilationHFactor": dilation}
    shapes = ((1, *taken), (n_out, *kernel, taken[2]), (1, *given, n_out))
    if not depthwise:
        return layer("CONV_2D", *shapes, "Conv2DOptions", **fields, **more)
    fields["depthMultiplier"] = n_out // taken[2]
    shapes = (shapes[0], (1, *kernel, n_out), shapes[2])
    return layer("DEPTHWISE_CONV_2D", *shapes, "DepthwiseConv2DOptions", **fields, **more)


def dense(rows: int, n_in: int, n_out: int, **more: Any) -> bytes:
    shapes = ((rows, n_in), (n_out, n_in), (rows, n_out))
    options = {"keepNumDims": True, **more}
    return layer("FULLY_CONNECTED", *shapes, "FullyConnectedOptions", **options)


def binary(name: str, a: Any, b: Any, activation: int = 0) -> bytes:
    """Return an operator on (1, 3, 4, 10) and a constant, in their order."""
    tensors = [real(x.shape, x) if isinstance(x, np.ndarray) else real(x) for x in (a, b)]
    options = f"{name.title()}Options"
    return model(name, [*tensors, real(IMAGE)], options, fusedActivationFunction=activation)


def unary(name: str, options: str = "") -> bytes:
    return model(name, [real((1, 300)), real((1, 300))], options)


def whole(*values: Any) -> Any:
    return Values(np.shape(values), content=np.array(values, np.int32))


def mean(axes: tuple[int, ...], given: tuple[int, ...]) -> bytes:
    return model(
        "MEAN", [real((1, 4, 6, 5)), whole(*axes), real(given)], "ReducerOptions", keepDims=False
    )


def padded(reads: bool = True) -> bytes:
    """Return a padding, inside a convolution or by itself."""
    widths = whole([0, 0], [1, 1], [1, 2], [0, 0])
    tensors = [real((1, 7, 6, 4)), widths, real((1, 9, 9, 4))]
    pad = Call("PAD", [0, 1], 2, "PadOptions")
    if not reads:
        return graph_of(tensors, [pad])
    tensors += [real((1, 3, 3, 4), floats(1, 3, 3, 4)), real((4,), floats(4)), real((1, 4, 4, 4))]
    fields = {"strideW": 2, "strideH": 2, "padding": 1, "depthMultiplier": 1}
    fields |= {"dilationWFactor": 1, "dilationHFactor": 1}
    conv = Call("DEPTHWISE_CONV_2D", [2, 3, 4], 5, "DepthwiseConv2DOptions", fields)
    return graph_of(tensors, [pad, conv])


def cut_and_joined() -> bytes:
    """Return two parts of a row in the other order."""
    tensors = [real((1, 30)), whole(0, 4), whole(1, 11), real((1, 11)), whole(0, 20), whole(1, 7)]
    tensors += [real((1, 7)), real((1, 18))]
    calls = [
        Call("SLICE", [0, 1, 2], 3, "SliceOptions"),
        Call("SLICE", [0, 4, 5], 6, "SliceOptions"),
        Call("CONCATENATION", [6, 3], 7, "ConcatenationOptions", {"axis": 1}),
    ]
    return graph_of(tensors, calls)


def gate() -> bytes:
    """Return x * relu6(x + 3), which is a table of int8, and two operators of float32."""
    tensors = [real((1, 300)), real((), np.float32(3)), real((1, 300)), real((1, 300))]
    add = Call("ADD", [0, 1], 2, "AddOptions", {"fusedActivationFunction": 3})
    return graph_of(tensors, [add, Call("MUL", [0, 2], 3, "MulOptions")])


def halves() -> bytes:
    """Return a product with constants of 16 bits, which LiteRT dequantises in each run."""
    constant = Values((1, 10), content=CHANCE.standard_normal((1, 10)).astype(np.float16))
    tensors = [real(IMAGE), constant, real((1, 10)), real(IMAGE)]
    calls = [Call("DEQUANTIZE", [1], 2, "DequantizeOptions"), Call("MUL", [0, 2], 3, "MulOptions")]
    return graph_of(tensors, calls)


def product() -> bytes:
    """Return the product of three pairs of matrices, the second ones constants."""
    tensors = [real((3, 5, 8)), real((3, 8, 7), floats(3, 8, 7)), real((3, 5, 7))]
    return model("BATCH_MATMUL", tensors, "BatchMatMulOptions")


def softmax(beta: float) -> bytes:
    return model("SOFTMAX", [real((4, 9)), real((4, 9))], "SoftmaxOptions", beta=beta)


IMAGE = (1, 3, 4, 10)
CASES = {
    "pointwise": conv(n_scales=7),
    "pointwise, one scale": conv(n_scales=1),
    "pointwise, float": conv(n_out=8),
    "pointwise, relu6": conv((3, 3, 5), n_scales=7, fusedActivationFunction=3),
    "3 by 3, same": conv((6, 7, 3), (3, 3), padding=0, stride=2, n_scales=7),
    "3 by 3, dilated": conv((9, 8, 3), (3, 3), dilation=2),
    "first layer": conv((8, 9, 1), (3, 3), 8, 2, 0, True, fusedActivationFunction=1),
    "depthwise": conv((7, 6, 8), (3, 3), 8, 1, 0, True, n_scales=8),
    "depthwise, float, odd": conv((7, 6, 7), (3, 3), 7, 2, 1, True),
    "depthwise, 5 by 5, odd": conv((9, 1, 6), (5, 5), 6, 2, 0, True, n_scales=6),
    "depthwise, dilated": conv((9, 8, 5), (3, 3), 5, 1, 0, True, dilation=2, n_scales=5),
    "fully connected": dense(1, 320, 80, n_scales=80),
    "fully connected, rows": dense(9, 21, 5, n_scales=5),
    "fully connected, no bias": dense(3, 21, 6, has_bias=False),
    "fully connected, widening": dense(9, 3, 40, n_scales=40),
    "add": binary("ADD", IMAGE, floats(*IMAGE)),
    "add, one value": binary("ADD", IMAGE, floats(1, 1)),
    "sub, from one value": binary("SUB", np.array(1.0, np.float32), IMAGE, 1),
    "mul, for each channel": binary("MUL", IMAGE, floats(1, 10)),
    "div, of one value": binary("DIV", np.full((1, 1), 0.5, np.float32), IMAGE),
    "hard swish": unary("HARD_SWISH", "HardSwishOptions"),
    "logistic": unary("LOGISTIC"),
    "relu": unary("RELU"),
    "matrices": product(),
    "softmax": softmax(1.0),
    "softmax, sharper": softmax(3.0),
    "mean": mean((1, 2), (1, 5)),
    "mean, last axis": mean((3,), (1, 4, 6)),
    "padded": padded(),
    "pad": padded(reads=False),
    "cut and joined": cut_and_joined(),
    "gate": gate(),
    "halves": halves(),
}  # fmt: skip


def drawn(content: bytes, seed: int) -> Any:
    graph = read_graph(content)
    shape = graph.tensors[graph.inputs[0]].shape
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return values * np.float32(3.0) + np.where(values < 0, np.float32(-0.1), np.float32(0.1))


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_litert_gives(name: str, tmp_path: Path) -> None:
    content = CASES[name]
    run = in_c(content, tmp_path / "network")
    for seed in range(5):
        wanted = by_litert(content, drawn(content, seed))
        given = run(drawn(content, seed)).view(np.float32)
        assert np.abs(wanted - given).max() <= NEAR * np.abs(wanted).max()
        assert len(np.unique(wanted)) >= 5


@pytest.mark.needs("gcc")
def test_sums_are_taken_in_order_and_not_fused(tmp_path: Path) -> None:
    """Bit by bit: each product is rounded, and so is each sum, from the first to the last."""
    content = dense(6, 37, 3)
    graph = read_graph(content)
    weights, bias = (graph.tensors[i].values() for i in graph.operators[0].inputs[1:])
    rows = drawn(content, 0)
    sums = np.zeros((6, 3), np.float32)
    for i in range(37):
        sums += rows[:, i : i + 1] * weights[:, i]
    given = in_c(content, tmp_path / "network")(rows).view(np.float32)
    assert np.array_equal(given.reshape(6, 3), sums + bias)


def logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def hard_swish(x: Any) -> Any:
    return x * np.clip(x + 3, 0, 6) / 6


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(
    ("content", "function"),
    [(CASES["logistic"], logistic), (CASES["hard swish"], hard_swish)],
    ids=["logistic", "hard swish"],
)
def test_functions_hold_over_a_wide_range(content: bytes, function: Any, tmp_path: Path) -> None:
    run = in_c(content, tmp_path / "network")
    values = np.linspace(-87, 87, 300, dtype=np.float32)
    values[:4] = [1e-42, -1e-42, 0, 3e38]
    with np.errstate(over="ignore"):
        wanted = function(values.astype(np.float64))
    given = run(values[None]).view(np.float32)
    assert np.allclose(given[:-1], wanted[:-1], rtol=3e-7, atol=1e-37)


@pytest.mark.parametrize("name", ["padded", "pointwise", "halves"])
def test_what_is_folded_takes_no_step(name: str) -> None:
    assert len(lower(read_graph(CASES[name])).steps) == 1


def test_forms_that_there_is_no_c_for_are_named() -> None:
    lopsided = Values((1, 10), 0.1, 3, np.zeros((1, 10), np.int8))
    with pytest.raises(InputError, match="computes in float32, int8"):
        lower(read_graph(model("QUANTIZE", [real(IMAGE), Values(IMAGE, 0.1)])))
    tensors = [real((1, 10)), lopsided, real((1, 10)), real((1, 1))]
    calls = [Call("DEQUANTIZE", [1], 2), Call("FULLY_CONNECTED", [0, 2], 3)]
    with pytest.raises(InputError, match="int8 weights lie around zero"):
        lower(read_graph(graph_of(tensors, calls)))
    with pytest.raises(InputError, match="has CUMSUM, which there is no C for"):
        lower(read_graph(model("CUMSUM", [real((1, 4)), real((1, 4))])))
