"""A classifier as users meet it: files, streams, embeddings, and folders that are damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import listen_embed
from listen_embed import SoundClassifier
from listen_embed.errors import HeadError

from .sounds import KINDS, SR, sound, write


@pytest.fixture(scope="module")
def classifier(classifier_folder: Path) -> SoundClassifier:
    return SoundClassifier(classifier_folder)


def test_it_names_sounds_that_it_never_heard(classifier: SoundClassifier) -> None:
    assert classifier.labels == tuple(sorted(KINDS)) and not classifier.is_multi
    for kind in KINDS:
        labels, probabilities, timestamps = classifier.predict(sound(kind, 77, 3.0), SR)
        assert probabilities.shape == (len(timestamps), len(labels))
        assert probabilities.dtype == np.float32 and timestamps[:2].tolist() == [0.0, 0.5]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert classifier.given(probabilities)[0] == (kind,)
        assert labels[classifier.predict_clip(sound(kind, 78, 3.0), SR).argmax()] == kind


def test_a_stream_says_what_a_clip_says(classifier: SoundClassifier) -> None:
    samples = np.concatenate([sound(kind, 5, 1.3) for kind in KINDS])
    _, wanted, times = classifier.predict(samples, SR)
    stream = classifier.stream(SR)
    assert stream.latency >= 1.0
    cuts = np.split(samples, [100, 9_000, 9_001, 40_000])
    pieces = [stream.push(cut, last=cut is cuts[-1]) for cut in cuts]
    np.testing.assert_allclose(np.concatenate([p for p, _ in pieces]), wanted, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([t for _, t in pieces]), times)
    stream.reset()
    np.testing.assert_allclose(stream.push(samples, last=True)[0], wanted, atol=1e-5)


def test_a_file_says_what_its_samples_say(classifier: SoundClassifier, tmp_path: Path) -> None:
    samples = (sound("beeps", 6, 2.0) * 32767).astype(np.int16)
    path = write(tmp_path / "a.wav", samples)  # type: ignore[arg-type]
    _, found, _ = classifier.predict_file(path)
    np.testing.assert_allclose(found, classifier.predict(samples, SR)[1], atol=1e-6)


def test_the_layer_before_the_classes_is_a_model(
    classifier: SoundClassifier, classifier_folder: Path
) -> None:
    samples = sound("hum", 4, 2.0)
    embedding, _ = listen_embed.get_embedding(
        samples, SR, str(classifier_folder), hop_size=0.5, center=False
    )
    _, wanted, _ = classifier.predict(samples, SR)
    np.testing.assert_allclose(classifier.layer.probabilities(embedding), wanted, atol=1e-5)


def _damaged(folder: Path, place: Path) -> Path:
    return Path(shutil.copytree(folder, place / "damaged"))


def test_exchanged_classes_are_refused(classifier_folder: Path, tmp_path: Path) -> None:
    folder = _damaged(classifier_folder, tmp_path)
    content = bytearray((folder / "classes.npz").read_bytes())
    content[-1] ^= 1
    (folder / "classes.npz").write_bytes(content)
    with pytest.raises(HeadError, match="not the file that"):
        SoundClassifier(folder)


def test_an_exchanged_model_is_refused(classifier_folder: Path, tmp_path: Path) -> None:
    folder = _damaged(classifier_folder, tmp_path)
    card = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps(card | {"model": "0" * 64}))
    with pytest.raises(HeadError, match="its model is not the one"):
        SoundClassifier(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": "hum"},
        {"labels": ["a", "a", "b"]},
        {"labels": ["a", "b", "\x1b[2J"]},
        {"format": 99},
        {"hop": "soon"},
        {"new": 1},
    ],
)
def test_damaged_cards_are_refused(
    classifier_folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = _damaged(classifier_folder, tmp_path)
    card = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps(card | change))
    with pytest.raises(HeadError, match="damaged"):
        SoundClassifier(folder)


def test_no_classifiers_folder(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="classify train"):
        SoundClassifier(tmp_path)
