"""``listen-embed SOUND...``: every option, good and bad files, and what is said where."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from listen_embed import Embedder
from listen_embed.cli import main

from ..program import SR, names_in, write_sound

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sound(here: Path) -> Path:
    return write_sound(Path("a.wav"), 3.0)


def expected(source: Path, *model: object, **options: object) -> tuple[np.ndarray, np.ndarray]:
    return Embedder(*model, **options).embed_file(source)  # type: ignore[arg-type]


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


# ---- what is written -------------------------------------------------------------------


def test_npy(sound: Path, capsys: Captured) -> None:
    assert main(["a.wav", "--out", "emb.npy"]) == 0
    np.testing.assert_array_equal(np.load("emb.npy"), expected(sound)[0])
    assert capsys.readouterr() == ("", "")


def test_npz(sound: Path) -> None:
    assert main(["embed", "a.wav", "-o", "emb.npz"]) == 0
    with np.load("emb.npz") as made:
        assert set(made) == {"embedding", "timestamps", "model", "digest", "version"}
        np.testing.assert_array_equal(made["embedding"], expected(sound)[0])
        np.testing.assert_array_equal(made["timestamps"], expected(sound)[1])


def test_csv(sound: Path) -> None:
    assert main(["a.wav", "-o", "emb.csv"]) == 0
    with open("emb.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["timestamp", "embedding_0"]
    values = np.array(rows, float)
    np.testing.assert_array_equal(values[:, 0], expected(sound)[1])
    np.testing.assert_array_equal(values[:, 1:].astype(np.float32), expected(sound)[0])


def test_parquet(sound: Path) -> None:
    assert main(["a.wav", "-o", "emb.parquet"]) == 0
    table = pyarrow.parquet.read_table("emb.parquet")
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), expected(sound)[0])


def test_a_picture_alone_and_beside_a_result(sound: Path, capsys: Captured) -> None:
    assert main(["a.wav", "--plot", "a.png"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("a.wav: ")
    assert shown.err == ""
    assert main(["a.wav", "-p", "b.svg", "-o", "x/b.npy"]) == 0
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert Path("b.svg").read_bytes().startswith(b"<?xml")
    assert Path("x/b.npy").is_file()


def test_without_out_a_sound_is_summed_up(sound: Path, capsys: Captured) -> None:
    assert main(["a.wav"]) == 0
    shown = capsys.readouterr()
    n_frames, emb_dim = expected(sound)[0].shape
    assert shown.out == (
        f"a.wav: {n_frames} embeddings of {emb_dim} values, one every 0.1 s, "
        f"by {Embedder().spec.name}\n"
    )
    assert "--out" in shown.err
    assert list(names_in(Path())) == ["a.wav"]


def test_a_folder_of_sounds(sound: Path, capsys: Captured) -> None:
    write_sound(Path("r/ä b/1.wav"))
    write_sound(Path("r/2.flac"))
    assert main(["r", "a.wav", "--out", "out/", "--format", "npy", "--plot", "pics/"]) == 0
    assert [n for n in names_in(Path("out")) if n.endswith("npy")] == [
        "2.npy",
        "a.npy",
        "ä b/1.npy",
    ]
    assert [n for n in names_in(Path("pics")) if "." in n] == ["2.png", "a.png", "ä b/1.png"]
    assert capsys.readouterr().out == ""


def test_patterns_in_quotes(here: Path) -> None:
    for name in ("day-1/x/a.wav", "day-2/b.wav", "night/c.wav"):
        write_sound(Path(name), 1.0)
    assert main(["day-*/**/*.wav", "-o", "out"]) == 0
    assert list(names_in(Path("out"))) == ["a.npz", "b.npz"]


def test_names_of_every_kind(here: Path) -> None:
    names = ["ü.wav", "two words.wav", "[a]*?.wav", "-dash.wav", "車.wav", "new\nline.wav"]
    for name in names:
        write_sound(Path(name), 1.0)
    assert main(["-o", "out/", "--", *names]) == 0
    assert len(list(names_in(Path("out")))) == len(names)


def test_options_stand_anywhere(sound: Path) -> None:
    write_sound(Path("b.wav"), 1.0)
    assert main(["--format", "csv", "a.wav", "-o", "out/", "b.wav", "--hop", "1"]) == 0
    assert list(names_in(Path("out"))) == ["a.csv", "b.csv"]


# ---- models ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "model", "options"),
    [
        (["--model", "logmel"], ("logmel",), {}),
        (["-m", "logmel/256/48k"], ("logmel", 256), {}),
        (["-m", "logmel", "--emb-dim", "256"], ("logmel", 256), {}),
        (["-m", "logmel", "--variant", "48k"], ("logmel", 256), {}),
        (["--hop", "0.37"], (), {"hop_size": 0.37}),
        (["--no-center"], (), {"center": False}),
        (["--threads", "1"], (), {"threads": 1}),
        (["--frame", "2", "-m", "logmel"], ("logmel",), {"frame_size": 2.0}),
    ],
)
def test_model_options(
    sound: Path, arguments: list[str], model: tuple[object, ...], options: dict[str, object]
) -> None:
    assert main(["a.wav", "-o", "emb.npz", *arguments]) == 0
    embedding, timestamps = expected(sound, *model, **options)
    with np.load("emb.npz") as made:
        np.testing.assert_array_equal(made["embedding"], embedding)
        np.testing.assert_array_equal(made["timestamps"], timestamps)
        assert str(made["model"]) == Embedder(*model).spec.name  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_published_model_is_fetched_and_is_quiet(
    sound: Path, mirror: object, capfd: pytest.CaptureFixture[str], jobs: str
) -> None:
    write_sound(Path("b.wav"), 3.0)
    assert main(["a.wav", "b.wav", "-o", "out/", "-f", "npy", "-m", "listen", "-j", jobs]) == 0
    assert [np.load(f"out/{name}.npy").shape[1] for name in "ab"] == [64, 64]
    assert capfd.readouterr() == ("", "")


def test_a_model_folder(sound: Path, mirror: object, capsys: Captured) -> None:
    from listen_embed import registry, store

    spec = registry.find("listen")
    Path("own").mkdir()
    shutil.copy(store.fetch(spec), "own/model.tflite")
    front_end = "\n".join(
        f"{name} = {json.dumps(value)}"
        for name, value in dataclasses.asdict(spec.front_end).items()
    )
    Path("own/model.toml").write_text(
        '[model]\nmodel_type = "own"\nemb_dim = 64\nvariant = "mine"\nlicence = "MIT"\n'
        f'file = "model.tflite"\n[front_end]\n{front_end}\n'
    )
    assert main(["a.wav", "-m", "own"]) == 0
    assert "by own/64/mine" in capsys.readouterr().out


# ---- good and bad files ----------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_bad_files_do_not_stop_good_ones(sound: Path, capsys: Captured, jobs: str) -> None:
    Path("text.wav").write_text("not audio")
    Path("empty.wav").touch()
    soundfile.write("none.wav", np.zeros(0), SR)
    soundfile.write("nan.wav", np.full(SR, np.nan, np.float32), SR, subtype="FLOAT")
    write_sound(Path("z.wav"), 1.0)
    bad = ["text.wav", "empty.wav", "none.wav", "nan.wav"]
    assert main(["nope.wav", *bad, "a.wav", "z.wav", "-o", "out/", "-j", jobs]) == 1
    assert list(names_in(Path("out"))) == ["a.npz", "z.npz"]
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert len(lines) == 5
    for name, line in zip(["nope.wav", *bad], lines, strict=True):
        assert line.startswith(f"listen-embed: {name}: ")
    assert "nope.wav: does not exist" in lines[0]
    assert "NaN" in lines[4]


def test_a_sound_that_breaks_off_leaves_no_result(sound: Path, capsys: Captured) -> None:
    samples, sr = soundfile.read("a.wav")
    soundfile.write("a.flac", samples, sr)
    whole = Path("a.flac").read_bytes()
    Path("a.flac").write_bytes(whole[: len(whole) // 2] + b"\xff" * (len(whole) // 2))
    Path("emb.npy").write_bytes(b"old")
    assert main(["a.flac", "-o", "emb.npy"]) == 1
    assert "listen-embed: a.flac: " in capsys.readouterr().err
    assert list(names_in(Path())) == ["a.flac", "a.wav", "emb.npy"]
    assert Path("emb.npy").read_bytes() == b"old"


def test_warnings_are_notes(here: Path, capsys: Captured) -> None:
    soundfile.write("quiet.wav", np.zeros(2 * SR), SR)
    write_sound(Path("short.wav"), 0.2)
    assert main(["quiet.wav", "short.wav", "-o", "out/"]) == 0
    shown = capsys.readouterr().err
    assert "listen-embed: warning: quiet.wav is silent" in shown
    assert "listen-embed: warning: short.wav lasts 0.200 s" in shown
    assert main(["quiet.wav", "short.wav", "-o", "out2/", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


# ---- what exists already ---------------------------------------------------------------


def test_a_file_named_is_replaced(sound: Path) -> None:
    Path("emb.npy").write_bytes(b"old")
    assert main(["a.wav", "-o", "emb.npy"]) == 0
    np.testing.assert_array_equal(np.load("emb.npy"), expected(sound)[0])


def test_a_file_in_a_folder_is_replaced_by_force_only(sound: Path, capsys: Captured) -> None:
    Path("out").mkdir()
    Path("out/a.csv").write_text("labels that took a week")
    arguments = ["a.wav", "-o", "out", "-f", "csv"]
    assert main(arguments) == 1
    assert "out/a.csv exists; --force replaces" in capsys.readouterr().err
    assert main([*arguments, "--no-clobber"]) == 0
    assert "1 left out" in capsys.readouterr().err
    assert Path("out/a.csv").read_text() == "labels that took a week"
    assert main([*arguments, "--force"]) == 0
    assert Path("out/a.csv").read_text().startswith("timestamp,")


def test_a_batch_is_taken_up_again(here: Path) -> None:
    for i in range(3):
        write_sound(Path(f"r/{i}.wav"), 1.0)
    assert main(["r/0.wav", "-o", "out/"]) == 0
    before = Path("out/0.npz").stat().st_mtime_ns
    assert main(["r", "-o", "out/", "-n"]) == 0
    assert list(names_in(Path("out"))) == ["0.npz", "1.npz", "2.npz"]
    assert Path("out/0.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize("target", ["a.wav/emb.npy", "/proc/emb.npy", "folder.npy/x/../../a.wav/"])
def test_what_cannot_be_written_is_told(sound: Path, capsys: Captured, target: str) -> None:
    Path("folder.npy/x").mkdir(parents=True)
    code = main(["a.wav", "-o", target])
    assert code in (1, 2)
    assert capsys.readouterr().err.startswith("listen-embed: ")
    assert soundfile.info("a.wav").frames == 3 * SR


# ---- standard input and output ---------------------------------------------------------


def test_csv_to_standard_output(sound: Path, capsys: Captured) -> None:
    assert main(["a.wav", "-o", "-"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0].startswith("timestamp,embedding_0,")
    assert len(lines) == 1 + len(expected(sound)[0])


@pytest.mark.parametrize("format", ["npy", "npz", "parquet"])
def test_arrays_to_standard_output(
    sound: Path, capfdbinary: pytest.CaptureFixture[bytes], format: str
) -> None:
    assert main(["a.wav", "-o", "-", "-f", format]) == 0
    content = io.BytesIO(capfdbinary.readouterr().out)
    if format == "parquet":
        assert pyarrow.parquet.read_table(content).num_rows == len(expected(sound)[0])
        return
    loaded = np.load(content)
    embedding = loaded if format == "npy" else loaded["embedding"]
    np.testing.assert_array_equal(embedding, expected(sound)[0])


def test_a_sound_from_standard_input(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    feed(monkeypatch, sound.read_bytes())
    assert main(["-", "-o", "emb.npy", "-p", "pics/"]) == 0
    np.testing.assert_array_equal(np.load("emb.npy"), expected(sound)[0])
    assert Path("pics/stdin.png").is_file()
    feed(monkeypatch, b"not audio")
    assert main(["-", "-o", "emb.npy"]) == 1
    assert capsys.readouterr().err.startswith("listen-embed: stdin: not readable as audio")


def test_what_came_on_standard_input_is_not_kept(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(Path("temporary").absolute()))
    feed(monkeypatch, sound.read_bytes())
    assert main(["-", "-o", "out/"]) == 0
    assert list(names_in(Path("temporary"))) == []
    assert list(names_in(Path("out"))) == ["stdin.npz"]


# ---- progress --------------------------------------------------------------------------


def test_progress_when_asked_for(sound: Path, capsys: Captured) -> None:
    write_sound(Path("b.wav"), 2.0)
    assert main(["a.wav", "b.wav", "-o", "out/", "--progress"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "s of audio" in shown.err
    assert "left]" in shown.err
    assert f"listen-embed: out/a.npz: {len(expected(sound)[0])} embeddings" in shown.err


def test_progress_on_a_terminal_only(
    sound: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("listen_embed.progress._PATIENCE_SECONDS", 0.0)
    assert main(["a.wav", "-o", "a.npy"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["a.wav", "-o", "a.npy"]) == 0
    assert f"a.npy: {len(expected(sound)[0])} embeddings" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["a.wav", "-o", "a.npy", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


# ---- wrong usage -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["a.wav", "b.wav"], "2 sound files; say where to put their embeddings"),
        (["a.wav", "b.wav", "-o", "x.npy"], "2 sound files cannot go into one file"),
        (["a.wav", "b.wav", "-o", "-"], "2 sound files cannot go into one file"),
        (["a.wav", "b.wav", "-o", "x/", "-p", "x.png"], "2 sound files cannot go into one file"),
        (["a.wav", "-o", "x.wav"], "known are .npz, .npy, .csv, .parquet"),
        (["a.wav", "-o", "a.wav/"], "a.wav/: exists and is not a folder"),
        (["a.wav", "-p", "x.gif"], "known are .png, .svg, .pdf"),
        (["a.wav", "-p", "-"], "--plot cannot draw to standard output"),
        (["a.wav", "-f", "csv"], "say with --out where to"),
        (["a.wav", "-o", "x.npy", "-f", "csv"], "contradict"),
        (["a.wav", "-o", "x.npy", "-f", "wav"], "invalid choice"),
        (["a.wav", "--hop", "0"], "hop_size is 0.0"),
        (["a.wav", "--hop", "fast"], "invalid float"),
        (["a.wav", "--emb-dim", "many"], "invalid int"),
        (["a.wav", "-m", "nope"], "Closest"),
        (["a.wav", "-m", "logmel", "--emb-dim", "7"], "logmel/128/16k"),
        (["a.wav", "--threads", "0"], "threads is 0"),
        (["a.wav", "-j", "-1"], "jobs is -1"),
        (["a.wav", "--force", "-n"], "not allowed with"),
        (["a.wav", "--ou", "x.npy"], "unrecognized arguments"),
        (["--out", "x.npy"], "the following arguments are required: SOUND"),
    ],
)
def test_wrong_usage(sound: Path, capsys: Captured, arguments: list[str], why: str) -> None:
    write_sound(Path("b.wav"), 1.0)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert why in shown.err
    assert list(names_in(Path())) == ["a.wav", "b.wav"]


def test_arrays_are_not_written_to_a_terminal(
    sound: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["a.wav", "-o", "-", "-f", "npz"]) == 2
    assert "terminal" in capsys.readouterr().err


def test_a_sound_is_not_read_from_a_terminal(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert main(["-"]) == 2
    assert "which is a terminal here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(["-o", "x.parquet"], "parquet"), (["-p", "x.png"], "plot")],
)
def test_missing_packages_are_told_with_the_command(
    sound: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    extra: str,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["a.wav", *arguments]) == 1
    assert f'pip install "listen-embed[{extra}]"' in capsys.readouterr().err
    assert os.listdir() == ["a.wav"]


def test_a_mistyped_command_is_recognised(capsys: Captured) -> None:
    assert main(["modles"]) == 1
    assert "modles: does not exist; did you mean the command models?" in capsys.readouterr().err
