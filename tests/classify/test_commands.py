"""``listen-embed classify``: train, test, and labels for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from listen_embed.cli import main

from .conftest import BASE
from .sounds import KINDS, sound, write


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = np.concatenate([sound(kind, 31, 3.0) for kind in KINDS])
    return write(tmp_path_factory.mktemp("sounds") / "day.wav", samples)


def test_train_then_test(
    labelled_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "own")
    assert main(["classify", "train", str(labelled_folder), "-o", out, "--base", BASE, "-q"]) == 0
    told = capsys.readouterr().out
    assert "--model" in told and "(log-mel statistics: " in told
    assert main(["classify", "test", str(labelled_folder), "-m", out, "-q"]) == 0
    assert "accuracy 1.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("a.csv", "path,start,end,label,score\n"),
        ("a.jsonl", '{"path": '),
        ("a.selections.txt", "Selection\tView\t"),
        ("a.txt", "0.000000\t"),
    ],
)
def test_formats_are_known_by_their_suffix(
    classifier_folder: Path, recording: Path, tmp_path: Path, name: str, begins: str
) -> None:
    out = tmp_path / name
    assert main(["classify", str(recording), "-m", str(classifier_folder), "-o", str(out)]) == 0
    assert out.read_text().startswith(begins)


def test_stretches_follow_the_sound(
    classifier_folder: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["classify", str(recording), "-m", str(classifier_folder), "--format", "jsonl"]
    assert main([*command, "--hop", "0.25"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    longest = {row["label"]: row for row in sorted(rows, key=lambda r: r["end"] - r["start"])}
    for i, kind in enumerate(KINDS):
        assert longest[kind]["start"] == pytest.approx(3 * i, abs=0.8)
        assert longest[kind]["end"] == pytest.approx(3 * (i + 1), abs=0.8)
    assert main([*command, "--omit", "hum", "--least", "0.5"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["label"] for row in rows} <= set(KINDS) - {"hum"}
    assert all(row["score"] >= 0.5 for row in rows)


def test_a_folder_takes_a_file_for_each_sound(
    classifier_folder: Path, recording: Path, tmp_path: Path
) -> None:
    again = write(tmp_path / "in" / "night.wav", sound("hum", 8, 2.0))
    command = ["classify", str(recording), str(again), "-m", str(classifier_folder)]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["day.csv", "night.csv"]
    assert main([*command, "--format", "audacity"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "a", "b"], "one folder or one CSV"),
        (["train", "a"], "give --out"),
        (["a.wav"], "give --model"),
    ],
)
def test_wrong_command_lines(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_sound_that_cannot_be_read_leaves_the_others(
    classifier_folder: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    command = ["classify", str(broken), str(recording), "-m", str(classifier_folder)]
    assert main(command) == 1
    found = capsys.readouterr()
    assert "broken.wav" in found.err and "day.wav" in found.out
