"""Bases: YAMNet as published, students as shipped, and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from listen_embed import Embedder
from listen_embed.classify import bases
from listen_embed.errors import InputError
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.training.export import GOLDEN_RATE


def hears(base: bases.Base, sound: np.ndarray, seconds: float) -> np.ndarray:
    front_end = base.lasting(seconds)
    padded = np.pad(sound, (0, front_end.frame_samples))
    features = FeatureExtractor(front_end)(Frames(padded, 0, [0], front_end.frame_samples))
    with torch.no_grad():
        return base.network(torch.from_numpy(features)[:, None])[0].numpy()  # type: ignore[no-any-return]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_yamnets_body_gives_the_published_embeddings(mirror: Any) -> None:
    base = bases.of_model("teacher/1024/yamnet")
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * GOLDEN_RATE)
    sound = noise.astype(np.float32)
    found = hears(base, sound, 1.47)
    embedder = Embedder("teacher/1024/yamnet", hop_size=0.48, center=False)
    # Our windows stand in the middle of the Fourier transform's frame, the published ones at its
    # beginning. It rounds the activations of every layer to int8, ours does not: with the
    # same log-mels both turn as far from each other (0.934), layer by layer from 1.0000 on.
    wanted, _ = embedder.embed(sound[56:], GOLDEN_RATE)
    assert found.shape == (2, 1024)
    assert min(cosine(found[i], wanted[i]) for i in range(2)) > 0.93


def test_a_students_frames_are_its_embedding_spread_over_time() -> None:
    base = bases.of_model("pruned/384/mn04")
    sound = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1
    front_end = base.lasting(1.0)
    features = FeatureExtractor(front_end)(Frames(sound, 0, [0], 32_000))
    with torch.no_grad():
        found = base.network(torch.from_numpy(features)[:, None])[0].mean(0).numpy()
    (wanted,) = Embedder("pruned/384/mn04").embed_features(features)
    assert cosine(found, wanted) > 0.97
    assert base.licence == "MIT" and len(base.layers) == 17


@pytest.mark.parametrize("model", ["listen/64/workshop", "logmel/128", "sea/64/sonyc-ust"])
def test_what_is_no_student_cannot_be_trained(mirror: Any, model: str) -> None:
    with pytest.raises(InputError, match="cannot be trained here"):
        bases.of_model(model)


@pytest.mark.parametrize(("seconds", "patches"), [(0.1, 1), (0.98, 1), (1.47, 2), (5.0, 9)])
def test_yamnets_windows_are_whole_patches(seconds: float, patches: int) -> None:
    front_end = bases.YAMNET_FRONT_END
    base = bases.Base("", bases.Yamnet([]), front_end, 1024, fitting=bases.whole_patches)
    front_end = base.lasting(seconds)
    assert front_end.n_steps == bases.PATCH + (patches - 1) * bases.PATCH_HOP
    assert front_end.frame_seconds <= max(seconds, 0.99)
