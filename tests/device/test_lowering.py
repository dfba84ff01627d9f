"""Each operator by itself against LiteRT and TFLite Micro, bit by bit, ties included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.device.lowering import lower
from listen_embed.errors import InputError
from listen_embed.graph import read_graph

from .one import Call, Values, by_litert, by_tflm, graph_of, in_c, model

SOFT = ("-DLISTEN_SOFT_FLOAT=1",)
# (input scale, weight scale, output scale): sums land on whole halves, and they do not.
TIES, NO_TIES = (0.5, 0.25, 32.0), (0.0371, 0.00912, 0.085)
CHANNELS_LAST = {"dilationWFactor": 1, "dilationHFactor": 1}


def weights(shape: tuple[int, ...], seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def bias(n: int) -> Any:
    return np.random.default_rng(2).integers(-3000, 3000, n).astype(np.int32)


def conv(
    scales: tuple[float, float, float],
    taken: tuple[int, int, int] = (5, 6, 8),
    kernel: tuple[int, int] = (1, 1),
    n_out: int = 7,
    stride: int = 1,
    padding: int = 1,
    activation: int = 0,
    depthwise: bool = False,
    images: int = 1,
) -> bytes:
    height, width, n_in = taken
    given = (
        tuple(-(-n // stride) for n in (height, width))
        if padding == 0
        else tuple((n - k) // stride + 1 for n, k in zip((height, width), kernel, strict=True))
    )
    multiplier = n_out // n_in if depthwise else 0
    shape = (1, *kernel, n_out) if depthwise else (n_out, *kernel, n_in)
    each = (
        [scales[1]] * n_out if scales == TIES else [scales[1] * (1 + i / 9) for i in range(n_out)]
    )
    tensors = [
        Values((images, *taken), scales[0], -5),
        Values(shape, each, 0, weights(shape), axis=3 if depthwise else 0),
        Values((n_out,), [scales[0] * scale for scale in each], 0, bias(n_out)),
        Values((images, *given, n_out), scales[2], 9),
    ]
    fields = {"strideW": stride, "strideH": stride, "padding": padding, **CHANNELS_LAST}
    fields["fusedActivationFunction"] = activation
    if depthwise:
        return model(
            "DEPTHWISE_CONV_2D",
            tensors,
            "DepthwiseConv2DOptions",
            depthMultiplier=multiplier,
            **fields,
        )
    return model("CONV_2D", tensors, "Conv2DOptions", **fields)


def fully_connected(scales: tuple[float, float, float]) -> bytes:
    tensors = [
        Values((12, 21), scales[0], 3),
        Values((10, 21), scales[1], 0, weights((10, 21))),
        Values((10,), scales[0] * scales[1], 0, bias(10)),
        Values((12, 10), scales[2], -7),
    ]
    return model("FULLY_CONNECTED", tensors, "FullyConnectedOptions", keepNumDims=True)


def binary(
    name: str, scales: tuple[float, float, float], activation: int = 0, size: int = 0
) -> bytes:
    """Return an operator on (1, 3, 4, 10) and a constant of as much, or of `size` values."""
    shape = (1, 3, 4, 10)
    other = shape if not size else (size,)
    tensors = [
        Values(shape, scales[0], -11),
        Values(other, scales[1], 6, weights(other)),
        Values(shape, scales[2], 5),
    ]
    options = f"{name.title()}Options"
    return model(name, tensors, options, fusedActivationFunction=activation)


def to_the_mean() -> bytes:
    """Return what each value of a row lies below a value of the row's own."""
    tensors = [
        Values((1, 12, 1, 1), 0.031, -20),
        Values((1, 12, 25, 1), 0.043, 7),
        Values((1, 12, 25, 1), 0.0215, -128),
    ]
    return model("SUB", tensors, "SubOptions", fusedActivationFunction=1)


def mean(scales: tuple[float, float, float], n: int = 24, zero: int = -100) -> bytes:
    tensors = [
        Values((1, 4, n // 4, 6), scales[0], 2),
        Values((2,), 0.0, 0, np.array([1, 2], np.int32)),
        Values((1, 6), scales[2], zero),
    ]
    return model("MEAN", tensors, "ReducerOptions", keepDims=False)


def unary(name: str, given: tuple[float, int] = (1 / 256, -128)) -> bytes:
    options = {"HARD_SWISH": "HardSwishOptions"}.get(name, "")
    return model(name, [Values((1, 300), 0.043, 7), Values((1, 300), *given)], options)


def gate() -> bytes:
    """Return x * relu6(x + 3), which is six times the hard swish of x."""
    shape = (1, 300)
    tensors = [
        Values(shape, 0.043, 7),
        Values((), 0.0118, -128, np.array(126, np.int8)),
        Values(shape, 6 / 255, -128),
        Values(shape, 0.25, -120),
    ]
    add = Call("ADD", [0, 1], 2, "AddOptions", {"fusedActivationFunction": 3})
    return graph_of(tensors, [add, Call("MUL", [0, 2], 3, "MulOptions")])


def padded() -> bytes:
    """Return a 3 by 3 depthwise convolution behind a padding."""
    tensors = [
        Values((1, 7, 6, 4), 0.03, 5),
        Values((4, 2), 0.0, 0, np.array([[0, 0], [1, 1], [1, 2], [0, 0]], np.int32)),
        Values((1, 9, 9, 4), 0.03, 5),
        Values((1, 3, 3, 4), [0.01] * 4, 0, weights((1, 3, 3, 4)), axis=3),
        Values((4,), [0.0003] * 4, 0, bias(4)),
        Values((1, 4, 4, 4), 0.06, -3),
    ]
    fields = {"strideW": 2, "strideH": 2, "padding": 1, "depthMultiplier": 1, **CHANNELS_LAST}
    pad = Call("PAD", [0, 1], 2, "PadOptions")
    conv = Call("DEPTHWISE_CONV_2D", [2, 3, 4], 5, "DepthwiseConv2DOptions", fields)
    return graph_of(tensors, [pad, conv])


def transposed_mean() -> bytes:
    tensors = [
        Values((1, 4, 6, 5), 0.03, 2),
        Values((4,), 0.0, 0, np.array([0, 3, 1, 2], np.int32)),
        Values((1, 5, 4, 6), 0.03, 2),
        Values((2,), 0.0, 0, np.array([2, 3], np.int32)),
        Values((1, 5), 0.011, -100),
    ]
    order = Call("TRANSPOSE", [0, 1], 2, "TransposeOptions")
    mean = Call("MEAN", [2, 3], 4, "ReducerOptions", {"keepDims": False})
    return graph_of(tensors, [order, mean])


def pooled(
    kernel: tuple[int, int], stride: tuple[int, int], padding: int = 1, images: int = 1
) -> bytes:
    """Return means under a window of (images, 5, 22, 6)."""
    size = (5, 22)
    given = (
        tuple(-(-n // step) for n, step in zip(size, stride, strict=True))
        if padding == 0
        else tuple((n - k) // s + 1 for n, k, s in zip(size, kernel, stride, strict=True))
    )
    fields = {"strideH": stride[0], "strideW": stride[1], "padding": padding}
    fields |= {"filterHeight": kernel[0], "filterWidth": kernel[1]}
    tensors = [Values((images, *n, 6), 0.03, -7) for n in (size, given)]
    return model("AVERAGE_POOL_2D", tensors, "Pool2DOptions", **fields)


def product(scales: tuple[float, float, float], a: tuple[int, ...], b: tuple[int, ...]) -> bytes:
    """Return a product of two matrices, or of several pairs, that are both computed."""
    tensors = [
        Values(a, scales[0], -11),
        Values(b, scales[1], 6),
        Values((*a[:-1], b[-1]), scales[2], 5),
    ]
    return model("BATCH_MATMUL", tensors, "BatchMatMulOptions")


def softmax(scale: float, n: int, beta: float = 1.0) -> bytes:
    shape = (2, 12, n)
    tensors = [Values(shape, scale, 3), Values(shape, 1 / 256, -128)]
    return model("SOFTMAX", tensors, "SoftmaxOptions", beta=beta)


def waveform(n: int = 40_000) -> bytes:
    """Return a strided convolution along a row that is longer than 16 bits count."""
    tensors = [
        Values((1, 1, n, 1), 0.0371, -5),
        Values((1, 1, 64, 8), [0.00912] * 8, 0, weights((1, 1, 64, 8)), axis=3),
        Values((8,), [0.0371 * 0.00912] * 8, 0, bias(8)),
        Values((1, 1, n // 16, 8), 0.5, 9),
    ]
    fields = {"strideW": 16, "strideH": 1, "padding": 0, "depthMultiplier": 8, **CHANNELS_LAST}
    return model("DEPTHWISE_CONV_2D", tensors, "DepthwiseConv2DOptions", **fields)


CASES = {
    "waveform": waveform(),
    "pool of a row": pooled((1, 4), (1, 4)),
    "pool, ties and overlaps": pooled((2, 2), (1, 1)),
    "pool, same": pooled((3, 5), (2, 2), padding=0),
    "pool of two images": pooled((2, 3), (2, 3), images=2),
    "3 by 3 of three images": conv(NO_TIES, (6, 7, 4), (3, 3), padding=0, stride=2, images=3),
    "depthwise of two images": conv(
        NO_TIES, (7, 6, 12), (3, 3), 12, 1, 0, 1, depthwise=True, images=2
    ),
    "first layer of two images": conv(NO_TIES, (8, 9, 1), (3, 3), 8, 2, 0, 1, True, images=2),
    "product": product(NO_TIES, (4, 7, 24), (4, 24, 15)),
    "product, ties": product(TIES, (3, 5, 17), (3, 17, 7)),
    "product, one row": product((1 / 256, 0.0033, 0.0018), (1, 9), (9, 40)),
    "softmax": softmax(0.05, 15),
    "softmax, flat": softmax(0.003, 7),
    "softmax, steep": softmax(0.4, 40),
    "softmax, twice as steep": softmax(0.1, 9, 2.0),
    "gate": gate(),
    "padded": padded(),
    "transposed mean": transposed_mean(),
    "pointwise": conv(NO_TIES),
    "pointwise, ties": conv(TIES),
    "pointwise, odd": conv(NO_TIES, (3, 3, 7), n_out=5),
    "pointwise, deep": conv(NO_TIES, (3, 5, 24), n_out=9),
    "deep": conv(NO_TIES, (1, 2, 96), n_out=31),
    "pointwise, one column": conv(NO_TIES, (6, 1, 24), n_out=32),
    "pointwise, one pixel": conv(NO_TIES, (1, 1, 40), n_out=6),
    "pointwise, wide and relu": conv(NO_TIES, (9, 7, 16), n_out=10, activation=1),
    "3 by 3, same": conv(NO_TIES, (6, 7, 3), (3, 3), padding=0, stride=2),
    "3 by 3, relu6": conv(NO_TIES, (6, 7, 4), (3, 3), activation=3),
    "first layer": conv(NO_TIES, (8, 9, 1), (3, 3), 16, 2, 0, 1, depthwise=True),
    "depthwise": conv(NO_TIES, (7, 6, 12), (3, 3), 12, 1, 0, 1, depthwise=True),
    "depthwise, stride 2, relu6": conv(NO_TIES, (9, 11, 8), (3, 3), 8, 2, 0, 3, depthwise=True),
    "depthwise, 5 by 5": conv(NO_TIES, (7, 9, 8), (5, 5), 8, 1, 0, depthwise=True),
    "depthwise, 5 by 5, stride 2": conv(NO_TIES, (9, 8, 4), (5, 5), 4, 2, 0, depthwise=True),
    "depthwise, 2 by 4": conv(NO_TIES, (6, 9, 8), (2, 4), 8, 1, 0, depthwise=True),
    "depthwise, a long row": conv(NO_TIES, (1, 300, 5), (1, 3), 5, 1, 0, depthwise=True),
    "first layer, 5 by 5": conv(NO_TIES, (8, 9, 1), (5, 5), 7, 1, 0, depthwise=True),
    "depthwise, ties": conv(TIES, (7, 6, 8), (3, 3), 8, 2, 1, depthwise=True),
    "depthwise, 5 by 5, odd": conv(NO_TIES, (9, 8, 6), (5, 5), 6, 2, 0, depthwise=True),
    "fully connected": fully_connected(NO_TIES),
    "fully connected, ties": fully_connected(TIES),
    "add": binary("ADD", (0.03, 0.05, 0.06)),
    "add, ties": binary("ADD", (0.5, 0.25, 1.0)),
    "add, one value, relu6": binary("ADD", (0.03, 0.0118, 0.0471), 3, 1),
    "difference": binary("SUB", (0.03, 0.05, 0.06)),
    "difference, ties": binary("SUB", (0.5, 0.25, 1.0)),
    "difference, for each channel": binary("SUB", (0.03, 0.05, 0.06), 1, size=10),
    "difference to each row's mean": to_the_mean(),
    "add, for each channel": binary("ADD", (0.03, 0.05, 0.06), size=10),
    "mul": binary("MUL", (0.03, 0.05, 0.06)),
    "mul, ties": binary("MUL", (0.5, 0.25, 0.25)),
    "mul, for each channel, relu": binary("MUL", (0.03, 0.05, 0.06), 1, 10),
    "mean": mean((0.03, 0, 0.011)),
    "mean of 208": mean((0.0389, 0, 0.00916), 208),
    "mean, ties": mean((0.5, 0, 0.125), 32),
    "mean, ties beside an odd zero point": mean((0.02, 0, 0.02), 24, 5),
    "hard swish": unary("HARD_SWISH", (0.04, -120)),
    "logistic": unary("LOGISTIC"),
    "relu": unary("RELU", (0.043, 7)),
}


def inputs(content: bytes, seed: int = 0) -> list[Any]:
    graph, chance = read_graph(content), np.random.default_rng(seed)
    shapes = [graph.tensors[i].shape for i in graph.inputs]
    return [chance.integers(-128, 128, shape).astype(np.int8) for shape in shapes]


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("name", CASES)
def test_an_operator_equals_litert_with_and_without_a_floating_point_unit(
    name: str, tmp_path: Path
) -> None:
    hard = in_c(CASES[name], tmp_path / "hard")
    soft = in_c(CASES[name], tmp_path / "soft", flags=SOFT)
    drawn = [inputs(CASES[name], seed) for seed in range(20)]
    wanted = np.stack([by_litert(CASES[name], *given) for given in drawn])
    assert np.array_equal(np.stack([hard(*given) for given in drawn]), wanted)
    assert np.array_equal(np.stack([soft(*given) for given in drawn]), wanted)
    assert len(np.unique(wanted)) > 20


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("name", CASES)
def test_an_operator_in_reference_rounding_equals_tflite_micro(name: str, tmp_path: Path) -> None:
    run = in_c(CASES[name], tmp_path / "reference", "reference")
    for seed in range(20):
        given = inputs(CASES[name], seed)
        assert np.array_equal(run(*given), by_tflm(CASES[name], *given))


@pytest.mark.needs("gcc")
def test_means_beside_a_half_round_as_litert_does(tmp_path: Path) -> None:
    """Of many sums a few end so near to a half that the order of the zero points decides."""
    tensors = [
        Values((1, 4, 4, 8000), 0.0305, -117),
        Values((2,), 0.0, 0, np.array([1, 2], np.int32)),
        Values((1, 8000), 0.00635, -80),
    ]
    chance = np.random.default_rng(0)
    for trial in range(6):
        tensors[0].scale = float(chance.uniform(0.01, 0.06))
        tensors[2].scale = tensors[0].scale * float(chance.uniform(0.12, 0.6))
        content = model("MEAN", tensors, "ReducerOptions", keepDims=False)
        run = in_c(content, tmp_path / str(trial))
        for seed in range(40):
            given = np.random.default_rng(seed).integers(-120, -70, (1, 4, 4, 8000)).astype(np.int8)
            assert np.array_equal(run(given), by_litert(content, given))


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("mode", ["xnn", "reference"])
def test_shares_of_a_half_step_round_as_their_interpreter_does(mode: Any, tmp_path: Path) -> None:
    """512 equal values have half a step each; 170 and 171 lie beside one and a half."""
    for n in (170, 171) if mode == "reference" else (170, 171, 512):
        tensors = [Values((1, n), 0.05, 3), Values((1, n), 1 / 256, -128)]
        content = model("SOFTMAX", tensors, "SoftmaxOptions", beta=1.0)
        given = np.zeros((1, n), np.int8)
        wanted = (by_litert if mode == "xnn" else by_tflm)(content, given)
        assert np.array_equal(in_c(content, tmp_path / f"{mode}{n}", mode)(given), wanted)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("mode", ["xnn", "reference"])
def test_shares_of_any_scale_and_length_are_equal(mode: Any, tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    for trial in range(8):
        n, scale = int(chance.integers(2, 60)), float(chance.uniform(0.001, 0.3))
        content = softmax(scale, n)
        run = in_c(content, tmp_path / str(trial), mode)
        for _ in range(10):
            spread = int(chance.integers(1, 128))
            given = chance.integers(-spread, spread, (2, 12, n)).astype(np.int8)
            wanted = (by_litert if mode == "xnn" else by_tflm)(content, given)
            assert np.array_equal(run(given), wanted)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (product(NO_TIES, (2, 3, 40_000), (2, 40_000, 2)), "may not fit 32 bits"),
        (model("BATCH_MATMUL", [Values((2, 3), 1), Values((2, 3), 1), Values((2, 2), 1)],
               "BatchMatMulOptions", adjY=True), "as they are"),
        (model("SOFTMAX", [Values((1, 4), 1), Values((1, 4), 0.1)], "SoftmaxOptions", beta=1.0),
         "takes 1/256"),
    ],
)  # fmt: skip
def test_forms_that_there_is_no_kernel_for_are_named(content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        lower(read_graph(content))


def test_sums_end_on_halves_in_the_cases_that_are_called_so() -> None:
    """Halves must occur, or the tests above would not see how they are rounded."""
    w = weights((7, 1, 1, 8)).reshape(7, 8).astype(int)
    drawn = np.stack([inputs(CASES["pointwise, ties"], seed)[0] for seed in range(20)])
    sums = (drawn.reshape(-1, 8).astype(int) + 5) @ w.T + bias(7)
    steps = sums * (TIES[0] * TIES[1] / TIES[2])
    in_range = np.abs(steps) < 100
    assert ((steps % 1 == 0.5) & in_range).sum() >= 5


@pytest.mark.parametrize("name", ["gate", "padded", "transposed mean"])
def test_two_operators_become_one_step(name: str) -> None:
    assert len(lower(read_graph(CASES[name])).steps) == 1


def test_a_missing_operator_is_named() -> None:
    content = model("CUMSUM", [Values((1, 4), 0.1), Values((1, 4), 0.1)], "CumsumOptions")
    with pytest.raises(InputError, match="has CUMSUM, which there is no C for"):
        lower(read_graph(content))
