"""Costs read from a file: small graphs by hand, and the papers' figures of the published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import registry, upstream
from listen_embed.errors import ConversionError
from listen_embed.graph import macs, operators, peak_bytes, read_graph
from listen_embed.spec import ModelSpec
from listen_embed.upstream.graph import GraphBuilder, Tensor, schema

from .training.graphs import as_int8, changed, one
from .upstream import seeded_l3

FLOAT = 4  # bytes


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


# -- peak of live tensors ----------------------------------------------------------------------


def chain(graph: GraphBuilder, x: Tensor) -> Tensor:
    for _ in range(4):
        x = graph.relu(x)
    return x


def residual(graph: GraphBuilder, x: Tensor) -> Tensor:
    return graph.add(graph.relu(graph.logistic(x)), x)


def late_residual(graph: GraphBuilder, x: Tensor) -> Tensor:
    y = graph.max_pool(x, (2, 2))  # a quarter: 64 of 256
    return graph.add(
        graph.fully_connected(graph.reshape(y, (1, 64)), ones(3, 64), ones(3)), ones(3)
    )


def three_branches(graph: GraphBuilder, x: Tensor) -> Tensor:
    first, second, third = graph.relu(x), graph.logistic(x), graph.hard_swish(x)
    return graph.add(graph.add(first, second), third)


@pytest.mark.parametrize(
    ("shape", "build", "values"),
    [
        ((1, 10), chain, 10 + 10),
        ((1, 10), lambda graph, x: x, 10),
        ((1, 10), residual, 10 + 10 + 10),
        ((1, 16, 16, 1), late_residual, 256 + 64),
        # x, first, second and third while third is made
        ((1, 10), three_branches, 40),
        # weights and other constants are not counted
        ((1, 10), lambda graph, x: graph.mul(x, ones(50, 10)), 10 + 500),
        ((1, 8, 8, 1), lambda graph, x: graph.conv2d(x, ones(4, 3, 3, 1), ones(4)), 64 + 256),
    ],
)
def test_peak_by_hand(shape: tuple[int, ...], build: Any, values: int) -> None:
    model = one(shape, build)
    assert peak_bytes(model) == values * FLOAT
    assert peak_bytes(as_int8(model)) == values


def test_an_early_output_lives_to_the_end() -> None:
    graph = GraphBuilder()
    x = graph.input((1, 4))
    early = graph.relu(x)
    late = graph.reshape(graph.mul(graph.logistic(early), ones(7, 4)), (1, 28))
    assert peak_bytes(graph.finish([late])) == (28 + 28) * FLOAT
    assert peak_bytes(graph.finish([early, late])) == (4 + 28 + 28) * FLOAT


def test_what_nobody_reads_lives_for_one_step() -> None:
    graph = GraphBuilder()
    x = graph.input((1, 4))
    unread_input = graph.input((1, 100))
    graph.mul(x, ones(10, 4))  # 40 values that nobody reads
    y = graph.relu(graph.mul(graph.relu(x), ones(12, 4)))
    assert unread_input.shape == (1, 100)
    # at the first step: x, the unread input, and the 40
    assert peak_bytes(graph.finish([y])) == (4 + 100 + 40) * FLOAT


def test_variables_live_always() -> None:
    model = one((1, 10), chain)

    def keep_a_state(tree: Any) -> None:
        state = schema().TensorT()
        state.shape, state.isVariable, state.buffer = np.array([1, 6], np.int32), True, 0
        tree.subgraphs[0].tensors.append(state)

    assert peak_bytes(changed(model, keep_a_state)) == (10 + 10 + 6) * FLOAT


def test_four_bit_values_share_bytes() -> None:
    def to_int4(tree: Any) -> None:
        for tensor in tree.subgraphs[0].tensors:
            tensor.type = schema().TensorType.INT4

    assert peak_bytes(changed(one((1, 9), chain), to_int4)) == 5 + 5


# -- multiply-accumulates ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "build", "expected"),
    [
        ((1, 8, 6, 2), lambda g, x: g.conv2d(x, ones(5, 3, 2, 2), ones(5)), 8 * 6 * 5 * 12),
        (
            (1, 8, 6, 2),
            lambda g, x: g.conv2d(x, ones(5, 3, 2, 2), ones(5), stride=2, padding="valid"),
            3 * 3 * 5 * 12,
        ),
        ((1, 8, 6, 2), lambda g, x: g.depthwise_conv2d(x, ones(3, 5, 2), ones(2)), 8 * 6 * 2 * 15),
        ((4, 7), lambda g, x: g.fully_connected(x, ones(3, 7), ones(3)), 4 * 7 * 3),
        ((2, 4, 7), lambda g, x: g.batch_matmul(x, x, transpose_y=True), 2 * 4 * 4 * 7),
        ((1, 8, 6, 2), lambda g, x: g.softmax(g.mean(g.relu(x), [1, 2])), 0),
    ],
)
def test_macs_by_hand(shape: tuple[int, ...], build: Any, expected: int) -> None:
    assert macs(one(shape, build)) == expected


def test_macs_of_a_transposed_product() -> None:
    model = one((2, 4, 7), lambda graph, x: graph.batch_matmul(x, graph.constant(ones(2, 7, 5))))
    assert macs(model) == 2 * 4 * 5 * 7

    def transpose_first(tree: Any) -> None:
        graph = tree.subgraphs[0]
        graph.tensors[graph.inputs[0]].shape = np.array([2, 7, 4], np.int32)
        graph.operators[0].builtinOptions.adjX = True

    assert macs(changed(model, transpose_first)) == 2 * 4 * 5 * 7


def test_operators_are_named_in_order() -> None:
    assert operators(one((1, 10), residual)) == ["LOGISTIC", "RELU", "ADD"]


# -- the published networks --------------------------------------------------------------------

SEA_64 = seeded_l3.Kind((32, 64, 128, 64), True, 1024, 64)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModelSpec], bytes]:
    """Convert the seeded file of a row's architecture: same shapes, so same size and work."""
    folder = tmp_path_factory.mktemp("seeded")
    made: dict[tuple[str, int], bytes] = {}

    def convert(spec: ModelSpec) -> bytes:
        kind = kind_of(spec)
        if (kind, spec.emb_dim) not in made:
            path = folder / f"{kind}.h5"
            if not path.exists():
                seeded_l3.write_seeded_l3(path, kind)
            made[kind, spec.emb_dim] = converted(path, spec)
        return made[kind, spec.emb_dim]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(seeded_l3.KINDS, "sea_64", SEA_64)
        yield convert


def kind_of(spec: ModelSpec) -> str:
    if spec.model_type == "pruned":
        return "sparse"
    if spec.model_type == "sea":
        return f"sea_{spec.emb_dim}"
    return f"openl3_{spec.variant.rpartition('-')[2]}"


def converted(path: Path, spec: ModelSpec) -> bytes:
    assert spec.download is not None
    return upstream.convert(
        path,
        spec.download.converter,
        input_shape=spec.front_end.input_shape,
        emb_dim=spec.emb_dim,
    )


# papers.md, section 4: millions of multiply-accumulates of a window; bytes that conv2 needs
SEA = {64: (122, 819_200), 128: (131, 819_200), 256: (160, 819_200), 512: (637, 1_638_400)}


@pytest.mark.parametrize("emb_dim", SEA)
def test_sea_students_cost_what_the_papers_notes_say(seeded: Any, emb_dim: int) -> None:
    model = seeded(registry.find("sea", emb_dim, "sonyc-ust"))
    millions, peak = SEA[emb_dim]
    assert macs(model) / 1e6 == pytest.approx(millions, abs=0.6)
    assert peak_bytes(model) == peak


def test_int8_student_2_needs_twice_what_its_poster_says(seeded: Any) -> None:
    model = as_int8(seeded(registry.find("sea", 128, "sonyc-ust")))
    largest = max(t.size_bytes for t in read_graph(model).tensors if not t.is_constant)
    assert largest == 64 * 50 * 32  # the poster's 0.1025 MB
    assert peak_bytes(model) == 204_800


def test_l3_costs_ten_billion(seeded: Any) -> None:
    model = seeded(registry.find("teacher", 512, "l3-env-mel256"))
    assert round(macs(model) / 1e6) == 10_203
    assert peak_bytes(model) == 2 * 256 * 199 * 64 * FLOAT


ROWS = [spec for spec in registry.models() if spec.download is not None]
L3_ROWS = [spec for spec in ROWS if spec.download and spec.download.converter == "keras_l3"]


@pytest.mark.parametrize("spec", L3_ROWS, ids=lambda spec: spec.name)
def test_registry_states_what_is_counted(seeded: Any, spec: ModelSpec) -> None:
    model = seeded(spec)
    assert (spec.macs, spec.size_bytes) == (macs(model), len(model))


PUBLISHED = {
    "teacher/384/mn04": "efficientat-mn04/mn04_as_mAP_432.pt",
    "teacher/1024/yamnet": "yamnet/yamnet_waveform_drq.tflite",
    "listen/64/cnc": "listen/LISTEN.pth",
    "sea/64/sonyc-ust": "edgel3-sea64/edgel3_sea_ust_audio_emb_64.h5.gz",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_registry_states_what_the_genuine_files_cost(shared: Path, name: str) -> None:
    spec = registry.find(name)
    model = converted(shared / "weights-upstream" / PUBLISHED[name], spec)
    assert (spec.macs, spec.size_bytes) == (macs(model), len(model))


def test_every_published_row_is_counted() -> None:
    counted = {spec.name for spec in L3_ROWS} | PUBLISHED.keys()
    assert {spec.name for spec in ROWS} == counted
    assert registry.find("listen/64/cnc").macs == 64 * 64 * 256 + 2 * (
        64 * 24_576 + 2 * 64 * 64 * 64
    )


# -- files that are something else -------------------------------------------------------------


def without_operand(tree: Any) -> None:
    tree.subgraphs[0].operators[0].inputs = tree.subgraphs[0].operators[0].inputs[:1]


def beyond(tree: Any) -> None:
    tree.subgraphs[0].operators[0].inputs = np.array([99, 1, 2], np.int32)


def open_shape(tree: Any) -> None:
    tree.subgraphs[0].tensors[0].shapeSignature = np.array([-1, 10], np.int32)


def strings(tree: Any) -> None:
    tree.subgraphs[0].tensors[0].type = schema().TensorType.STRING


def twice(tree: Any) -> None:
    tree.subgraphs = tree.subgraphs * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_operand, "lacks tensors"),
        (beyond, "no tensor 99"),
        (open_shape, "unknown size"),
        (strings, "STRING"),
        (twice, "one graph; this has 2"),
    ],
)
def test_damaged_graphs_are_told(change: Any, words: str) -> None:
    model = one((1, 10), lambda graph, x: graph.fully_connected(x, ones(3, 10), ones(3)))
    with pytest.raises(ConversionError, match=words):
        macs(changed(model, change))


@pytest.mark.parametrize("model", [b"", b"\0\0\0\0TFL3", b"\x1c\0\0\0TFL3" + bytes(40), b"x" * 99])
def test_other_bytes_are_refused(model: bytes) -> None:
    with pytest.raises(ConversionError, match=r"tflite|graph"):
        peak_bytes(model)


def test_flipped_bits_never_raise_anything_else(rng: Any) -> None:
    model = one((1, 10), lambda graph, x: graph.fully_connected(x, ones(3, 10), ones(3)))
    refusals = 0
    for _ in range(300):
        flipped = bytearray(model)
        flipped[rng.integers(len(flipped))] ^= 1 << rng.integers(8)
        try:
            macs(bytes(flipped))
            peak_bytes(bytes(flipped))
        except ConversionError:
            refusals += 1
    assert 20 < refusals < 300
