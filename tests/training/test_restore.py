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
from listen_embed.training.restore import restore


@pytest.mark.parametrize(
    "model", ["sea/32/nano", "sea/64/general", "sea/128/general", "pruned/384/mn04"]
)
def test_a_restored_student_does_what_its_file_does(model: str) -> None:
    spec = registry.find(model)
    content = store.load(spec)
    rate = spec.front_end.sample_rate
    sound = 0.1 * np.random.default_rng(0).standard_normal(3 * rate).astype(np.float32)
    frames = Frames(sound, 0, [0, rate, 2 * rate], spec.front_end.frame_samples)
    features = FeatureExtractor(spec.front_end)(frames)
    with torch.no_grad():
        found = restore(content)(torch.from_numpy(features)[:, None]).numpy()
    wanted = Network(content)(features)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((found * wanted).sum(axis=1) / lengths).min() > 0.97


def test_a_graph_of_another_kind_is_refused() -> None:
    with pytest.raises(ConversionError, match="student"):
        restore(store.load(registry.find("listen/64/workshop")))
