"""What C calls a value, and what is told of it."""

from __future__ import annotations

import numpy as np

from listen_embed import registry, store
from listen_embed.device.values import constants, is_float, kind_of
from listen_embed.graph import read_graph


def test_float_values_need_no_scale() -> None:
    graph = read_graph(store.load(registry.find("sea/64/stream")))
    taken, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert is_float(taken) and kind_of(taken) == "float"
    found = constants(taken, given)
    assert found["VALUES_ARE_FLOAT"] == 1 and "INPUT_SCALE" not in found
    assert found["OUTPUT_SCALE"] == 1.0


def test_integers_have_scale_zero_and_limits() -> None:
    graph = read_graph(store.load(registry.find("sea/32/nano")))
    taken, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert not is_float(taken) and kind_of(taken) == "int8_t"
    found = constants(taken, given)
    assert found["VALUES_ARE_FLOAT"] == 0 and found["VALUE_MIN"] == "INT8_MIN"
    assert np.float32(found["INPUT_SCALE"]) == np.float32(taken.scales[0])
