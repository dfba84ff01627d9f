from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from listen_embed.pretrain import material
from listen_embed.pretrain.asit import Asit
from listen_embed.pretrain.encoder import Architecture, Encoder
from listen_embed.pretrain.material import Material, batches, clips_of
from listen_embed.pretrain.ssast import Ssast

SMALL = Architecture(width=64, depth=1, n_steps=64)


@pytest.fixture
def sounds(corpus_folder: Path) -> Material:
    return Material(corpus_folder, Ssast, SMALL, 6, seed=3)


def test_a_step_is_the_same_whoever_makes_it(sounds: Material) -> None:
    here = list(batches(sounds, 2, 5))
    elsewhere = list(batches(sounds, 2, 5, workers=1))
    for one, other in zip(here, elsewhere, strict=True):
        assert np.array_equal(one.log_mels, other.log_mels)
        assert np.array_equal(one.masks, other.masks)
        assert np.array_equal(one.crops, other.crops)
    assert not np.array_equal(here[0].log_mels, here[1].log_mels)


def test_parts_make_up_the_batch(sounds: Material) -> None:
    whole = clips_of(sounds, 1)
    parts = [clips_of(dataclasses.replace(sounds, part=(i, 3)), 1) for i in range(3)]
    assert np.array_equal(np.concatenate([part.crops for part in parts]), whole.crops)
    joined = np.concatenate([part.log_mels for part in parts])
    assert np.allclose(joined, whole.log_mels, atol=1e-5)


def test_two_views_are_of_one_sound_and_the_filler_is_not(corpus_folder: Path) -> None:
    both = Material(corpus_folder, Asit, SMALL, 64)
    views = clips_of(both, 0).log_mels
    assert views.shape == (64, 3, 128, 64)
    spectra = views.mean(3) - views.mean((2, 3))[..., None]
    spectra /= np.linalg.norm(spectra, axis=2, keepdims=True)
    alike = (spectra[:, 0] * spectra[:, 1]).sum(1)
    filled = (spectra[:, 0] * spectra[:, 2]).sum(1)
    assert np.median(alike) > np.median(filled) + 0.05


def test_more_of_a_clip_is_shown_than_of_the_sound_it_borrows(
    corpus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the seed is the same, only the borrowed patches depend on the noise's deviation."""
    both = Material(corpus_folder, Asit, SMALL, 16)
    loud, clips = clips_of(both, 0), clips_of(both, 0)
    monkeypatch.setattr(material, "_NOISE_DEVIATION", 0.0)
    quiet = clips_of(both, 0).log_mels[:, 2]
    borrowed = Encoder(SMALL).patches(torch.from_numpy(loud.log_mels[:, 2] - quiet)).numpy()
    is_other = (borrowed == 0).all(2)[:, None]
    shown = ~clips.masks
    foreign = (clips.masks & is_other).mean(2)
    assert (foreign > 0).mean() > 0.9
    assert (foreign < shown.mean(2)).all()
    assert np.isclose(is_other.mean(), 0.25, atol=0.02)


def test_views_of_a_clip_are_equally_loud(corpus_folder: Path) -> None:
    views = clips_of(Material(corpus_folder, Asit, SMALL, 16), 0).log_mels
    levels = views[:, :2].mean((2, 3))
    assert np.abs(levels[:, 0] - levels[:, 1]).max() < 0.1 * np.ptp(levels)


def test_gain_moves_log_mels_only_up_or_down(
    sounds: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = clips_of(sounds, 0).log_mels
    monkeypatch.setattr(material, "_GAIN_DB", 0.0)
    difference = changed - clips_of(sounds, 0).log_mels
    assert np.ptp(difference, axis=(2, 3)).max() < 1e-5
    assert np.ptp(difference) > 0.01
