"""A folder of C: whole, built by make, and refused where it cannot be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from listen_embed import registry
from listen_embed.cli import main
from listen_embed.device.export import export_c
from listen_embed.errors import InputError, OutputError

from ..training.graphs import one

SPEC = registry.find("sea/32/nano")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.needs("gcc", "make")
def test_the_folder_is_whole_and_its_example_runs(tmp_path: Path) -> None:
    assert main(["export", "c", SPEC.name, "--out", str(tmp_path / "out")]) == 0
    assert files(tmp_path / "out") >= {
        "README.md", "Makefile", "CMakeLists.txt", "library.properties", "library.json",
        "zephyr/module.yml", "zephyr/CMakeLists.txt", "zephyr/Kconfig",
        "examples/StoredSound/StoredSound.ino", "examples/StoredSound/sound.h",
        "src/listen_embed.h", "src/listen_embed.c", "src/listen_model.h", "src/listen_model.c",
    }  # fmt: skip
    done = subprocess.run(
        ["make", "-C", tmp_path / "out", "run", "CFLAGS=-O1"], capture_output=True, check=True
    )
    apart = int(done.stdout.decode().rpartition("steps from Python: ")[2].split()[0])
    assert apart <= 1
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "mono, 16,000 Hz, int16" in readme and "| 14,244 | RAM |" in readme


def test_the_same_model_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b", "b"):
        export_c(SPEC, tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_network_of_another_kind_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    content = one((1, 64, 49, 1), lambda graph, x: graph.relu(x))
    with pytest.raises(InputError, match="but the network takes and gives"):
        export_c(SPEC, tmp_path / "out", model=content)
    with pytest.raises(InputError, match="logmel/128/16k has no network"):
        export_c(registry.find("logmel/128/16k"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is no export of ours; choose another place"):
        export_c(SPEC, tmp_path)
    assert files(tmp_path) == {"notes.txt"}


def test_the_command_line_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "c", SPEC.name, "--hop", "0.05", "--out", "nowhere"]) == 1
    assert "multiple of 320 samples" in capsys.readouterr().err
    assert not Path("nowhere").exists()
