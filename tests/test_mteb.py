"""mteb evaluates the adapter on a task of its own kind."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from listen_embed import registry
from listen_embed.errors import InputError

from .program import SR

with warnings.catch_warnings():  # mteb's own imports warn
    warnings.simplefilter("ignore")
    import mteb
    from datasets import Dataset, DatasetDict
    from mteb.mocks.mock_tasks.classification import MockAudioClassification
    from mteb.models.models_protocols import EncoderProtocol

    from listen_embed.mteb import AudioEncoder

pytestmark = pytest.mark.filterwarnings("ignore")


def tones(n: int, rng: np.random.Generator) -> Any:
    """Low and high tones in noise, decoded already."""
    time = np.arange(SR) / SR
    sounds = [
        np.sin(2 * np.pi * (300 if i % 2 else 3_000) * time) + 0.1 * rng.standard_normal(SR)
        for i in range(n)
    ]
    audio = [{"array": sound, "sampling_rate": SR} for sound in sounds]
    return Dataset.from_dict({"audio": audio, "label": [i % 2 for i in range(n)]})


class Tones(MockAudioClassification):  # type: ignore[misc]
    """mteb's own example task, with sounds that need no decoder."""

    def load_data(self, **_: Any) -> None:
        rng = np.random.default_rng(0)
        self.dataset = DatasetDict(train=tones(12, rng), test=tones(8, rng))
        self.data_loaded = True


def test_mteb_evaluates_it() -> None:
    encoder = AudioEncoder("logmel/128/16k")
    assert isinstance(encoder, EncoderProtocol)
    (result,) = mteb.evaluate(encoder, Tones(), cache=None).task_results
    assert result.get_score() == 1.0


def test_a_batch_gives_its_clips_vectors(rng: np.random.Generator) -> None:
    encoder = AudioEncoder("logmel/128/16k")
    mono, stereo = rng.normal(0, 0.1, 24_000), rng.normal(0, 0.1, (2, 24_000))
    sounds = [{"array": mono, "sampling_rate": SR}, {"array": stereo, "sampling_rate": 24_000}]
    made = encoder.get_audio_embeddings([{"audio": sounds[:1]}, {"audio": sounds[1:]}])
    np.testing.assert_array_equal(made[0], encoder.model.embed_clip(mono, SR))
    np.testing.assert_array_equal(made[1], encoder.model.embed_clip(stereo.T, 24_000))


def test_a_task_without_sound_is_refused() -> None:
    inputs = ModuleType("inputs")
    inputs.dataset = ModuleType("dataset")  # type: ignore[attr-defined]
    inputs.dataset.features = {"text": None}
    with pytest.raises(InputError, match="no audio"):
        AudioEncoder("logmel/128/16k").encode(inputs)


def test_every_models_facts_are_accepted() -> None:
    from listen_embed.mteb import _meta

    for spec in registry.models():
        meta = _meta(spec, revision="0")
        assert meta.name == f"listen-embed/{spec.name.replace('/', '-')}"
        assert meta.embed_dim == spec.emb_dim
