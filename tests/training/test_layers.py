"""Weights read from a file: the arrays that were written, in torch's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from listen_embed.errors import ConversionError
from listen_embed.graph import read_graph
from listen_embed.training.layers import layers
from listen_embed.upstream.graph import GraphBuilder, Tensor, schema

from .graphs import changed, one

RNG = np.random.default_rng(0)
KERNELS, CHANNELS, LINEAR = (
    RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 3, 3, 1), (3, 3, 4), (5, 4))
)


def chain(graph: GraphBuilder, x: Tensor) -> Tensor:
    x = graph.hard_swish(graph.conv2d(x, KERNELS, np.arange(4), stride=2))
    x = graph.mean(graph.depthwise_conv2d(x, CHANNELS, np.ones(4)), [1, 2])
    return graph.fully_connected(x, LINEAR, np.zeros(5))


def test_layers_come_in_order_as_torch_has_them() -> None:
    convolution, depthwise, linear = layers(read_graph(one((1, 8, 6, 1), chain)))
    np.testing.assert_array_equal(convolution.weight, KERNELS.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(convolution.bias, np.arange(4))
    np.testing.assert_array_equal(depthwise.weight, CHANNELS.transpose(2, 0, 1)[:, None])
    np.testing.assert_array_equal(linear.weight, LINEAR)
    found = [
        (layer.n_rows, layer.stride, layer.is_hard_swish) for layer in (convolution, depthwise)
    ]
    assert found == [(4, (2, 2), True), (4, (1, 1), False)]


@pytest.mark.parametrize(("kind", "axis"), [("CONV_2D", 0), ("DEPTHWISE_CONV_2D", 3)])
def test_integers_are_given_their_scales(kind: str, axis: int) -> None:
    stored = RNG.integers(-127, 128, (4, 3, 3, 4) if axis == 0 else (1, 3, 3, 4))
    scales = np.array([0.5, 0.25, 2, 1], np.float32)

    def build(graph: GraphBuilder, x: Tensor) -> Tensor:
        add = graph.conv2d if axis == 0 else graph.depthwise_conv2d
        weights = stored if axis == 0 else stored[0]
        return add(x, weights.astype(np.float32), np.zeros(4))

    def store_integers(tree: Any) -> None:
        table = schema()
        weight = next(t for t in tree.subgraphs[0].tensors if tuple(t.shape) == stored.shape)
        weight.type = table.TensorType.INT8
        weight.quantization = table.QuantizationParametersT()
        weight.quantization.scale, weight.quantization.zeroPoint = scales, np.zeros(4, np.int64)
        weight.quantization.quantizedDimension = axis
        tree.buffers[weight.buffer].data = stored.astype(np.int8).view(np.uint8).ravel()

    (layer,) = layers(read_graph(changed(one((1, 8, 6, 4), build), store_integers)))
    assert layer.kind == kind
    order = (0, 3, 1, 2) if axis == 0 else (3, 0, 1, 2)
    np.testing.assert_array_equal(
        layer.weight, stored.transpose(order) * scales.reshape(4, 1, 1, 1)
    )


def test_weights_that_are_not_in_the_file_are_said() -> None:
    def cut_short(tree: Any) -> None:
        for buffer in tree.buffers:
            buffer.data = None if buffer.data is None else buffer.data[:4]

    with pytest.raises(ConversionError, match=r"a damaged \.tflite: tensor"):
        layers(read_graph(changed(one((1, 8, 6, 1), chain), cut_short)))
