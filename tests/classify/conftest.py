"""A classifier's folder, made once for all that look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="making classifiers needs the training room's extra")

from .sounds import KINDS, folder_of, mixed_table, sound

BASE = "sea/32/nano"


def encoder_in(path: Path) -> Path:
    """Write a wave encoder that has learned nothing but the level of sound."""
    import torch

    from listen_embed.classify import wave
    from listen_embed.classify.mixing import companded
    from listen_embed.classify.network import WaveEncoder

    torch.manual_seed(0)
    encoder = WaveEncoder()
    with torch.no_grad():
        for kind in KINDS:
            encoder.train()(companded(torch.from_numpy(sound(kind, 70))[None]))
    wave.save(encoder, path)
    return path


@pytest.fixture(scope="session")
def labelled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder for each of three kinds."""
    return folder_of(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="session")
def labelled_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV of clips with one or two kinds in each."""
    return mixed_table(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="session")
def classifier_folder(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier of the method head."""
    from listen_embed.classify.options import Options
    from listen_embed.classify.train import train

    out = tmp_path_factory.mktemp("made") / "kinds"
    return train(labelled_folder, out, Options(base=BASE), progress=False)


@pytest.fixture(scope="session")
def lean_folder(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier of the method lean, its wave encoder frozen."""
    from listen_embed.classify import wave

    place = tmp_path_factory.mktemp("lean")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wave, "WEIGHTS", encoder_in(place / "encoder.npz"))
        return _trained("lean", labelled_folder, place)


@pytest.fixture(scope="session")
def finetune_folder(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier of the method finetune."""
    return _trained("finetune", labelled_folder, tmp_path_factory.mktemp("finetune"))


def _trained(method: Any, labelled: Path, place: Path) -> Path:
    from listen_embed.classify.options import Options
    from listen_embed.classify.train import train

    options = Options(method=method, base=BASE, epochs=6, window=1.2)
    return train(labelled, place / method, options, progress=False)
