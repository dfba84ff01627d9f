"""A .tflite is read as it is, and hostile bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed import registry, store
from listen_embed.errors import ConversionError
from listen_embed.onnx.reader import read
from listen_embed.upstream.graph import GraphBuilder


def test_an_integer_network() -> None:
    network = read(store.load(registry.find("sea/32/nano")))
    given = network.tensors[network.inputs[0]]
    assert given.dtype == np.int8 and given.quantisation is not None
    kernels = [t for t in network.tensors if t.values is not None and len(t.shape) == 4]
    assert all(len(kernel.dequantised().shape) == 4 for kernel in kernels)
    each = next(k for k in kernels if k.quantisation and len(k.quantisation.scales) > 1)
    assert each.quantisation is not None and each.values is not None
    channel = np.take(each.dequantised(), 1, each.quantisation.axis)
    raw = np.take(each.values, 1, each.quantisation.axis)
    np.testing.assert_allclose(channel, raw * each.quantisation.scales[1], rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3", b"xxxxTFL3" + bytes(100)])
def test_bytes_that_are_no_network(content: bytes) -> None:
    with pytest.raises(ConversionError):
        read(content)


def test_a_network_that_is_cut_off_or_changed() -> None:
    content = store.load(registry.find("sea/32/nano"))
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 20):
            damaged[place] = rng.integers(256)
        try:
            read(bytes(damaged[: rng.integers(8, len(content))]))
        except ConversionError:
            continue


def test_two_outputs_are_not_ours() -> None:
    builder = GraphBuilder()
    x = builder.input((1, 4))
    with pytest.raises(ConversionError, match="and one output"):
        read(builder.finish([builder.relu(x), builder.logistic(x)]))
