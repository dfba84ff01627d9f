"""Students restored from what ships: the same function, or a word why not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch

from listen_embed import registry, store
from listen_embed.errors import ConversionError
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.runtime import Network
from listen_embed.training.export import golden_sound
from listen_embed.training.restore import restore


def test_a_restored_student_does_what_its_file_does() -> None:
    spec = registry.find("sea/32/nano")
    content = store.load(spec)
    sound = golden_sound().astype(np.float32) / 32768
    frames = Frames(sound, 0, [0, 2000, 5000], spec.front_end.frame_samples)
    features = FeatureExtractor(spec.front_end)(frames)
    with torch.no_grad():
        found = restore(content)(torch.from_numpy(features)[:, None]).numpy()
    wanted = Network(content)(features)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((found * wanted).sum(axis=1) / lengths).min() > 0.99


def test_sixths_in_other_layers_are_not_guessed_at() -> None:
    with pytest.raises(ConversionError, match=r"0\.1\.0 shipped"):
        restore(store.load(registry.find("sea/64/general")))
