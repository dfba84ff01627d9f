"""Each of TFLite's operators that the writer of .tflite knows, against the interpreter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from listen_embed.onnx.graph import Graph
from listen_embed.onnx.operators import Converter
from listen_embed.onnx.reader import read
from listen_embed.runtime import Network
from listen_embed.upstream.graph import GraphBuilder, Tensor

RNG = np.random.default_rng(3)
SHAPE = (1, 7, 10, 4)

Make = Callable[[GraphBuilder, Tensor], Tensor]


def values(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def softmax_of_products(b: GraphBuilder, x: Tensor) -> Tensor:
    rows = b.reshape(x, (1, 70, 4))
    return b.softmax(b.batch_matmul(rows, rows, transpose_y=True))


CASES: dict[str, Make] = {
    "conv same": lambda b, x: b.conv2d(x, values(5, 3, 3, 4), values(5), stride=2),
    "conv valid relu": lambda b, x: b.conv2d(
        x, values(5, 2, 3, 4), values(5), padding="valid", activation="relu"
    ),
    "depthwise": lambda b, x: b.depthwise_conv2d(x, values(5, 3, 4), values(4), stride=2),
    "max pool": lambda b, x: b.max_pool(x, (2, 2)),
    "max pool same": lambda b, x: b.max_pool(x, (2, 3), padding="same"),
    "pad": lambda b, x: b.pad(x, [(0, 0), (1, 2), (0, 3), (0, 0)]),
    "fully connected": lambda b, x: b.fully_connected(
        b.reshape(x, (70, 4)), values(6, 4), values(6), activation="relu"
    ),
    "batch matmul": lambda b, x: b.batch_matmul(x, b.constant(values(1, 7, 4, 3))),
    "softmax": softmax_of_products,
    "add": lambda b, x: b.add(x, values(1, 1, 1, 4)),
    "sub": lambda b, x: b.sub(x, values(10, 4)),
    "mul": lambda b, x: b.mul(x, x),
    "squared difference": lambda b, x: b.squared_difference(x, values(4)),
    "mean": lambda b, x: b.mean(x, [1, 2]),
    "mean kept": lambda b, x: b.mean(x, [3], keep_dims=True),
    "relu": lambda b, x: b.relu(x),
    "hard swish": lambda b, x: b.hard_swish(x),
    "logistic": lambda b, x: b.logistic(x),
    "rsqrt": lambda b, x: b.rsqrt(b.add(b.mul(x, x), np.array([0.1]))),
    "transpose": lambda b, x: b.transpose(x, [0, 2, 3, 1]),
    "layer norm": lambda b, x: b.layer_norm(x, values(4), values(4), 1e-5),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_the_interpreter_gives(name: str) -> None:
    builder = GraphBuilder()
    made = CASES[name](builder, builder.input(SHAPE))
    content = builder.finish([made])
    graph = Graph()
    value = graph.input("x", SHAPE)
    model = graph.finish(Converter(read(content), graph).convert(value), "y", made.shape, {})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = values(*SHAPE)
    (theirs,) = session.run(None, {"x": x})
    ours = Network(content)(x)[0].reshape(made.shape)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
