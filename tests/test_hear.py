"""HEAR's own validator, as published, over several models."""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import pytest
import torch

from listen_embed import hear

from .program import SR


@pytest.fixture
def validator(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """hear-validator asks of TensorFlow only whether a model is one of its modules."""
    stand_in = types.ModuleType("tensorflow")
    stand_in.Module = type("Module", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow", stand_in)
    from hearvalidator import validate

    return validate


@pytest.mark.filterwarnings(r"ignore:\s*IMPORTANT:UserWarning")
@pytest.mark.parametrize("name", ["", "sea/32/nano", "logmel/256/48k"])
def test_the_validators_checks(validator: types.ModuleType, name: str) -> None:
    """Its other warnings, such as of a sound's end without an embedding, are errors here."""
    validator.ValidateModel("listen_embed.hear", name, device="cpu")()


def test_what_the_older_validator_asks_beyond_that() -> None:
    """Release 2021.0.2 knows four rates, and times regular to a microsecond."""
    for name in ("", "sea/32/nano", "pruned/384/mn04"):
        model = hear.load_model(name)
        assert model.sample_rate in (16_000, 22_050, 44_100, 48_000)
        audio = 2 * torch.rand(2, 2 * model.sample_rate) - 1
        embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
        assert embeddings.shape == (2, 41, model.timestamp_embedding_size)
        np.testing.assert_allclose(np.diff(timestamps.numpy()), 50.0, atol=1e-3)


def test_a_frame_is_centred_on_its_time() -> None:
    model = hear.load_model("logmel/128/16k")
    audio = torch.zeros(1, 4 * SR)
    audio[0, 2 * SR : 2 * SR + 160] = 0.5
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    is_heard = (embeddings[0] - embeddings[0, 0]).abs().amax(dim=1) > 1
    heard = timestamps[0][is_heard]
    assert abs(float(heard.mean()) - 2_005) <= 25


def test_scenes_are_one_vector_each() -> None:
    model = hear.load_model("sea/32/nano")
    audio = torch.rand(3, SR) - 0.5
    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.shape == (3, 32) and scenes.dtype == torch.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = hear.get_scene_embeddings(audio[1:2], model)
    torch.testing.assert_close(alone, scenes[1:2], rtol=0, atol=0)
