from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.pretrain.encoder import Architecture
from listen_embed.pretrain.material import Material
from listen_embed.pretrain.run import CHECKPOINT, Run, Settings
from listen_embed.pretrain.ssast import Ssast

SMALL = Architecture(width=64, depth=1, n_steps=64)
EXACT = Settings(n_steps=6, precision="float32")


def start(corpus_folder: Path, folder: Path, settings: Settings = EXACT, batch: int = 4) -> Run:
    torch.manual_seed(0)
    sounds = Material(corpus_folder, Ssast, SMALL, batch)
    return Run(Ssast(SMALL), sounds, settings, folder, {"batch": batch}, lambda c: f"crop {c}")


def finish(run: Run, until: int = 6) -> list[float]:
    return [losses.total.mean().item() for losses in run.train(until)]


def test_a_run_that_was_cut_off_goes_on_as_if_nothing_had_happened(
    corpus_folder: Path, tmp_path: Path
) -> None:
    whole = finish(start(corpus_folder, tmp_path / "whole"))
    first = finish(start(corpus_folder, tmp_path / "cut"), until=3)
    again = start(corpus_folder, tmp_path / "cut")
    assert again.step == 3
    assert first + finish(again) == whole
    assert [row.step for row in again.history] == [6]


def test_ctrl_c_keeps_what_was_learnt(corpus_folder: Path, tmp_path: Path) -> None:
    run = start(corpus_folder, tmp_path)
    steps = run.train(6)
    next(steps)
    next(steps)
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt)
    assert start(corpus_folder, tmp_path).step == 2


def test_other_settings_are_refused(corpus_folder: Path, tmp_path: Path) -> None:
    finish(start(corpus_folder, tmp_path), until=1)
    with pytest.raises(InputError, match=r"learning_rate was 0.001, is 0.5"):
        start(corpus_folder, tmp_path, Settings(n_steps=6, learning_rate=0.5))


def test_a_truncated_checkpoint_gives_way_to_the_one_before(
    corpus_folder: Path, tmp_path: Path
) -> None:
    run = start(corpus_folder, tmp_path)
    finish(run, until=2)
    finish(run, until=4)
    latest = tmp_path / CHECKPOINT
    latest.write_bytes(latest.read_bytes()[:1000])
    assert start(corpus_folder, tmp_path).step == 2
    (tmp_path / "checkpoint.previous.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        start(corpus_folder, tmp_path)


def test_a_loss_that_is_not_finite_names_the_clip(corpus_folder: Path, tmp_path: Path) -> None:
    run = start(corpus_folder, tmp_path)
    finish(run, until=2)
    with torch.no_grad():
        run.method.encoder.norm.weight.fill_(torch.nan)
    with pytest.raises(ListenEmbedError, match=r"step 3: the loss is not finite for crop \d+, cr"):
        finish(run)
    assert start(corpus_folder, tmp_path).step == 2


def test_too_little_memory_says_what_to_lower(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    run = start(corpus_folder, tmp_path)
    monkeypatch.setattr(Ssast, "forward", full)
    with pytest.raises(ListenEmbedError, match="4 clips at once; lower --batch"):
        finish(run)


_TOGETHER = """
import sys, torch
from pathlib import Path
from listen_embed.pretrain.asit import Asit
from listen_embed.pretrain.encoder import Architecture
from listen_embed.pretrain.material import Material
from listen_embed.pretrain.run import Run, Settings, shared_run
from listen_embed.pretrain.ssast import Ssast
corpus, out = Path(sys.argv[1]), Path(sys.argv[2])
with shared_run() as part:
    for kind, n_extra in ((Ssast, 0), (Asit, 1)):
        small = Architecture(width=64, depth=1, n_steps=64, n_extra=n_extra)
        torch.manual_seed(0)
        sounds = Material(corpus, kind, small, 4, part=part)
        settings = Settings(n_steps=5, precision="float32")
        run = Run(kind(small), sounds, settings, out / kind.name, {})
        for _ in run.train(5):
            if part[0] == 0:
                print(kind.name, run.history[-1].loss)
"""


def test_two_processes_learn_what_one_does(corpus_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(_TOGETHER)

    def losses(*launcher: str, out: str) -> list[float]:
        done = subprocess.run(
            [sys.executable, *launcher, str(script), str(corpus_folder), str(tmp_path / out)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return [float(line.split()[1]) for line in done.stdout.splitlines() if "as" in line]

    alone = losses(out="alone")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    together = losses(*launcher, out="together")
    assert len(alone) == 10
    assert together == pytest.approx(alone, rel=1e-4)
