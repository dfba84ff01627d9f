"""A small corpus, and encoders that take no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ..training.sounds import write


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of eight recordings of twelve seconds: tones in noise, all different."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    time = np.arange(12 * 16_000) / 16_000
    for number in range(8):
        tone = 0.2 * np.sin(2 * np.pi * 200 * (number + 1) * time)
        write(folder / f"{number}.wav", tone + 0.02 * rng.standard_normal(len(time)), 16_000)
    return folder


@pytest.fixture(scope="session")
def corpus_folder(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where those recordings lie decoded."""
    from listen_embed.training import corpus

    folder = tmp_path_factory.mktemp("corpus")
    corpus.build(corpus.find_recordings([recordings]), folder, 16_000, progress=False)
    return folder
