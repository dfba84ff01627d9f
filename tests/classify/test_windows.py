"""Windows: what clips are cut into, kept, and heard again when they change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from listen_embed import Embedder, registry
from listen_embed.classify.labelled import read_labelled
from listen_embed.classify.windows import check_rate, usual_seconds, windows_of
from listen_embed.errors import InputError

from .conftest import BASE

FRONT_END = registry.find(BASE).front_end.lasting(0.5)


def test_clips_become_windows_of_one_length(labelled_folder: Path, tmp_path: Path) -> None:
    labelled = read_labelled(labelled_folder)
    assert usual_seconds(labelled) == pytest.approx(1.2)
    found = windows_of(labelled, FRONT_END, tmp_path, progress=False)
    assert np.bincount(found.clip).tolist() == [2] * 18  # the rest is less than half a window
    assert found.waves.shape == (36, 8000) and found.log_mels.shape[1:] == FRONT_END.input_shape
    assert found.of(np.array([1, 3])).tolist() == [2, 3, 6, 7]


def test_windows_are_what_the_embedder_hears(labelled_folder: Path, tmp_path: Path) -> None:
    labelled = read_labelled(labelled_folder)
    whole = registry.find(BASE).front_end
    found = windows_of(labelled, whole, tmp_path, progress=False)
    embedder = Embedder(BASE, hop_size=whole.frame_seconds, center=False)
    samples, sr = labelled.clips[4].load()
    wanted = embedder.embed(samples, sr)[0][0]
    given = embedder.embed_features(found.log_mels[4:5].astype(np.float32))[0]
    assert given @ wanted / np.linalg.norm(given) / np.linalg.norm(wanted) > 0.999


def test_kept_windows_are_taken_until_something_changes(
    labelled_folder: Path, tmp_path: Path
) -> None:
    labelled = read_labelled(labelled_folder)
    windows_of(labelled, FRONT_END, tmp_path, progress=False)
    before = (tmp_path / "waves").stat().st_mtime_ns
    windows_of(labelled, FRONT_END, tmp_path, progress=False)
    assert (tmp_path / "waves").stat().st_mtime_ns == before
    fewer = replace(labelled, clips=labelled.clips[:4])
    assert len(windows_of(fewer, FRONT_END, tmp_path, progress=False).clip) == 8


def test_a_wave_encoder_needs_a_multiple_of_its_rate() -> None:
    assert check_rate(FRONT_END).features == "log-mel+waveform"
    with pytest.raises(InputError, match="multiple of 16 kHz"):
        check_rate(replace(FRONT_END, sample_rate=22_050))
