"""The models that travel in the wheel: complete, small, licensed, true to their golden vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed import Embedder, registry
from listen_embed.runtime import Network

from .delegate import outside_delegate

WEIGHTS = Path(__file__).parents[1] / "weights"
FOLDERS = sorted(card.parent for card in WEIGHTS.glob("*/model.toml"))
FILES = {"model.toml", "model.tflite", "README.md", "golden.npz", "report.png", "report.json"}
# Kernels of other processors may round an int8 value to the neighbouring step, and so on from
# layer to layer.
STEPS = 3

folders = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def test_all_students_are_there() -> None:
    assert {folder.name for folder in FOLDERS} == {
        "listen-64-workshop",
        "pruned-384-mn04",
        "sea-128-general",
        "sea-32-nano",
        "sea-64-general",
        "sea-64-lite",
        "sea-64-stream",
    }


def test_what_the_wheel_carries_stays_below_two_megabytes() -> None:
    carried = (WEIGHTS.rglob(name) for name in ("model.toml", "*.tflite", "README.md"))
    assert sum(file.stat().st_size for files in carried for file in files) < 2_000_000


@folders
def test_a_folder_is_complete(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == FILES


@folders
def test_a_folder_is_what_its_name_says_and_is_registered(folder: Path) -> None:
    spec = registry.load_folder(folder)
    assert folder.name == spec.name.replace("/", "-")
    assert spec.licence == "MIT"
    assert spec.name in {known.name for known in registry.models()}
    assert spec.size_bytes == (folder / "model.tflite").stat().st_size
    assert spec.macs > 0


@folders
def test_golden_vectors(folder: Path) -> None:
    content = (folder / "model.tflite").read_bytes()
    state = registry.load_folder(folder).state
    # A network that streams gives floats, which other processors may round otherwise.
    step = Network(content, state=state)._output["quantization"][0] or 1e-3
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        embedding, timestamps = Embedder(folder, hop_size=0.5).embed(
            golden["audio"], int(golden["sr"])
        )
        np.testing.assert_array_equal(timestamps, golden["timestamps"])
        np.testing.assert_allclose(embedding, golden["embedding"], rtol=0, atol=STEPS * step)
    assert np.std(embedding) > 5 * step


@folders
def test_the_cpus_delegate_takes_every_operator(folder: Path) -> None:
    assert not outside_delegate((folder / "model.tflite").read_bytes())


def test_budgets() -> None:
    """What was promised for each, in bytes."""
    budgets = {
        "pruned-384-mn04": 600_000,
        "sea-128-general": 400_000,
        "sea-64-general": 205_000,
        "sea-64-lite": 205_000,
        "sea-64-stream": 250_000,
        "sea-32-nano": 32_000,
        "listen-64-workshop": 64_000,
    }
    for name, budget in budgets.items():
        assert (WEIGHTS / name / "model.tflite").stat().st_size <= budget, name


def test_the_default_model_is_in_the_wheel() -> None:
    assert registry.find().name == "sea/64/general"
    assert registry.find().file is not None
