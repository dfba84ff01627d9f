"""Students restored from what ships: the same function, or a word why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import soundfile
import torch

from listen_embed import audio, registry, store
from listen_embed.errors import ConversionError
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.runtime import Network
from listen_embed.training import quantize
from listen_embed.training.network import HardSwish
from listen_embed.training.restore import restore

SOUND = Path(__file__).parents[2] / "examples" / "audio" / "speech.flac"


# nano was trained with its activations rounded; the others' rounding shows.
@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("sea/32/nano", 0.99),
        ("sea/64/general", 0.96),
        ("sea/64/lite", 0.97),
        ("sea/128/general", 0.96),
        ("pruned/384/mn04", 0.96),
    ],
)
def test_a_restored_student_does_what_its_file_does(model: str, least: float) -> None:
    spec = registry.find(model)
    content = store.load(spec)
    rate = spec.front_end.sample_rate
    recorded, sr = soundfile.read(SOUND, dtype="float32")
    sound = audio.rate_converter(sr, rate, "soxr").push(recorded, last=True)
    frames = Frames(sound, 0, [0, rate, 2 * rate], spec.front_end.frame_samples)
    features = FeatureExtractor(spec.front_end)(frames)
    with torch.no_grad():
        found = restore(content)(torch.from_numpy(features)[:, None]).numpy()
    wanted = Network(content)(features)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((found * wanted).sum(axis=1) / lengths).min() > least


def test_a_graph_of_another_kind_is_refused() -> None:
    with pytest.raises(ConversionError, match="student"):
        restore(store.load(registry.find("listen/64/workshop")))


def test_sixths_come_back_out_of_the_weights_that_hold_them() -> None:
    student = restore(store.load(registry.find("sea/64/general")))
    swishes = [module for module in student.modules() if isinstance(module, HardSwish)]
    assert not all(swish.is_whole for swish in swishes)
    x = torch.randn(2, 1, 128, 100)
    with torch.no_grad():
        before = student(x)
        quantize.unfold_sixths(student)
        assert torch.allclose(student(x), before, atol=1e-4 * before.abs().max().item())
    assert all(swish.is_whole for swish in swishes)
