"""One vector for a clip: the frames that lie inside it, and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed import Embedder
from listen_embed.clip import clip_vector, file_vector
from listen_embed.errors import AudioFileError, InputError

from .program import SR, write_sound


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder("logmel/128/16k", hop_size=0.25)


def test_the_mean_of_the_whole_frames(embedder: Embedder, rng: np.random.Generator) -> None:
    audio = rng.normal(0, 0.1, int(2.6 * SR)).astype(np.float32)
    starts = Embedder("logmel/128/16k", hop_size=0.25, center=False)
    embedding, timestamps = starts.embed(audio, SR)
    inside = timestamps + 1.0 <= 2.6
    assert 0 < inside.sum() < len(inside), "the last frame is padded"
    np.testing.assert_allclose(
        clip_vector(embedder, audio, SR), embedding[inside].mean(axis=0), rtol=1e-5
    )


def test_a_short_clip_is_its_only_frame(embedder: Embedder, rng: np.random.Generator) -> None:
    vector = clip_vector(embedder, rng.normal(0, 0.1, 700), SR)
    assert vector.shape == (128,) and np.isfinite(vector).all()


@pytest.mark.parametrize("seconds", [1.0, 11.3, 25.0])
def test_a_file_is_its_clip(embedder: Embedder, tmp_path: Path, seconds: float) -> None:
    import soundfile

    path = write_sound(tmp_path / "a.wav", seconds, 22_050)
    audio, sr = soundfile.read(path)
    np.testing.assert_array_equal(file_vector(embedder, path), clip_vector(embedder, audio, sr))


def test_what_is_no_clip_is_refused(embedder: Embedder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        clip_vector(embedder, np.zeros(0), SR)
    with pytest.raises(InputError, match="sample rate"):
        clip_vector(embedder, np.zeros(9), 3)
    with pytest.raises(AudioFileError, match="does not exist"):
        file_vector(embedder, tmp_path / "nothing.wav")
