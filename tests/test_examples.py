"""The examples run as their users would run them, and say what they promise."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

import listen_embed

EXAMPLES = Path(__file__).parents[1] / "examples"
AUDIO = EXAMPLES / "audio"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
MAX_LINES = 40


@pytest.fixture(autouse=True)
def audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of the folder of sounds."""
    copy = tmp_path / "audio"
    shutil.copytree(AUDIO, copy)
    monkeypatch.chdir(copy)
    return copy


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_examples_are_short_and_say_how_to_run_them(script: Path) -> None:
    text = script.read_text()
    assert f"Usage: python {script.name}" in text
    assert len(text.splitlines()) <= MAX_LINES or script.name == "make_audio.py"


# ---- sounds ----------------------------------------------------------------------------


def test_the_sounds_are_those_that_the_script_makes() -> None:
    made = load("make_audio.py").synthesised()
    assert {path.stem for path in AUDIO.iterdir()} == {*made, "speech"}
    for name, samples in made.items():
        stored, sr = soundfile.read(AUDIO / f"{name}.flac", dtype="int16")
        assert sr == 16_000
        # Another machine's sine may round to the other side.
        assert np.abs(stored.astype(int) - samples).max() <= 1


def test_the_script_writes_a_folder(tmp_path: Path) -> None:
    run("make_audio.py", str(tmp_path / "made"))
    for name in ("pump", "motor", "chirps"):
        made, _ = soundfile.read(tmp_path / "made" / f"{name}.flac")
        stored, _ = soundfile.read(AUDIO / f"{name}.flac")
        np.testing.assert_allclose(made, stored, atol=1e-4)


def test_the_sounds_are_small() -> None:
    assert sum(path.stat().st_size for path in AUDIO.iterdir()) < 600_000


# ---- scripts ---------------------------------------------------------------------------


def test_find_similar() -> None:
    lines = run("find_similar.py", "pump.flac", "4.0").splitlines()
    rows = [re.fullmatch(r" *([\d.]+) s +([-+][\d.]+) *#*", line) for line in lines[1:]]
    likeness = {float(row[1]): float(row[2]) for row in rows if row}
    assert len(likeness) == len(lines) - 1
    assert likeness[4.0] == 1.0
    # Three quarters of the frame are shared; how much likeness that makes is the default model's.
    assert likeness[4.25] > 0.8
    assert likeness[4.25] > likeness[0.0] + 0.3
    # The pump starts at 0.3 s and has stopped at 7.8 s.
    assert likeness[0.0] < 0.5
    assert likeness[7.0] < likeness[4.5]


def test_compare_machines() -> None:
    out = run(
        "compare_machines.py", "motor.flac", "motor-again.flac", "motor-fault.flac", "fan.flac"
    )
    scores = {name: float(score) for name, score in re.findall(r"(\S+): score ([\d.]+)", out)}
    assert scores["motor-again.flac"] < 2
    assert scores["fan.flac"] > 5
    assert scores["motor-fault.flac"] > 5
    assert out.count("listen to this one") == 2


def test_few_shot() -> None:
    out = run("few_shot.py", "motor.flac", "motor-fault.flac", "fan.flac", "speech.flac")
    found = re.findall(r"(\S+): (\d+) of (\d+) frames named rightly", out)
    assert [name for name, _, _ in found] == ["motor", "motor-fault", "fan", "speech"]
    assert all(int(right) > 0.8 * int(total) for _, right, total in found)


def test_streaming() -> None:
    out = run("streaming.py", "pump.flac")
    found = re.findall(r"([\d.]+) s heard: embedding of +([\d.]+) s", out)
    at_the_end = int(re.findall(r"the end adds (\d+) more", out)[0])
    _, timestamps = listen_embed.Embedder(hop_size=0.5).embed_file("pump.flac")
    assert [float(time) for _, time in found] == timestamps[: len(found)].tolist()
    assert len(found) + at_the_end == len(timestamps)
    stated = float(re.findall(r"comes ([\d.]+) s after", out)[0])
    assert all(float(heard) - float(time) < stated + 0.11 for heard, time in found)


def test_embed_folder(audio: Path, tmp_path: Path) -> None:
    Path("notes.txt").write_text("no sound")
    table = tmp_path / "table.npz"
    out = run("embed_folder.py", ".", str(table))
    n_sounds = len(list(AUDIO.iterdir()))
    assert out == f"{n_sounds} of {n_sounds + 1} files -> {table}\n"
    with np.load(table) as made:
        assert sorted(made["name"]) == sorted(path.name for path in AUDIO.iterdir())
        index = list(made["name"]).index("pump.flac")
        embedding, _ = listen_embed.Embedder(threads=1).embed_file("pump.flac")
        np.testing.assert_allclose(made["mean"][index], embedding.mean(axis=0), rtol=1e-5)
