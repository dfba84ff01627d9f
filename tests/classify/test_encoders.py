"""Encoders that learned without labels as bases: of head, of finetune, of lean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from listen_embed import SoundClassifier, get_embedding
from listen_embed.classify import encoders
from listen_embed.classify.options import Options
from listen_embed.classify.train import train
from listen_embed.cli import main
from listen_embed.errors import InputError
from listen_embed.pretrain import pretrain
from listen_embed.pretrain.encoder import Architecture, Encoder, front_end

from .sounds import SR, folder_of, sound


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an encoder of one small block that learned for a moment."""
    recordings = folder_of(tmp_path_factory.mktemp("recordings"), n=4, seconds=3.0)
    out = tmp_path_factory.mktemp("encoder") / "mine"
    options = pretrain.Options(n_steps=4, batch=4, seconds=0.64, frame=0.32)
    with pytest.MonkeyPatch.context() as patch:
        sizes = {"micro": (64, {"transformer": 1, "state-space": 1})}
        patch.setattr("listen_embed.pretrain.encoder._SIZES", sizes)
        return pretrain.pretrain([recordings], out, options, progress=False)


@pytest.mark.parametrize("n_extra", [0, 2])
@pytest.mark.parametrize("pool", ["mean", "bands"])
def test_frames_come_to_the_encoders_own_embedding(pool: Any, n_extra: int) -> None:
    torch.manual_seed(0)
    shape = Architecture(width=64, depth=1, n_steps=64, n_extra=n_extra, pool=pool)
    base = encoders.of_encoder("mine", Encoder(shape).eval())
    for n_steps in (64, 128):
        log_mels = torch.randn(2, 1, 128, n_steps)
        with torch.no_grad():
            frames = base.network(log_mels)
            wanted = base.network.encoder(log_mels)  # type: ignore[operator]
            fixed = base.network.lasting(n_steps)(log_mels)  # type: ignore[operator]
        assert frames.shape == (2, n_steps // 16, shape.emb_dim)
        torch.testing.assert_close(frames.mean(1), wanted)
        torch.testing.assert_close(fixed, frames)


def test_windows_are_whole_patches() -> None:
    base = encoders.of_encoder("mine", Encoder(Architecture(width=64, depth=1, n_steps=64)))
    assert base.lasting(0.64) == front_end(64)
    for seconds in (0.05, 0.5, 1.2, 4.99):
        heard = base.lasting(seconds)
        assert heard.n_steps % 16 == 0 and heard.n_steps > 0
        assert seconds < 0.2 or heard.frame_seconds == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("method", ["head", "finetune", "lean"])
def test_labels_are_learned_on_an_encoder(
    encoder_folder: Path, labelled_folder: Path, tmp_path: Path, method: str
) -> None:
    out = str(tmp_path / "own")
    command = ["classify", "train", str(labelled_folder), "-o", out, "-q", "--method", method]
    command += ["--base", str(encoder_folder), "--epochs", "3", "--window", "1.0"]
    assert main([*command, *(["--wave", "trained"] if method == "lean" else [])]) == 0
    classifier = SoundClassifier(out)
    probabilities = classifier.predict(sound("hum", 4), SR)[1]
    assert probabilities.shape[1] == 3 and np.isfinite(probabilities).all()
    embedding, _ = get_embedding(sound("hum", 4), SR, out)
    assert embedding.shape[1] == classifier.layer.weight.shape[1]
    assert classifier.card.base == f"own/64/{encoder_folder.name}"


def test_a_damaged_encoder_leaves_nothing(
    encoder_folder: Path, labelled_folder: Path, tmp_path: Path
) -> None:
    weights = encoder_folder / pretrain.WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    try:
        with pytest.raises(InputError, match="cannot be read"):
            options = Options(method="finetune", base=str(encoder_folder))
            train(labelled_folder, tmp_path / "own", options, progress=False)
    finally:
        weights.write_bytes(whole)
    assert list(tmp_path.iterdir()) == []
