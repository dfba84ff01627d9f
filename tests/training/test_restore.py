"""Students restored from what ships: the same function, or a word why not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch

from listen_embed import registry, store
from listen_embed.audio import rate_converter
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.runtime import Network
from listen_embed.training.export import GOLDEN_RATE, golden_sound
from listen_embed.training.restore import restore


# The larger one rounds more activations to int8, which a restored student does not.
@pytest.mark.parametrize(("name", "cosine"), [("sea/32/nano", 0.99), ("sea/64/general", 0.93)])
def test_a_restored_student_does_what_its_file_does(name: str, cosine: float) -> None:
    """Also where sixths of hard-swishes stand in other layers' weights."""
    spec = registry.find(name)
    content = store.load(spec)
    sr = spec.front_end.sample_rate
    sound = rate_converter(GOLDEN_RATE, sr, "soxr").push(
        golden_sound().astype(np.float32) / 32768, last=True
    )
    starts = [0, sr // 8, sr // 3]
    frames = Frames(sound, 0, starts, spec.front_end.frame_samples)
    features = FeatureExtractor(spec.front_end)(frames)
    with torch.no_grad():
        found = restore(content)(torch.from_numpy(features)[:, None]).numpy()
    wanted = Network(content)(features)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((found * wanted).sum(axis=1) / lengths).min() > cosine
