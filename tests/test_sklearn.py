"""scikit-learn's own checks, and the embedder inside its pipelines."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from listen_embed import Embedder
from listen_embed.errors import AudioFileError
from listen_embed.sklearn import AudioEmbedder

from .program import SR, write_sound

NAME = "logmel/128/16k"


@pytest.fixture
def tones(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Clips of two kinds, low and high, with noise."""
    labels = np.arange(12) % 2
    time = np.arange(SR) / SR
    clean = np.sin(2 * np.pi * np.where(labels, 3_000, 300)[:, None] * time)
    return clean + 0.05 * rng.standard_normal(clean.shape), labels


@pytest.mark.filterwarnings("ignore:audio (lasts|is|reaches):listen_embed.ListenEmbedWarning")
@pytest.mark.parametrize("name", [NAME, None])
def test_every_check_of_scikit_learn(name: str | None) -> None:
    results = check_estimator(AudioEmbedder(name, threads=1), on_skip=None)
    statuses = Counter(result["status"] for result in results)
    assert statuses["passed"] >= 46, "the checks that arrays bring with them were run"
    skipped = [result["check_name"] for result in results if result["status"] == "skipped"]
    assert set(statuses) <= {"passed", "skipped"}
    assert skipped == ["check_array_api_input"], "it asks for an environment variable of SciPy's"


def test_values_are_the_clips_vectors(tones: tuple[np.ndarray, np.ndarray]) -> None:
    clips, _ = tones
    made = AudioEmbedder(NAME).fit_transform(clips)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made[3], Embedder(NAME).embed_clip(clips[3], SR))


def test_integers_are_scaled_as_everywhere(tones: tuple[np.ndarray, np.ndarray]) -> None:
    pcm = (16_384 * tones[0][:2]).astype(np.int16)
    embedder = AudioEmbedder(NAME)
    np.testing.assert_allclose(
        embedder.fit_transform(pcm), embedder.fit_transform(pcm / 32_768), rtol=1e-4, atol=1e-3
    )


def test_paths_of_any_length(tmp_path: Path) -> None:
    paths = [write_sound(tmp_path / f"{i}.wav", 1 + i, seed=i) for i in range(3)]
    embedder = AudioEmbedder(NAME).fit(paths)
    made = embedder.transform([str(path) for path in paths])
    np.testing.assert_array_equal(made[2], Embedder(NAME).embed_clip_file(paths[2]))
    np.testing.assert_array_equal(embedder.transform(np.array(list(map(str, paths)))), made)
    assert not hasattr(embedder, "n_features_in_")
    with pytest.raises(AudioFileError, match="does not exist"):
        embedder.transform([tmp_path / "nothing.wav"])


def test_a_table_with_names(tones: tuple[np.ndarray, np.ndarray]) -> None:
    embedder = AudioEmbedder(NAME).set_output(transform="pandas")
    table = embedder.fit_transform(tones[0])
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns[:2]) == ["audioembedder0", "audioembedder1"]
    assert table.shape == (12, 128)


def test_it_pickles_without_its_model(tones: tuple[np.ndarray, np.ndarray]) -> None:
    embedder = AudioEmbedder().fit(tones[0])
    stored = pickle.dumps(embedder)
    assert len(stored) < 2_000
    again = pickle.loads(stored)
    assert again.digest_ == Embedder().digest
    np.testing.assert_array_equal(again.transform(tones[0][:2]), embedder.transform(tones[0][:2]))
    assert clone(embedder).get_params() == embedder.get_params()


@pytest.mark.parametrize("as_files", [False, True])
def test_it_works_in_pipelines(
    tones: tuple[np.ndarray, np.ndarray], tmp_path: Path, as_files: bool
) -> None:
    import soundfile

    clips, labels = tones
    if as_files:
        paths = [tmp_path / f"{i}.wav" for i in range(len(clips))]
        for path, clip in zip(paths, clips, strict=True):
            soundfile.write(path, 0.5 * clip, SR)
    X = paths if as_files else clips
    pipeline = make_pipeline(AudioEmbedder(NAME), LogisticRegression(max_iter=2_000))
    assert cross_val_score(pipeline, X, labels, cv=3).mean() == 1.0
    search = GridSearchCV(pipeline, {"audioembedder__threads": [1, 2]}, cv=2).fit(X, labels)
    assert search.best_score_ == 1.0
