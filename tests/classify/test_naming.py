"""Stretches of several labels at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed import SoundClassifier
from listen_embed.classify.naming import named
from listen_embed.errors import ListenEmbedWarning

from .sounds import sound, write


def test_several_labels_may_overlap(
    classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = SoundClassifier(classifier_folder)
    path = write(tmp_path / "a.wav", sound("hum", 3, 4.0))

    def given(probabilities: np.ndarray) -> np.ndarray:
        found = np.zeros(probabilities.shape, bool)
        found[1:3, 0] = found[2:, 2] = True
        return found

    monkeypatch.setattr(type(classifier.layer), "given", lambda layer, p: given(p))
    stretches = named(classifier, path).stretches
    first, last = classifier.labels[0], classifier.labels[2]
    assert [(s.label, s.start, s.end) for s in stretches] == [
        (first, 0.75, 1.75),
        (last, 1.25, 4.0),
    ]
    assert named(classifier, path, omit=[first]).stretches == stretches[1:]
    assert named(classifier, path, least=1.1).stretches == ()


def test_a_short_sound_is_labelled_to_its_end(classifier_folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "short.wav", np.full(1600, 0.01, np.float32))
    with pytest.warns(ListenEmbedWarning, match="less than one frame"):
        (only,) = named(SoundClassifier(classifier_folder), path).stretches
    assert (only.start, only.end) == (0.0, pytest.approx(0.1))
