"""Constants of fewer bits: weights stay int8, all else becomes float, what is computed is left."""

from __future__ import annotations

import numpy as np

from listen_embed import registry, store
from listen_embed.dequantising import without_dequantised
from listen_embed.graph import read_graph

from .device.one import Call, Values, graph_of


def real(*shape: int) -> Values:
    return Values(shape, dtype=np.float32)


def test_weights_stay_and_other_constants_become_float() -> None:
    content = np.arange(-4, 4).astype(np.int8).reshape(2, 4)
    shared = Values((2, 4), [0.5, 0.25], 0, content)
    dequantise = Call("DEQUANTIZE", [1], 2)
    tensors = [real(1, 4), shared, real(2, 4), real(1, 2)]
    weighted = without_dequantised(
        read_graph(graph_of(tensors, [dequantise, Call("FULLY_CONNECTED", [0, 2], 3)]))
    )
    assert [op.name for op in weighted.operators] == ["FULLY_CONNECTED"]
    assert weighted.tensors[weighted.operators[0].inputs[1]].type == "INT8"
    tensors[0], tensors[3] = real(2, 4), real(2, 4)
    added = without_dequantised(read_graph(graph_of(tensors, [dequantise, Call("ADD", [0, 2], 3)])))
    constant = added.tensors[added.operators[0].inputs[1]]
    assert (constant.type, constant.size_bytes) == ("FLOAT32", 32)
    assert np.array_equal(constant.values(), content * np.array([[0.5], [0.25]], np.float32))


def test_what_is_computed_is_dequantised_in_each_run() -> None:
    graph = read_graph(graph_of([Values((1, 4), 0.1), real(1, 4)], [Call("DEQUANTIZE", [0], 1)]))
    assert without_dequantised(graph) == graph


def test_an_integer_network_is_left_as_it_is() -> None:
    graph = read_graph(store.load(registry.find("sea/32/nano")))
    assert without_dequantised(graph) == graph
