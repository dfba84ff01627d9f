"""The runtime: arrays through a .tflite as arithmetic says, int8 included, or a clear error."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from listen_embed import runtime
from listen_embed.errors import ConversionError, RuntimeUnavailableError
from listen_embed.runtime import Network
from listen_embed.upstream.graph import GraphBuilder, pack, schema

Array = NDArray[np.float32]


@pytest.fixture
def layer(rng: np.random.Generator) -> tuple[Array, Array]:
    """Weights and bias from 12 values to 5."""
    weights = rng.standard_normal((5, 12)).astype(np.float32)
    return weights, rng.standard_normal(5).astype(np.float32)


def dense(weights: Array, bias: Array) -> bytes:
    graph = GraphBuilder()
    picture = graph.input((1, 3, 4, 1))
    flat = graph.reshape(picture, (1, 12))
    return graph.finish([graph.fully_connected(flat, weights, bias)])


def test_rows_go_through_the_network_one_by_one(
    layer: tuple[Array, Array], rng: np.random.Generator
) -> None:
    network = Network(dense(*layer))
    assert network.input_shape == (1, 3, 4, 1)
    assert network.output_size == 5
    pictures = rng.standard_normal((7, 3, 4)).astype(np.float32)
    before = pictures.copy()
    outputs = network(pictures)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, pictures.reshape(7, 12) @ layer[0].T + layer[1], atol=1e-5)
    np.testing.assert_array_equal(pictures, before)
    np.testing.assert_array_equal(network(pictures), outputs)  # nothing is left from last time
    np.testing.assert_array_equal(network(pictures[3:4]), outputs[3:4])


def test_no_rows_give_no_rows(layer: tuple[Array, Array]) -> None:
    assert Network(dense(*layer))(np.zeros((0, 3, 4), np.float32)).shape == (0, 5)


def test_results_outlive_the_network(layer: tuple[Array, Array], rng: np.random.Generator) -> None:
    pictures = rng.standard_normal((2, 3, 4)).astype(np.float32)
    network = Network(dense(*layer))
    first = network(pictures)
    kept = first.copy()
    network(-pictures)
    del network
    np.testing.assert_array_equal(first, kept)


def test_threads_change_nothing(layer: tuple[Array, Array], rng: np.random.Generator) -> None:
    pictures = rng.standard_normal((5, 3, 4)).astype(np.float32)
    one, two = (Network(dense(*layer), threads)(pictures) for threads in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)


# ---- int8 ------------------------------------------------------------------------------------


def test_int8_is_scaled_in_and_out(shared: Path, rng: np.random.Generator) -> None:
    """The same autoencoder in float32 and int8, published for MLPerf Tiny."""
    folder = shared / "weights-upstream/mlperf-tiny-ad"
    float32, int8 = (
        Network((folder / f"ad01_{kind}.tflite").read_bytes()) for kind in ("fp32", "int8")
    )
    # log-mels like those it was trained on: five frames of 128 bands around -10 dB
    pictures = (-10 + 5 * rng.standard_normal((16, 640))).astype(np.float32)
    expected, found = float32(pictures), int8(pictures)
    assert found.dtype == np.float32
    assert found.shape == expected.shape == (16, 640)
    error = np.abs(found - expected)
    # roundings of ten layers add up to a few steps; a wrong zero point would be off by a hundred
    step = np.diff(np.unique(found)).min()
    assert np.median(error) < 3 * step
    assert error.max() < 0.2 * np.ptp(expected)


def test_int8_saturates_instead_of_wrapping(shared: Path) -> None:
    network = Network((shared / "weights-upstream/mlperf-tiny-ad/ad01_int8.tflite").read_bytes())
    loud, louder = (network(np.full((1, 640), value, np.float32)) for value in (1e3, 1e6))
    np.testing.assert_array_equal(loud, louder)


@pytest.mark.parametrize(("scale", "zero"), [(0.5, 0), (0.03, -128), (1.7, 127)])
def test_quantising_and_back_is_within_half_a_step(
    scale: float, zero: int, rng: np.random.Generator
) -> None:
    tensor: dict[str, Any] = {"dtype": np.int8, "quantization": (scale, zero)}
    reach = scale * np.array([-128 - zero, 127 - zero])
    values = rng.uniform(*reach, 1000).astype(np.float32)
    steps = runtime._quantised(values, tensor)
    assert steps.dtype == np.int8
    np.testing.assert_allclose(
        runtime._dequantised(steps, tensor), values, atol=0.5001 * scale, rtol=1e-5
    )


# ---- what is no network of ours --------------------------------------------------------------


def test_bytes_that_are_no_tflite_are_refused(
    layer: tuple[Array, Array], rng: np.random.Generator
) -> None:
    good = dense(*layer)
    for content in (b"", b"TFL3", b"\0\0\0\0TFL3", rng.bytes(5000), good[:8], good[:-40]):
        with pytest.raises(ConversionError, match=r"not a \.tflite|refuses this \.tflite"):
            Network(content)


def test_a_damaged_tflite_never_takes_the_process_down(
    layer: tuple[Array, Array], tmp_path: Path
) -> None:
    """The interpreter is C++: a crash would end the tests, so it gets a process of its own."""
    (tmp_path / "good.tflite").write_bytes(dense(*layer))
    program = """
import sys
import numpy as np
from listen_embed.errors import ListenEmbedError
from listen_embed.runtime import Network

good = open(sys.argv[1], "rb").read()
rng = np.random.default_rng(0)
outcomes = []
for _ in range(150):
    content = bytearray(good)
    for position in rng.integers(8, len(content), 4):
        content[position] = rng.integers(256)
    try:
        network = Network(bytes(content))
        network(np.zeros((1, *network.input_shape[1:]), np.float32))
        outcomes.append("ran")
    except (ListenEmbedError, ValueError, RuntimeError) as error:
        outcomes.append(type(error).__name__)
print(outcomes.count("ConversionError"), len(outcomes))
"""
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "good.tflite")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert run.returncode == 0, run.stderr
    refused, all_of_them = map(int, run.stdout.split())
    assert all_of_them == 150
    assert refused > 50


def test_two_inputs_are_one_row_in_the_order_of_their_names(rng: np.random.Generator) -> None:
    graph = GraphBuilder()
    right, left = graph.input((1, 2, 2), "b_right"), graph.input((1, 4), "a_left")
    network = Network(graph.finish([graph.sub(left, graph.reshape(right, (1, 4)))]))
    assert network.input_shape == (1, 8) and network.output_size == 4
    rows = rng.standard_normal((3, 8)).astype(np.float32)
    np.testing.assert_allclose(network(rows), rows[:, :4] - rows[:, 4:], atol=1e-6)
    with pytest.raises(ConversionError, match="takes no other length"):
        network.of_length(3)


def test_three_inputs_or_two_outputs_are_refused() -> None:
    graph = GraphBuilder()
    one, two, three = (graph.input((1, 4), name) for name in ("left", "middle", "right"))
    total = graph.add(graph.add(one, two), three)
    with pytest.raises(ConversionError, match=r"has 2 inputs at most.*; this has: left"):
        Network(graph.finish([total]))
    graph = GraphBuilder()
    only = graph.input((1, 4))
    with pytest.raises(ConversionError, match="has one output"):
        Network(graph.finish([graph.relu(only), graph.logistic(only)]))


# ---- the interpreter -------------------------------------------------------------------------


def test_without_an_interpreter_the_error_says_what_to_install(
    layer: tuple[Array, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = dense(*layer)
    for module in ("ai_edge_litert.interpreter", "tflite_runtime", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeUnavailableError, match="pip install ai-edge-litert"):
        Network(content)


def test_tflite_runtime_steps_in(
    layer: tuple[Array, Array], monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    content = dense(*layer)
    stand_in = SimpleNamespace(Interpreter=Interpreter)  # it has the very interface
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", SimpleNamespace(interpreter=stand_in))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", stand_in)
    pictures = rng.standard_normal((1, 3, 4)).astype(np.float32)
    assert Network(content)(pictures).shape == (1, 5)


# ---- a network that remembers -----------------------------------------------------------------

STATE = (("sum", "next_sum"),)


def summing() -> bytes:
    """Return a network that gives the sum of all pictures so far, and keeps it."""
    graph = GraphBuilder()
    picture, known = graph.input((1, 2, 2, 1), "picture"), graph.input((1, 4), "sum")
    total = graph.add(graph.reshape(picture, (1, 4)), known)
    kept = graph.add(total, np.zeros((1, 4), np.float32))
    tree = schema().ModelT.InitFromPackedBuf(graph.finish([total, kept]), 0)
    (made,) = tree.subgraphs
    made.tensors[made.outputs[1]].name = b"next_sum"
    return pack(tree)


def test_it_remembers_within_one_sound_and_not_beyond(rng: np.random.Generator) -> None:
    network = Network(summing(), state=STATE)
    assert network.remembers
    assert network.state_bytes == 16
    pictures = rng.standard_normal((5, 2, 2)).astype(np.float32)
    wanted = pictures.reshape(5, 4).cumsum(axis=0, dtype=np.float32)
    np.testing.assert_allclose(network(pictures), wanted, atol=1e-6)
    np.testing.assert_allclose(network(pictures), wanted, atol=1e-6)
    one, other = network.start(), network.start()
    np.testing.assert_allclose(one(pictures[:2]), wanted[:2], atol=1e-6)
    np.testing.assert_allclose(other(pictures[:3]), wanted[:3], atol=1e-6)
    np.testing.assert_allclose(one(pictures[2:]), wanted[2:], atol=1e-6)


def test_a_network_that_remembers_pickles(rng: np.random.Generator) -> None:
    network = pickle.loads(pickle.dumps(Network(summing(), state=STATE)))
    pictures = rng.standard_normal((2, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(network(pictures)[1].sum(), pictures.sum(), atol=1e-5)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ((), "one output"),
        ((("sum", "nothing"),), "no input 'sum' with an output 'nothing'"),
        ((("past", "next_sum"),), "no input 'past'"),
        ((("picture", "next_sum"),), "is not of the kind"),
    ],
)
def test_a_state_that_the_file_does_not_have(state: Any, said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        Network(summing(), state=state)


def test_a_network_that_remembers_takes_one_length() -> None:
    with pytest.raises(ConversionError, match="no other length"):
        Network(summing(), state=STATE).of_length(7)
