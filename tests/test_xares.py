"""X-ARES's own check of an encoder, as published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from xares.audio_encoder_checker import check_audio_encoder

from listen_embed import Embedder
from listen_embed.xares import ListenEmbedEncoder


class NanoEncoder(ListenEmbedEncoder):
    model_type = "sea/32/nano"


@pytest.mark.parametrize("encoder", [ListenEmbedEncoder, NanoEncoder])
def test_the_checker_accepts_it(encoder: type[ListenEmbedEncoder]) -> None:
    assert check_audio_encoder(encoder())


def test_its_attributes_are_the_models() -> None:
    encoder = NanoEncoder()
    assert (encoder.sampling_rate, encoder.output_dim, encoder.hop_size_in_ms) == (16_000, 32, 100)


def test_frames_are_the_embedders(rng: np.random.Generator) -> None:
    audio = rng.normal(0, 0.1, (2, 40_000)).astype(np.float32)
    encoded = NanoEncoder()(torch.from_numpy(audio))
    embedding, _ = Embedder("sea/32/nano").embed(audio[1], 16_000)
    np.testing.assert_array_equal(encoded[1].numpy(), embedding)
    np.testing.assert_array_equal(NanoEncoder()(torch.from_numpy(audio[1]))[0].numpy(), embedding)
