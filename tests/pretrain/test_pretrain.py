from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import listen_embed
from listen_embed import cli
from listen_embed.errors import InputError
from listen_embed.pretrain import pretrain
from listen_embed.pretrain.encoder import Architecture, front_end
from listen_embed.pretrain.material import log_mels_of
from listen_embed.pretrain.pretrain import Options

from ..training.sounds import noise, silence, write


@pytest.fixture(autouse=True)
def _one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make "micro" smaller still."""
    sizes = {"micro": (64, {"transformer": 1, "state-space": 1})}
    monkeypatch.setattr("listen_embed.pretrain.encoder._SIZES", sizes)


def options(**changes: object) -> Options:
    return Options(**{"n_steps": 4, "batch": 4, "seconds": 0.64, "frame": 0.32} | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        sizes = {"micro": (64, {"transformer": 1, "state-space": 1})}
        patch.setattr("listen_embed.pretrain.encoder._SIZES", sizes)
        out = tmp_path_factory.mktemp("made") / "mine"
        asked = options(method="asit", pool="bands")
        return pretrain.pretrain([recordings], out, asked, progress=False)


def test_the_folder_embeds_like_any_model(made: Path, recordings: Path) -> None:
    embedding, timestamps = listen_embed.get_embedding(
        noise(3, sr=16_000), 16_000, str(made), hop_size=0.5
    )
    assert embedding.shape == (len(timestamps), 512)
    clips = [listen_embed.Embedder(made).embed_clip(noise(2, seed=s), 8_000) for s in (0, 1)]
    assert not np.allclose(*clips)


def test_it_says_what_torch_says(made: Path) -> None:
    encoder = pretrain.load(made)
    in_float = listen_embed.Embedder(made / "float" if (made / "float").exists() else made)
    sound = noise(1, sr=16_000)[: front_end(32).frame_samples]
    log_mels = log_mels_of(sound[None], 32)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(log_mels[:, None])).numpy()
    stream = in_float.stream(16_000, hop_size=1.0, center=False)
    embedding, _ = stream.push(sound, last=True)
    assert np.allclose(embedding[:1], expected, atol=1e-4)


def test_card_and_report_tell_how_it_went(made: Path) -> None:
    card = (made / "README.md").read_text(encoding="utf-8")
    assert "| method | asit |" in card
    assert "log-mel statistics" in card
    report = json.loads((made / "report.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in report["history"]] == [4]
    assert report["probe"][0][0] == 0
    assert (made / "report.png").read_bytes().startswith(b"\x89PNG")
    assert not made.with_name("mine.work").exists()


def test_a_resumed_call_makes_the_same_model(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(precision="float32")
    whole = pretrain.pretrain([recordings], tmp_path / "whole", asked, progress=False)
    learn = pretrain.Run._learn

    def cut(run: pretrain.Run, clips: object) -> object:
        if run.step == 2:
            raise KeyboardInterrupt
        return learn(run, clips)  # type: ignore[arg-type]

    monkeypatch.setattr(pretrain.Run, "_learn", cut)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain([recordings], tmp_path / "cut", asked, progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(
        "listen_embed.pretrain.encoder._SIZES",
        {"micro": (64, {"transformer": 1, "state-space": 1})},
    )
    again = pretrain.pretrain([recordings], tmp_path / "cut", asked, progress=False)
    ours, theirs = (pretrain.load(folder).state_dict() for folder in (whole, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_state_space_exports_too(recordings: Path, tmp_path: Path) -> None:
    asked = options(encoder="state-space", n_steps=1)
    folder = pretrain.pretrain([recordings], tmp_path / "mamba", asked, progress=False)
    embedding = listen_embed.Embedder(folder).embed_clip(noise(2), 8_000)
    assert embedding.shape == (64,)
    assert np.isfinite(embedding).all()


def test_the_command_makes_a_model(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    asked = ["pretrain", str(recordings), "--out", str(out), "--steps", "1", "--batch", "2"]
    assert (
        cli.main([*asked, "--patch", "128x2", "--seconds", "0.64", "--frame", "0.32", "--quiet"])
        == 0
    )
    assert "model card README.md" in capsys.readouterr().out
    assert pretrain.load(out).architecture.patch == (128, 2)


def test_it_is_a_teacher(made: Path, recordings: Path, tmp_path: Path) -> None:
    from listen_embed.training import corpus
    from listen_embed.training.augment import NONE
    from listen_embed.training.shards import CorpusSounds, Recipe, make_shard, open_shard
    from listen_embed.training.starts import NANO_FRONT_END

    heard = corpus.build(
        corpus.find_recordings([recordings]), tmp_path / "corpus", 16_000, progress=False
    )
    sounds = CorpusSounds(tmp_path / "corpus", np.arange(len(heard)), heard.sr, NONE)
    make_shard(tmp_path / "shards", Recipe(sounds, (NANO_FRONT_END,), (str(made),), 8), 0)
    assert open_shard(tmp_path / "shards", 0).targets.shape == (8, 512)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "methods are ssast, asit"),
        ({"n_steps": 0}, "0 steps of 4 clips"),
        ({"batch": 0}, "4 steps of 0 clips"),
        ({"seconds": 100.0}, "crops of 100.0 s"),
        ({"seconds": 0.7}, "do not tile"),
        ({"frame": 0.5}, "do not tile"),
        ({"frame": 0.1}, "frames of 0.1 s"),
        ({"size": "giant"}, "sizes are"),
    ],
)
def test_bad_options_are_named_before_anything_is_read(
    changes: dict[str, object], message: str, recordings: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        pretrain.pretrain([recordings], tmp_path / "out", options(**changes), progress=False)
    assert not list(tmp_path.iterdir())


def test_broken_silent_and_short_recordings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "sounds"
    write(folder / "silent.wav", silence(40))
    write(folder / "short.wav", noise(2))
    (folder / "broken.wav").write_bytes(b"RIFF....WAVEnothing")
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match=r"only 2\.0 s of sound"):
        pretrain.pretrain([folder], tmp_path / "out", options(), progress=False)
    assert "broken.wav" in caplog.text


def test_recordings_of_several_rates_go_together(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    for sr in (8_000, 22_050, 48_000):
        write(folder / f"{sr}.wav", noise(12, seed=sr, sr=sr), sr)
    made = pretrain.pretrain([folder], tmp_path / "out", options(n_steps=1), progress=False)
    assert "0.01" in (made / "README.md").read_text(encoding="utf-8")


def test_other_folders_and_damage_are_told(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no encoder\.pt"):
        pretrain.load(tmp_path)
    (tmp_path / "encoder.pt").write_bytes((made / "encoder.pt").read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        pretrain.load(tmp_path)


def test_the_architecture_follows_from_the_options() -> None:
    assert options().architecture == Architecture(width=64, depth=1, n_steps=64)
    assert options(method="asit").architecture.n_extra == 1
