"""One embedding for each sound: a table of all in a file or on standard output, or a file each."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from listen_embed import Embedder
from listen_embed.cli import main

from ..program import write_sound

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return [str(write_sound(Path(f"r/{name}.wav"), 1.5, seed=i)) for i, name in enumerate("abü")]


def expected(sounds: list[str]) -> np.ndarray:
    embedder = Embedder("logmel")
    return np.stack([embedder.embed_clip_file(path) for path in sounds])


def read(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Return names and vectors of a table."""
    if str(path).endswith(".npz"):
        with np.load(path, allow_pickle=False) as made:
            assert set(made) == {"path", "embedding", "model", "digest", "version"}
            return made["path"].tolist(), made["embedding"]
    if str(path).endswith(".parquet"):
        table = pyarrow.parquet.read_table(path)
        return table["path"].to_pylist(), np.stack(table["embedding"].to_numpy())
    header, *rows = csv.reader(io.StringIO(Path(path).read_text(encoding="utf-8")))
    assert header[:2] == ["path", "embedding_0"]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], np.float32)


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_a_table_has_a_row_for_every_sound(
    sounds: list[str], suffix: str, capsys: Captured
) -> None:
    assert main(["r", "--clip", "-m", "logmel", "-o", f"clips.{suffix}"]) == 0
    names, vectors = read(f"clips.{suffix}")
    assert names == sounds
    np.testing.assert_array_equal(vectors, expected(sounds))
    assert capsys.readouterr() == ("", "")


def test_a_table_is_the_same_from_several_processes(sounds: list[str]) -> None:
    for jobs in ("1", "2"):
        assert main(["r", "--clip", "-m", "logmel", "-o", f"{jobs}.csv", "-j", jobs]) == 0
    assert Path("1.csv").read_bytes() == Path("2.csv").read_bytes()


@pytest.mark.parametrize("format", ["csv", "npz"])
def test_a_table_on_standard_output(
    sounds: list[str], format: str, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    assert main(["r", "--clip", "-m", "logmel", "-o", "-", "-f", format]) == 0
    made = tmp_path / f"made.{format}"
    made.write_bytes(capfdbinary.readouterr().out)
    assert read(made)[0] == sounds


def test_what_fails_is_said_and_has_no_row(sounds: list[str], capsys: Captured) -> None:
    Path("r/b.wav").write_text("not audio")
    assert main(["r", "nope.wav", "--clip", "-m", "logmel", "-o", "clips.csv"]) == 1
    assert read("clips.csv")[0] == [sounds[0], sounds[2]]
    shown = capsys.readouterr().err
    assert "r/b.wav: not readable as audio" in shown
    assert "nope.wav: does not exist" in shown


def test_a_table_without_rows_replaces_nothing(capsys: Captured) -> None:
    Path("bad.wav").write_text("not audio")
    Path("clips.csv").write_text("old")
    assert main(["bad.wav", "--clip", "-m", "logmel", "-o", "clips.csv"]) == 1
    assert "no sound could be embedded" in capsys.readouterr().err
    assert Path("clips.csv").read_text() == "old"


def test_a_table_that_exists_may_be_left(capsys: Captured) -> None:
    Path("clips.csv").write_text("old")
    assert main(["r", "--clip", "-o", "clips.csv", "--no-clobber"]) == 0
    assert "3 left out" in capsys.readouterr().err
    assert Path("clips.csv").read_text() == "old"


def test_a_folder_takes_a_file_for_every_sound(sounds: list[str]) -> None:
    assert main(["r", "--clip", "-m", "logmel", "-o", "out/"]) == 0
    for path, vector in zip(sounds, expected(sounds), strict=True):
        with np.load(f"out/{Path(path).stem}.npz") as made:
            np.testing.assert_array_equal(made["embedding"], vector[None])
            assert made["timestamps"].tolist() == [0.0]


def test_one_sound(sounds: list[str], capsys: Captured) -> None:
    assert main([sounds[0], "--clip", "-m", "logmel", "-o", "a.npy"]) == 0
    np.testing.assert_array_equal(np.load("a.npy"), expected(sounds[:1]))
    assert main([sounds[0], "--clip", "-m", "logmel"]) == 0
    assert capsys.readouterr().out == (
        f"{sounds[0]}: one embedding of 128 values, by logmel/128/16k\n"
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["r", "-o", "x.npy"], "no room for the names of several sounds"),
        (["r/a.wav", "-p", "x.png"], "--clip gives one for all of it"),
        (["r/a.wav", "--frame", "0.01"], "frame_size is 0.01"),
    ],
)
def test_wrong_usage(capsys: Captured, arguments: list[str], why: str) -> None:
    assert main([*arguments, "--clip"]) == 2
    assert why in capsys.readouterr().err


def test_a_table_never_replaces_a_sound(sounds: list[str], capsys: Captured) -> None:
    Path(sounds[0]).rename("sound.csv")
    assert main(["sound.csv", "--clip", "-o", "sound.csv"]) == 2
    assert "would replace the sound itself" in capsys.readouterr().err


def test_whole_sounds_are_heard_under_their_names(capsys: Captured) -> None:
    soundfile.write("silent.wav", np.zeros(32_000), 16_000)
    assert main(["silent.wav", "--clip", "-m", "logmel", "-o", "clips.csv"]) == 0
    assert "warning: silent.wav is silent" in capsys.readouterr().err
