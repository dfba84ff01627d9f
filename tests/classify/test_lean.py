"""LEAN's training: behind frozen parts, along with the wave encoder, and without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from listen_embed.classify import bases, lean, windows
from listen_embed.classify.clips import Clips
from listen_embed.classify.labelled import read_labelled
from listen_embed.classify.layer import activated
from listen_embed.classify.network import Fusion, Joint, WaveEncoder
from listen_embed.classify.options import Options
from listen_embed.classify.parts import parts_of

from .conftest import BASE


@pytest.fixture(scope="module")
def base() -> bases.Base:
    return bases.of_model(BASE)


@pytest.fixture(scope="module")
def clips(
    base: bases.Base, labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Clips:
    labelled = read_labelled(labelled_folder)
    front_end = windows.check_rate(base.lasting(1.2))
    heard = windows.windows_of(labelled, front_end, tmp_path_factory.mktemp("w"), progress=False)
    return Clips(labelled, heard, parts_of(labelled))


def encoder() -> WaveEncoder:
    torch.manual_seed(0)
    return WaveEncoder(n_joined=4).eval()


@pytest.mark.parametrize("join", ["attention", "pooled", "none"])
def test_what_is_behind_frozen_parts_learns(clips: Clips, base: bases.Base, join: str) -> None:
    options = Options(method="lean", epochs=8, join=join, wave="frozen")  # type: ignore[arg-type]
    result = lean.trained(clips, base, encoder(), options, None, progress=False)
    assert isinstance(result.network, Fusion)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    layer = lean.fusion_layer(result.network, clips.kind)
    assert layer.weight.shape == (3, lean.EMB_DIM)


def test_the_wave_encoder_learns_along(clips: Clips, base: bases.Base) -> None:
    before = encoder()
    options = Options(method="lean", epochs=2, wave="trained")
    result = lean.trained(clips, base, encoder(), options, None, progress=False)
    assert isinstance(result.network, Joint)
    assert not torch.equal(result.network.wave.layers[0][0].weight, before.layers[0][0].weight)  # type: ignore[index]


def test_windows_of_a_clip_answer_together(clips: Clips) -> None:
    rows = np.array([0, 1, 2])
    many = Clips(clips.labelled, windows.Windows(
        clips.windows.waves, clips.windows.log_mels, np.array([0, 0, 1])), clips.parts)  # fmt: skip
    logits = np.array([[1, 0, 0], [3, 0, 0], [0, 5, 0]], np.float32)
    targets, mean = many.by_clip(rows, logits)
    assert mean.tolist() == [[2, 0, 0], [0, 5, 0]]
    np.testing.assert_array_equal(targets, clips.labelled.targets[:2])


def test_the_temperature_is_that_of_the_mistakes(rng: np.random.Generator) -> None:
    from listen_embed.classify.finishing import temperature_of

    logits = rng.normal(size=(4000, 3)).astype(np.float32)
    truth = activated(logits.astype(np.float64), "softmax").cumsum(axis=1)
    drawn = (rng.random((4000, 1)) > truth).sum(axis=1).clip(max=2)
    targets = np.eye(3, dtype=np.float32)[drawn]
    assert temperature_of(targets, 4 * logits, "softmax") == pytest.approx(0.25, rel=0.2)
