"""Every operator of the graph builder against numpy, and the file that it writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import ConversionError, RuntimeUnavailableError
from listen_embed.upstream import graph as graph_module
from listen_embed.upstream.graph import GraphBuilder, Tensor, schema

from . import reference as ref

Build = Callable[[GraphBuilder, Tensor], Tensor]


def one(shape: tuple[int, ...], build: Build) -> bytes:
    graph = GraphBuilder()
    return graph.finish([build(graph, graph.input(shape))])


def check(x: Any, build: Build, expected: Any, atol: float = 1e-5) -> None:
    """The operator gives what numpy gives, and says its shape beforehand."""
    graph = GraphBuilder()
    tensor = build(graph, graph.input(x.shape))
    found = ref.run(graph.finish([tensor]), x)
    assert found.shape == tensor.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=atol, rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 5)])
def test_conv2d(rng: Any, stride: int, padding: Any, size: tuple[int, int]) -> None:
    x = rng.standard_normal((1, 9, 12, 3))
    weights, bias = rng.standard_normal((4, *size, 3)), rng.standard_normal(4)
    image = ref.pad_same(x[0], size, stride, 0) if padding == "same" else x[0]
    expected = ref.relu(ref.conv2d(image, weights.transpose(1, 2, 3, 0), bias, stride))[None]
    check(
        x,
        lambda g, t: g.conv2d(t, weights, bias, stride=stride, padding=padding, activation="relu"),
        expected,
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_depthwise_conv2d(rng: Any, stride: int, padding: Any) -> None:
    x = rng.standard_normal((1, 8, 11, 5))
    weights, bias = rng.standard_normal((5, 3, 5)), rng.standard_normal(5)
    image = ref.pad_same(x[0], (5, 3), stride, 0) if padding == "same" else x[0]
    expected = ref.depthwise(image, weights, bias, stride)[None]
    check(
        x,
        lambda g, t: g.depthwise_conv2d(t, weights, bias, stride=stride, padding=padding),
        expected,
    )


@pytest.mark.parametrize("size", [(2, 2), (4, 3), (7, 10)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_max_pool(rng: Any, size: tuple[int, int], padding: Any) -> None:
    x = rng.standard_normal((1, 7, 10, 3)) - 9  # negative: padding with zeros would show
    image = ref.pad_same(x[0], size, size, -np.inf) if padding == "same" else x[0]
    expected = ref.max_pool(image, size)[None]
    check(x, lambda g, t: g.max_pool(t, size, padding=padding), expected)


def test_pad(rng: Any) -> None:
    x = rng.standard_normal((1, 3, 4, 2))
    widths = [(0, 0), (1, 2), (0, 3), (0, 0)]
    check(x, lambda g, t: g.pad(t, widths), np.pad(x, widths))


@pytest.mark.parametrize("axes", [(1, 2), (3,), (0, 1, 2, 3)])
@pytest.mark.parametrize("keep_dims", [True, False])
def test_mean(rng: Any, axes: tuple[int, ...], keep_dims: bool) -> None:
    x = rng.standard_normal((1, 3, 4, 5))
    expected = x.mean(axes, keepdims=keep_dims)
    check(x, lambda g, t: g.mean(t, axes, keep_dims=keep_dims), np.asarray(expected))


@pytest.mark.parametrize("rows", [1, 7])
def test_fully_connected(rng: Any, rows: int) -> None:
    x, weights, bias = (rng.standard_normal(shape) for shape in ((rows, 6), (4, 6), (4,)))
    check(x, lambda g, t: g.fully_connected(t, weights, bias), x @ weights.T + bias)
    check(
        x,
        lambda g, t: g.fully_connected(t, weights, bias, activation="relu"),
        ref.relu(x @ weights.T + bias),
    )


@pytest.mark.parametrize("transpose_y", [True, False])
def test_batch_matmul(rng: Any, transpose_y: bool) -> None:
    x, y = rng.standard_normal((4, 6, 3)), rng.standard_normal((4, 3, 5))
    right = y.transpose(0, 2, 1) if transpose_y else y
    check(x, lambda g, t: g.batch_matmul(t, g.constant(right), transpose_y=transpose_y), x @ y)


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (5,), (1, 1, 1, 1), (3, 1, 5)])
def test_binary_operators_broadcast(rng: Any, shape: tuple[int, ...]) -> None:
    x, y = rng.standard_normal((1, 3, 4, 5)), rng.standard_normal(shape)
    check(x, lambda g, t: g.add(t, y), x + y)
    check(x, lambda g, t: g.sub(t, y), x - y)
    check(x, lambda g, t: g.mul(t, y), x * y)
    check(x, lambda g, t: g.squared_difference(t, y), (x - y) ** 2)


def test_binary_operators_take_two_tensors(rng: Any) -> None:
    x, y = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    graph = GraphBuilder()
    a, b = graph.input((2, 3), "a"), graph.input((2, 3), "b")
    np.testing.assert_allclose(ref.run(graph.finish([graph.sub(a, b)]), x, y), x - y, atol=1e-6)


def test_pointwise_operators(rng: Any) -> None:
    x = 4 * rng.standard_normal((2, 3, 5))
    check(x, lambda g, t: g.relu(t), ref.relu(x))
    check(x, lambda g, t: g.hard_swish(t), ref.hard_swish(x))
    check(x, lambda g, t: g.logistic(t), ref.sigmoid(x))
    check(x, lambda g, t: g.softmax(t), ref.softmax(x))
    check(np.exp(x), lambda g, t: g.rsqrt(t), 1 / np.sqrt(np.exp(x)), atol=1e-4)


def test_reshape_and_transpose(rng: Any) -> None:
    x = rng.standard_normal((2, 3, 4))
    check(x, lambda g, t: g.reshape(t, (6, 4)), x.reshape(6, 4))
    check(x, lambda g, t: g.transpose(t, (2, 0, 1)), x.transpose(2, 0, 1))


def test_layer_norm(rng: Any) -> None:
    x = 3 + 2 * rng.standard_normal((7, 16))
    scale, shift = rng.standard_normal(16), rng.standard_normal(16)
    expected = ref.layer_norm(x, scale, shift, 1e-5)
    check(x, lambda g, t: g.layer_norm(t, scale, shift, 1e-5), expected)


def test_equal_graphs_give_equal_bytes(rng: Any) -> None:
    weights, bias = rng.standard_normal((4, 3, 3, 2)), rng.standard_normal(4)
    first, second = (one((1, 8, 8, 2), lambda g, t: g.conv2d(t, weights, bias)) for _ in range(2))
    assert first == second
    assert first[4:8] == b"TFL3"


def test_equal_constants_are_stored_once(rng: Any) -> None:
    weights, bias = rng.standard_normal((64, 64)), np.zeros(64)

    def layers(graph: GraphBuilder, x: Tensor, count: int) -> Tensor:
        for _ in range(count):
            x = graph.fully_connected(x, weights, bias)
        return x

    once, often = (one((1, 64), lambda g, t, n=n: layers(g, t, n)) for n in (1, 5))
    assert len(often) - len(once) < 4 * weights.size


def test_buffers_are_aligned(rng: Any) -> None:
    constants = [rng.standard_normal(n).astype(np.float32) for n in (1, 3, 7, 30)]
    graph = GraphBuilder()
    x = graph.input((1,))
    for constant in constants:
        x = (
            graph.mul(x, constant)
            if constant.size == 1
            else graph.mean(graph.add(x, constant), [0])
        )
        x = graph.reshape(x, (1,))
    content = graph.finish([x])
    for constant in constants:
        assert content.find(constant.tobytes()) % 16 == 0
    assert np.isfinite(ref.run(content, np.ones(1))).all()


def test_operators_are_in_their_first_version(rng: Any) -> None:
    content = one((1, 4), lambda g, t: g.softmax(g.add(t, np.ones(4))))
    model = schema().ModelT.InitFromPackedBuf(content, 0)
    assert [code.version for code in model.operatorCodes] == [1, 1]
    assert [code.deprecatedBuiltinCode for code in model.operatorCodes] == [
        code.builtinCode for code in model.operatorCodes
    ]
    assert model.version == 3


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda g, t: g.conv2d(t, np.ones((4, 3, 3, 9)), np.ones(4)), "conv2d"),
        (lambda g, t: g.conv2d(t, np.ones((4, 3, 3, 2)), np.ones(5)), "bias"),
        (lambda g, t: g.conv2d(t, np.ones((4, 9, 3, 2)), np.ones(4), padding="valid"), "window"),
        (lambda g, t: g.depthwise_conv2d(t, np.ones((3, 3, 4)), np.ones(4)), "depthwise"),
        (lambda g, t: g.max_pool(g.reshape(t, (96,)), (2, 2)), "max_pool"),
        (lambda g, t: g.fully_connected(t, np.ones((4, 2)), np.ones(4)), "fully_connected"),
        (lambda g, t: g.batch_matmul(t, t), "batch_matmul"),
        (lambda g, t: g.add(t, np.ones(7)), "broadcast"),
        (lambda g, t: g.pad(t, [(1, 1)]), "pad"),
        (lambda g, t: g.reshape(t, (5,)), "reshape"),
        (lambda g, t: g.reshape(t, (1, 1, 6, 8, 2)), "axes"),
        (lambda g, t: g.transpose(t, (0, 1)), "transpose"),
    ],
)
def test_what_does_not_fit_is_refused(build: Build, words: str) -> None:
    with pytest.raises(ConversionError, match=words):
        one((1, 6, 8, 2), build)


def test_absent_schema_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(graph_module.importlib, "import_module", absent)
    with pytest.raises(RuntimeUnavailableError, match="pip install ai-edge-litert"):
        GraphBuilder()
