"""Frames of another length: the same network over them as Python runs, or a word why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed import Embedder, registry, store
from listen_embed.device import check
from listen_embed.device.export import export_c
from listen_embed.device.length import lasting
from listen_embed.device.model_source import Options
from listen_embed.errors import InputError
from listen_embed.graph import macs, read_graph
from listen_embed.runtime import Network


@pytest.mark.parametrize("name", ["sea/32/nano", "sea/64/general"])
def test_the_file_gives_what_the_interpreter_gives_at_that_length(name: str) -> None:
    spec = registry.find(name)
    content = store.load(spec)
    longer, resized, _ = lasting(spec, content, 2.5)
    steps = longer.front_end.n_steps
    features = np.random.default_rng(0).standard_normal((2, spec.front_end.n_bands, steps))
    wanted = Network(content, n_steps=steps)(features.astype(np.float32))
    assert np.array_equal(Network(resized)(features.astype(np.float32)), wanted)
    assert macs(resized) == pytest.approx(2.5 * macs(content), rel=0.1)
    assert {t.shape for t in read_graph(resized).tensors} >= {(1, *longer.front_end.input_shape, 1)}


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("seconds", [0.5, 2.5])
def test_c_hears_frames_of_another_length_as_python_does(seconds: float, tmp_path: Path) -> None:
    options = Options(frame_size=seconds, hop_size=0.5)
    spec = registry.find("sea/32/nano")
    made = export_c(spec, tmp_path / "out", options)
    longer, resized, digest = lasting(spec, store.load(spec), seconds)
    assert digest == made.digest == Embedder(spec.name, frame_size=seconds).digest
    sound = check.check_sound(longer, made.frame_hop, options, 4)
    program = check.build_for_host(tmp_path / "out", tmp_path)
    given = check.run_on_host(program, sound, longer, resized)
    assert np.array_equal(check.through_interpreter(given.pictures, resized), given.embeddings)
    embedder = Embedder(spec.name, frame_size=seconds, hop_size=0.5, center=False)
    wanted, _ = embedder.embed(sound, spec.front_end.sample_rate)
    end = read_graph(resized).tensors[read_graph(resized).outputs[0]]
    found = (given.embeddings.astype(np.float32) - end.zero_points[0]) * np.float32(end.scales[0])
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= end.scales[0] * 1.01


def test_a_model_of_one_length_says_so(tmp_path: Path) -> None:
    for name, seconds, why in (
        ("listen/64/workshop", 3.0, "workshop takes frames of one length only"),
        ("sea/32/nano", 61.0, "frame_size is 61.0; allowed are"),
    ):
        with pytest.raises(InputError, match=why):
            export_c(registry.find(name), tmp_path / "out", Options(frame_size=seconds))
    assert not (tmp_path / "out").exists()
