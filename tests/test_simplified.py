"""Simpler graphs: weights stay int8, other constants become float; a state is no end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from listen_embed import registry, store
from listen_embed.errors import ConversionError
from listen_embed.graph import Graph, read_graph
from listen_embed.simplified import without_dequantised, without_state

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


def adding() -> Graph:
    """Return x + state, which is the embedding and, doubled, the next state."""
    calls = [Call("ADD", [0, 1], 2, "AddOptions"), Call("ADD", [2, 2], 3, "AddOptions")]
    graph = read_graph(graph_of([real(1, 4) for _ in range(4)], calls))
    named = [replace(t, name=f"t{i}") for i, t in enumerate(graph.tensors)]
    return replace(graph, tensors=tuple(named), outputs=(2, 3))


def test_a_state_is_told_from_the_ends_beside_it() -> None:
    graph, pairs = without_state(adding(), (("t1", "t3"),))
    assert (graph.inputs, graph.outputs, pairs) == ((0,), (2,), ((1, 3),))
    assert without_state(adding(), ()) == (adding(), ())


def test_a_state_that_the_file_does_not_have_is_refused() -> None:
    with pytest.raises(ConversionError, match="no input 'x' with an output 't3'"):
        without_state(adding(), (("x", "t3"),))
    graph = adding()
    longer = replace(graph.tensors[3], shape=(1, 5))
    with pytest.raises(ConversionError, match="'t1' is not of the kind of 't3'"):
        without_state(replace(graph, tensors=(*graph.tensors[:3], longer)), (("t1", "t3"),))
