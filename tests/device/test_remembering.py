"""A state: apart from the arena, written when it has been read; and streams as Python has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import Embedder, registry, store
from listen_embed.device import check
from listen_embed.device.export import export_c
from listen_embed.device.lowering import lower
from listen_embed.device.memory import arrange
from listen_embed.device.model_source import Options
from listen_embed.device.remembering import with_state
from listen_embed.device.steps import Plan
from listen_embed.errors import InputError
from listen_embed.graph import Graph, read_graph
from listen_embed.simplified import without_state

from .one import Call, Values, graph_of
from .test_check import SANITIZED, hard_sounds

SPEC = registry.find("sea/64/stream")
NEAR = 1e-5  # of the largest value


@pytest.fixture(scope="module")
def network() -> bytes:
    return store.load(SPEC)


def counted(backwards: bool = False, kind: Any = np.float32) -> Graph:
    """Return x + state, which is the embedding and the next state."""
    tensors = [Values((1, 4), dtype=kind) for _ in range(4)]
    calls = [Call("ADD", [0, 1], 2, "AddOptions"), Call("MUL", [0, 2], 3, "MulOptions")]
    if backwards:
        calls = [Call("MUL", [0, 0], 2, "MulOptions"), Call("ADD", [1, 2], 3, "AddOptions")]
    graph = read_graph(graph_of(tensors, calls))
    named = [replace(t, name=f"t{i}") for i, t in enumerate(graph.tensors)]
    return replace(graph, tensors=tuple(named), inputs=(0, 1), outputs=(3, 2))


def test_a_state_has_memory_of_its_own() -> None:
    graph, pairs = without_state(counted(), (("t1", "t2"),))
    assert (graph.inputs, graph.outputs, pairs) == ((0,), (3,), ((1, 2),))
    plan = with_state(lower(graph), graph, pairs)
    layout = arrange(plan)
    assert (plan.state, plan.state_bytes) == ({1: 0, 2: 0}, 16)
    assert layout.state == plan.state and layout.tensors.keys() == {0, 3}


def test_states_that_c_cannot_keep_are_refused() -> None:
    whole, pairs = without_state(counted(kind=np.int16), (("t1", "t2"),))
    with pytest.raises(InputError, match="'t1' is int16; in C a state is float32"):
        with_state(Plan((), {}, 0, 3), whole, pairs)
    graph, pairs = without_state(counted(backwards=True), (("t1", "t2"),))
    with pytest.raises(InputError, match="'t1' is read after it is written"):
        with_state(lower(graph), graph, pairs)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("stream")
    export_c(SPEC, place / "out")
    return check.build_for_host(place / "out", place)


@pytest.mark.needs("gcc")
def test_c_streams_as_python_streams(program: Path, network: bytes) -> None:
    sound = check.check_sound(SPEC, SPEC.step_samples, Options(), 50)
    given = check.run_on_host(program, sound, SPEC, network)
    stream = Embedder(SPEC.name, center=False).stream(SPEC.front_end.sample_rate)
    wanted, times = stream.push(sound, last=True)
    assert given.embeddings.shape == wanted.shape and times[0] == 0
    assert np.abs(given.embeddings - wanted).max() <= NEAR * np.abs(wanted).max()
    for block in (1, 63, 3200, 4096):
        again = check.run_on_host(program, sound, SPEC, network, block)
        assert again.content == given.content


@pytest.mark.needs("gcc")
def test_a_stream_starts_from_nothing_each_time(program: Path, network: bytes) -> None:
    sound = check.check_sound(SPEC, SPEC.step_samples, Options(), 6)
    given = check.run_on_host(program, sound, SPEC, network)
    alone = check.through_interpreter(given.pictures[:1], network, SPEC.state)
    assert np.abs(given.embeddings[:1] - alone).max() <= NEAR * np.abs(alone).max()


@pytest.mark.needs("gcc")
def test_sanitizers_find_nothing_in_hard_sounds(tmp_path: Path, network: bytes) -> None:
    export_c(SPEC, tmp_path / "out", Options(samples="float32"))
    program = check.build_for_host(tmp_path / "out", tmp_path, SANITIZED)
    sounds = {name: x.astype(np.float32) / 3000 for name, x in hard_sounds(12_300).items()}
    no_sound = np.array([np.nan, np.inf, -np.inf, 1e38, 1e-42], np.float32)
    sounds["numbers that are no sound"] = np.tile(no_sound, 2460)
    for sound in sounds.values():
        given = check.run_on_host(program, sound, SPEC, network)
        wanted = check.through_interpreter(given.pictures, network, SPEC.state)
        assert np.isfinite(given.embeddings).all()
        assert np.abs(given.embeddings - wanted).max() <= NEAR * np.abs(wanted).max()


def test_options_that_a_stream_has_no_use_for_are_refused(tmp_path: Path) -> None:
    for options, words in (
        (Options(hop_size=0.5), "gives an embedding after each of its steps of 0.1 s"),
        (Options(mode="reference"), "computes in float, where there is one rounding"),
        (Options(arithmetic="fixed"), "no front end in integers for activations='float32'"),
        (Options(frame_size=1.0), "takes frames of one length only"),
    ):
        with pytest.raises(InputError, match=words):
            export_c(SPEC, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    assert Options(hop_size=0.1).hop_size == SPEC.step_seconds
