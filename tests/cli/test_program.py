"""The program as a whole: commands, exit codes, signals, pipes, memory, and what it imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from listen_embed import cli
from listen_embed.errors import MissingExtraError
from listen_embed.output import package_version

from ..program import (
    COMMAND,
    finished,
    names_in,
    peak_memory_mb,
    run,
    start,
    write_long_sound,
    write_sound,
)

Captured = pytest.CaptureFixture[str]


# ---- commands --------------------------------------------------------------------------


def test_help_tells_all_commands(capsys: Captured) -> None:
    for arguments in (["--help"], ["-h"], ["embed", "--help"]):
        assert cli.main(arguments) == 0
        shown = capsys.readouterr().out
        for command, what in cli.COMMANDS.items():
            assert f"  {command}" in shown
            assert what in shown
        assert "exit status" in shown
    assert set(cli.ROOMS) < set(cli.COMMANDS)


@pytest.mark.parametrize("command", ["models", "download"])
def test_commands_have_help(command: str, capsys: Captured) -> None:
    assert cli.main([command, "--help"]) == 0
    assert f"usage: listen-embed {command}" in capsys.readouterr().out


def test_the_version(capsys: Captured) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"listen-embed {package_version()}\n"


def test_no_arguments_are_wrong_usage(capsys: Captured) -> None:
    assert cli.main([]) == 2
    assert "name a sound file or a command" in capsys.readouterr().err


def test_a_file_may_be_called_like_a_command(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.rename(write_sound(Path("models.wav")), "models")
    for arguments in (["./models"], ["embed", "models"], ["--", "models"]):
        assert cli.main(arguments) == 0
        assert capsys.readouterr().out.startswith("models: ")


# ---- rooms -----------------------------------------------------------------------------


def room(monkeypatch: pytest.MonkeyPatch, register: object) -> None:
    module = types.ModuleType("listen_embed.fake.commands")
    module.register = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "listen_embed.fake", types.ModuleType("listen_embed.fake"))
    monkeypatch.setitem(sys.modules, "listen_embed.fake.commands", module)
    monkeypatch.setitem(cli.ROOMS, "fake", "listen_embed.fake.commands")
    monkeypatch.setitem(cli.COMMANDS, "fake", "a room for tests")


def test_a_room_adds_its_command(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def register(subparsers: object) -> None:
        parser = subparsers.add_parser("fake")  # type: ignore[attr-defined]
        parser.add_argument("--number", type=int)
        parser.set_defaults(run=lambda args: args.number)

    room(monkeypatch, register)
    assert cli.main(["fake", "--number", "7"]) == 7
    assert cli.main(["fake", "--number", "x"]) == 2
    assert cli.main(["fake", "--help"]) == 0
    assert "usage: listen-embed fake" in capsys.readouterr().out


def test_a_room_may_add_several_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    def register(subparsers: object) -> None:
        for i, name in enumerate(("fake", "other")):
            parser = subparsers.add_parser(name)  # type: ignore[attr-defined]
            parser.set_defaults(run=lambda args, i=i: i)

    room(monkeypatch, register)
    monkeypatch.setitem(cli.ROOMS, "other", cli.ROOMS["fake"])
    monkeypatch.setitem(cli.COMMANDS, "other", "the same room's")
    assert [cli.main([name]) for name in ("fake", "other")] == [0, 1]


def test_a_rooms_missing_packages_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'paho'", name="paho")

    missing.__module__ = "listen_embed.fake.commands"

    def missing_later(subparsers: object) -> None:
        subparsers.add_parser("fake").set_defaults(run=missing)  # type: ignore[attr-defined]

    def told_by_the_room(*_: object) -> None:
        raise MissingExtraError('Install with: pip install "listen-embed[fake]"')

    for register in (missing, missing_later, told_by_the_room):
        room(monkeypatch, register)
        assert cli.main(["fake"]) == 1
        assert 'pip install "listen-embed[fake]"' in capsys.readouterr().err


def test_a_command_of_several_rooms_tells_the_extra_of_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    for kind in ("c", "wasm", "onnx"):
        assert cli.main(["export", kind, "--help"]) == 0
    monkeypatch.delitem(sys.modules, "listen_embed.onnx.export", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert cli.main(["export", "onnx", "sea/32/nano"]) == 1
    assert 'pip install "listen-embed[onnx]"' in capsys.readouterr().err


def test_a_room_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    room(monkeypatch, None)
    monkeypatch.setitem(cli.ROOMS, "fake", "listen_embed.nowhere.commands")
    assert cli.main(["fake"]) == 1
    assert "fake: this installation lacks listen_embed.nowhere" in capsys.readouterr().err


def test_a_bug_in_a_room_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def register(subparsers: object) -> None:
        subparsers.add_parser("fake").set_defaults(run=broken)  # type: ignore[attr-defined]

    def broken(args: Namespace) -> int:
        raise ZeroDivisionError

    room(monkeypatch, register)
    with pytest.raises(ZeroDivisionError):
        cli.main(["fake"])


# ---- signals ---------------------------------------------------------------------------


def interrupt_in_the_middle(
    folder: Path, arguments: list[str | Path], number: int, n_begun: int = 1
) -> subprocess.CompletedProcess[str]:
    """Send a signal when unfinished files have appeared in `folder`."""
    program = start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(folder.rglob(".*.part"))) < n_begun:
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    program.send_signal(number)
    out, err = finished(program)
    return subprocess.CompletedProcess([], program.returncode, out, err)


@pytest.mark.parametrize("format", ["npy", "npz", "csv", "parquet"])
def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, format: str) -> None:
    long = write_long_sound(tmp_path / "long.flac", 20)
    target = tmp_path / f"emb.{format}"
    target.write_bytes(b"old")
    done = interrupt_in_the_middle(
        tmp_path, [long, "-o", target, "-m", "logmel", "--hop", "0.004"], signal.SIGINT
    )
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "")
    assert list(names_in(tmp_path)) == [target.name, "long.flac"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_several_processes_end_together(tmp_path: Path, number: int, code: int) -> None:
    sounds = [write_long_sound(tmp_path / f"{i}.flac", 20) for i in range(3)]
    out = tmp_path / "out"
    out.mkdir()
    done = interrupt_in_the_middle(
        out, [*sounds, "-o", out, "-m", "logmel", "--hop", "0.004", "-j", "2"], number, n_begun=2
    )
    assert done.returncode == code
    assert (done.stdout, done.stderr) == ("", "")
    assert list(names_in(out)) == []


def test_orphaned_processes_tidy_up_and_end(tmp_path: Path) -> None:
    sounds = [write_long_sound(tmp_path / f"{i}.flac", 20) for i in range(3)]
    out = tmp_path / "out"
    out.mkdir()
    arguments: list[str | Path] = [*sounds, "-o", out, "-m", "logmel"]
    arguments += ["--hop", "0.004", "--jobs", "2"]
    # They share standard error, so it ends only when all of them have.
    done = interrupt_in_the_middle(out, arguments, signal.SIGKILL, n_begun=2)
    assert done.returncode == -signal.SIGKILL
    assert "Traceback" not in done.stderr
    assert list(names_in(out)) == []


def test_what_was_done_before_ctrl_c_stays(tmp_path: Path) -> None:
    first = write_sound(tmp_path / "a.wav")
    second = write_long_sound(tmp_path / "b.flac", 20)
    out = tmp_path / "out"
    options = ("-m", "logmel", "--hop", "0.004")
    program = start(first, second, "-o", out, *options, stderr=subprocess.PIPE)
    while not (out / "a.npz").exists() or not list(out.glob(".*.part")):
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    assert finished(program)[1] == ""
    assert program.returncode == 130
    assert list(names_in(out)) == ["a.npz"]


def test_ctrl_c_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parse", interrupt)
    assert cli.main(["models"]) == 130


# ---- pipes and disks -------------------------------------------------------------------


@pytest.mark.parametrize("what", ["models", "csv", "npy"])
def test_a_reader_who_leaves_is_no_error(tmp_path: Path, what: str) -> None:
    sound = write_sound(tmp_path / "a.wav", 20.0)
    arguments = ["models"] if what == "models" else [sound, "-o", "-", "-f", what]
    program = start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    assert program.stderr.read() == ""
    assert program.wait(timeout=60) == 141
    program.stderr.close()


@pytest.mark.parametrize("what", ["models", "csv"])
def test_a_full_disk_behind_standard_output(tmp_path: Path, what: str) -> None:
    sound = write_sound(tmp_path / "a.wav", 5.0)
    arguments = ["models"] if what == "models" else [sound, "-o", "-"]
    with open("/dev/full", "w") as full:
        program = start(*arguments, stdout=full, stderr=subprocess.PIPE)
        _, err = program.communicate(timeout=60)
    assert program.returncode == 1
    assert "No space left on device" in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize("format", ["npy", "npz", "csv", "parquet"])
def test_a_full_disk_behind_a_file(tmp_path: Path, format: str) -> None:
    sound = write_sound(tmp_path / "a.wav", 30.0)
    target = tmp_path / f"emb.{format}"
    target.write_bytes(b"old")
    limited = ["sh", "-c", 'ulimit -f 40; exec "$@"', "sh", *COMMAND]
    done = subprocess.run(
        [*limited, sound, "-o", target, "-m", "logmel"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == (f"listen-embed: {sound}: {target}: cannot be written (File too large)\n")
    assert list(names_in(tmp_path)) == ["a.wav", target.name]
    assert target.read_bytes() == b"old"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsencode(write_sound(tmp_path / "a.wav")).replace(b"a.wav", b"\xff\x1b[31m.wav")
    os.rename(tmp_path / "a.wav", name)
    write_sound(tmp_path / "b.wav")
    for i, environment in enumerate(({}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"})):
        done = run(tmp_path, "-o", tmp_path / str(i), env={**os.environ, **environment})
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stderr
        assert done.returncode == (1 if "\\udcff\\x1b[31m.wav: " in done.stderr else 0)
        assert "b.npz" in names_in(tmp_path / str(i))


# ---- the real program ------------------------------------------------------------------


def test_the_program_embeds(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav")
    done = run("a.wav", "--out", "emb.npy", "--model", "logmel", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert np.load(tmp_path / "emb.npy").shape == (16, 128)
    assert run("nope.wav", cwd=tmp_path).returncode == 1
    assert run(cwd=tmp_path).returncode == 2
    assert run("--version").stdout == f"listen-embed {package_version()}\n"


_HEAVY = (
    "matplotlib", "tqdm", "h5py", "numba", "requests", "pyarrow", "torch", "tensorflow",
    "multiprocessing", "concurrent", "ai_edge_litert", "tflite_runtime", "resampy", "PIL",
)  # fmt: skip
_ROOMS = ("listen_embed.monitor", "listen_embed.training")


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], (*_HEAVY, "numpy", "soundfile", "listen_embed.monitor")),
        (
            ["--version"],
            (*_HEAVY, "scipy", "soundfile", *_ROOMS),
        ),
        (
            ["models"],
            (*_HEAVY, "scipy", "soundfile", *_ROOMS),
        ),
        (
            ["a.wav", "-o", "a.npy", "-m", "logmel"],
            # scipy, where it is there for its Fourier transform, brings concurrent itself.
            (*(set(_HEAVY) - {"concurrent"}), *_ROOMS),
        ),
    ],
)
def test_only_what_is_needed_is_imported(
    tmp_path: Path, arguments: list[str], forbidden: tuple[str, ...]
) -> None:
    write_sound(tmp_path / "a.wav")
    code = (
        "import sys\nfrom listen_embed.cli import main\n"
        f"code = main({arguments!r})\n"
        f"print(sorted(set({forbidden!r}) & set(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]\n"


def test_an_hour_needs_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 60):
        long = write_long_sound(tmp_path / f"{minutes}.flac", minutes)
        outputs = ("-o", tmp_path / "a.npz", "-p", tmp_path / "a.png")
        peaks.append(peak_memory_mb(long, *outputs, "-m", "logmel"))
    assert peaks[1] < peaks[0] + 15, peaks
