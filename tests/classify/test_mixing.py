"""Mixed log-mels against those of mixed sound; companding as the front end does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from listen_embed import registry
from listen_embed.classify.bases import YAMNET_FRONT_END
from listen_embed.classify.mixing import companded, mixed_log_mels
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.frontend import companded as companded_in_numpy
from listen_embed.spec import FrontEnd

FRONT_ENDS = [
    registry.find("pruned/384/mn04").front_end,
    registry.find("sea/64/general").front_end,
    YAMNET_FRONT_END,
]


def heard(front_end: FrontEnd, samples: np.ndarray) -> torch.Tensor:
    frames = Frames(samples.astype(np.float32), 0, [0], front_end.frame_samples)
    return torch.from_numpy(FeatureExtractor(front_end)(frames))


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=["mn04", "sea", "yamnet"])
def test_powers_add_as_in_mixed_sound(front_end: FrontEnd, rng: np.random.Generator) -> None:
    n = front_end.frame_samples
    time = np.arange(n) / front_end.sample_rate
    one, other = 0.1 * rng.standard_normal(n), 0.2 * np.sin(2 * np.pi * 1000 * time)
    found = mixed_log_mels(
        heard(front_end, one), heard(front_end, other), torch.tensor([0.5]), front_end
    )
    wanted = heard(front_end, one + 0.5 * other)
    apart = (heard(front_end, one) - wanted).abs().mean()
    gap = (found - wanted).abs()
    assert gap.mean() < 0.06 * wanted.std() and gap.mean() < apart + 0.02


def test_companding_is_the_front_ends(rng: np.random.Generator) -> None:
    waves = rng.standard_normal((3, 4000)).astype(np.float32) * np.float32([[0.5], [1e-3], [0]])
    found = companded(torch.from_numpy(waves)).numpy()
    np.testing.assert_allclose(found, companded_in_numpy(waves), atol=1e-6)
    assert np.abs(found).max() <= 1 and not found[2].any()
    np.testing.assert_allclose(np.abs(found[0]).mean(), np.abs(found[1]).mean(), rtol=0.05)
