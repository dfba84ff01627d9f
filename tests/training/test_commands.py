"""``listen-embed specialize``: every option arrives, sizes are read, and mistakes are told."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed import cli
from listen_embed.errors import InputError
from listen_embed.training import commands, specialize
from listen_embed.training.commands import parse_bytes
from listen_embed.training.specialize import Options

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Return what `specialize` is called with, and make nothing."""
    calls: list[Any] = []
    verdict = {"sentence": "Your model is better.", "advice": "Yet there is a better teacher."}
    (tmp_path / "report.json").write_text(json.dumps({"verdict": verdict}), encoding="utf-8")

    def note(recordings: Any, out: Path, options: Options, *, progress: bool) -> Path:
        calls.append((recordings, out, options, progress))
        return tmp_path

    monkeypatch.setattr(specialize, "specialize", note)
    return calls


def test_the_commands_defaults_are_the_librarys(
    asked: list[Any], capsys: Captured, tmp_path: Path
) -> None:
    assert cli.main(["specialize", "a.wav", "folder", "--out", "m"]) == 0
    assert asked == [([Path("a.wav"), Path("folder")], Path("m"), Options(), True)]
    assert capsys.readouterr().out == (
        "Your model is better. Yet there is a better teacher.\n"
        f"{tmp_path}: model card README.md, picture report.png; use it with --model {tmp_path}\n"
    )


def test_every_option_arrives(asked: list[Any]) -> None:
    line = (
        "specialize recordings --out m --teacher mn04 --teacher logmel/128/16k --emb-dim 32 "
        "--budget 1.5MB --student pruned --front-end yamnet --sampling both --crops 9 --shards 8 "
        "--shard-size 77 --no-augment --loss cosine --learning-rate 0.01 --sparsity 0.5 "
        "--int8-shards 3 --seed 4 --workers 5 --threads 6 --licence MIT --quiet --passes 2 --keep "
        "--labels l.csv --test t1 --test t2"
    )
    assert cli.main(line.split()) == 0
    ((_, _, options, progress),) = asked
    assert options == Options(
        teachers=("mn04", "logmel/128/16k"), emb_dim=32, budget_bytes=1_500_000, student="pruned",
        front_end="yamnet", sampling="both", n_crops=9, n_shards=8, shard_size=77, augment=False,
        loss="cosine", learning_rate=0.01, sparsity=0.5, int8_shards=3, seed=4, workers=5,
        threads=6, licence="MIT", passes=2, keep=True, labels="l.csv", test=("t1", "t2"),
    )  # fmt: skip
    assert not progress


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("65536", 65_536),
        ("64kB", 64_000),
        ("64 KB", 64_000),
        ("64KiB", 65_536),
        ("0.2MB", 200_000),
        (".5mib", 524_288),
        ("1.", 1),
        (" 512 b ", 512),
        ("2.5kB", 2_500),
        ("0", 0),
    ],
)
def test_sizes(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


WRONG = ["", "kB", "64kX", "64 k B", "-1", "1e3", "1.2.3", ".", "64,5kB", "nan", "0x10", "64kB!"]


@pytest.mark.parametrize("text", WRONG)
def test_no_sizes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no size; write for example 64kB"):
        parse_bytes(text)


def test_a_wrong_size_is_wrong_usage_and_says_why(asked: list[Any], capsys: Captured) -> None:
    assert cli.main(["specialize", "a.wav", "--out", "m", "--budget", "lots"]) == 2
    assert "--budget: 'lots' is no size; write for example 64kB" in capsys.readouterr().err
    assert not asked


@pytest.mark.parametrize(
    "arguments",
    [["a.wav"], ["--out", "m"], ["a.wav", "--out", "m", "--student", "tall"],
     ["a.wav", "--out", "m", "--emb-dim", "many"]],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], asked: list[Any], capsys: Captured) -> None:
    assert cli.main(["specialize", *arguments]) == 2
    assert capsys.readouterr().err
    assert not asked


def test_what_is_wrong_is_one_line_and_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail(*arguments: Any, **more: Any) -> None:
        raise InputError("only 3.0 s of sound")

    monkeypatch.setattr(specialize, "specialize", fail)
    assert cli.main(["specialize", "a.wav", "--out", "m"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert "only 3.0 s of sound" in shown.err


def test_help_names_every_option(capsys: Captured) -> None:
    assert cli.main(["specialize", "--help"]) == 0
    shown = capsys.readouterr().out
    parser = argparse.ArgumentParser()
    commands._add_what(parser)
    commands._add_verdict(parser)
    commands._add_how(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    assert len(options) > 15
    assert all(option in shown for option in options)
    assert "OUT.work" in shown
