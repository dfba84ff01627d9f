"""Students as .tflite files: torch's numbers in float, close in int8, nothing lost by slimming."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")
pytest.importorskip("litert_torch", reason="the training room needs its extra")
pytest.importorskip("ai_edge_quantizer", reason="the training room needs its extra")

import torch

from listen_embed.device.lowering import lower
from listen_embed.graph import operators, read_graph
from listen_embed.runtime import Network
from listen_embed.training import convert, int8_ranges
from listen_embed.upstream.graph import GraphBuilder, Tensor

from ..delegate import outside_delegate
from .conftest import SHAPE
from .graphs import as_int8, one

KINDS = ("plain", "excited")


def by_torch(student: Any, features: Any) -> Any:
    with torch.no_grad():
        return student(torch.from_numpy(features)[:, None]).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_float_file_equals_torch(exported: Any, kind: str) -> None:
    made = exported(kind)
    network = Network(made.float_model)
    assert network.input_shape == (1, *SHAPE, 1)
    expected = by_torch(made.student, made.features)
    np.testing.assert_allclose(network(made.features), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_file_stays_close(exported: Any, kind: str) -> None:
    made = exported(kind)
    given, wanted = Network(made.int8_model)(made.features), by_torch(made.student, made.features)
    assert np.corrcoef(given.ravel(), wanted.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_int8_file_is_int8_throughout(exported: Any, kind: str) -> None:
    made = exported(kind)
    graph = read_graph(made.int8_model)
    types = {tensor.type for tensor in graph.tensors if not tensor.is_constant}
    assert types == {"INT8"}
    assert lower(graph).steps  # there is C for every operator
    assert all(tensor.type in ("INT8", "INT32") for tensor in graph.tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cpus_delegate_takes_every_operator(exported: Any, kind: str) -> None:
    """An operator outside it costs up to eight times as much, and cuts the graph in two."""
    made = exported(kind)
    for model in (made.float_model, made.int8_model):
        assert outside_delegate(model) == []


def test_operators_outside_the_delegate_are_noticed() -> None:
    def build(graph: GraphBuilder, given: Tensor) -> Tensor:
        return graph.add(graph.hard_swish(graph.add(given, given)), given)

    model = one((1, 8, 8, 4), build)
    assert outside_delegate(model) == []
    assert sorted(outside_delegate(as_int8(model))) == ["DELEGATE", "HARD_SWISH"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_hard_swish_and_no_transposed_mean(exported: Any, kind: str) -> None:
    made = exported(kind)
    for model in (made.float_model, made.int8_model):
        names = operators(model)
        assert "HARD_SWISH" not in names
        assert "TRANSPOSE" not in names
        assert "MEAN" in names


def test_what_reads_a_tensor_tells_which_of_its_values_matter(exported: Any) -> None:
    graph = read_graph(exported("excited").float_model)
    needed = [convert._needed(graph, i) for i in convert._activations(graph)]
    # Before the hard-swishes of the stem, of a block (twice) and of the last; before two gates.
    assert needed.count(int8_ranges.HARD_SWISH) == 4
    assert needed.count(int8_ranges.LOGISTIC) == 2
    assert set(needed) == {int8_ranges.HARD_SWISH, int8_ranges.LOGISTIC, int8_ranges.EVERYTHING}


@pytest.mark.parametrize("kind", KINDS)
def test_slimming_changes_no_output(exported: Any, kind: str) -> None:
    made = exported(kind)
    for raw, slim in ((made.raw_float, made.float_model), (made.raw_int8, made.int8_model)):
        assert len(slim) < len(raw)
        np.testing.assert_array_equal(Network(slim)(made.features), Network(raw)(made.features))
        assert operators(slim) == operators(raw)
        assert convert.slimmed(slim) == slim


def test_slimming_keeps_the_names_of_the_ends(exported: Any) -> None:
    made = exported("plain")
    raw, slim = read_graph(made.raw_int8), read_graph(made.int8_model)
    for ends in ("inputs", "outputs"):
        names = [[g.tensors[i].name for i in getattr(g, ends)] for g in (raw, slim)]
        assert names[0] == names[1]


@pytest.mark.parametrize("kind", KINDS)
def test_slimming_keeps_all_quantisation(exported: Any, kind: str) -> None:
    """XNNPACK takes no layer whose bias lacks scales, and without XNNPACK int8 is slow."""
    made = exported(kind)
    raw, slim = read_graph(made.raw_int8), read_graph(made.int8_model)
    for ours, theirs in zip(slim.tensors, raw.tensors, strict=True):
        assert (ours.scales, ours.zero_points) == (theirs.scales, theirs.zero_points)
    layers = [o for o in slim.operators if o.name in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    assert len(layers) >= 8
    for layer in layers:
        bias = slim.tensors[layer.inputs[2]]
        assert len(bias.scales) == bias.shape[0]


def test_weights_are_aligned_for_kernels(exported: Any) -> None:
    from listen_embed.upstream.graph import BUFFER_ALIGNMENT, schema

    for model in (exported("plain").float_model, exported("plain").int8_model):
        tree = schema().Model.GetRootAsModel(model, 0)
        buffers = [tree.Buffers(i).DataAsNumpy() for i in range(tree.BuffersLength())]
        filled = [buffer for buffer in buffers if not isinstance(buffer, int)]
        start = np.frombuffer(model, np.uint8).ctypes.data
        assert len(filled) >= 16
        assert all((b.ctypes.data - start) % BUFFER_ALIGNMENT == 0 for b in filled)


def test_conversion_leaves_the_student_and_the_loggers_alone(
    exported: Any, features: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = exported("plain").student
    before = {name: value.clone() for name, value in student.state_dict().items()}
    student.train()
    level = logging.root.manager.disable
    monkeypatch.setattr(convert, "_exported", lambda model: exported("plain").raw_float)
    monkeypatch.setattr("litert_torch.convert", lambda module, example: module(*example))
    convert.to_float(student, SHAPE)
    assert student.training
    student.eval()
    assert logging.root.manager.disable == level
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name])


def test_narrower_ranges_bring_int8_closer(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = exported("plain")
    wanted = Network(made.float_model)(made.features)

    def error(int8_model: bytes) -> float:
        return float(np.square(Network(int8_model)(made.features) - wanted).mean())

    narrowed = error(convert.to_int8(made.float_model, made.features))
    monkeypatch.setattr(convert, "_narrowed", lambda extremes, *rest: extremes)
    assert narrowed < error(convert.to_int8(made.float_model, made.features))
