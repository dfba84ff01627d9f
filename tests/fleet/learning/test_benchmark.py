"""The benchmark reads characters in Omniglot's layout."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def fleet() -> Iterator[ModuleType]:
    """Return ``benchmarks/fleet.py``, which no package holds."""
    path = Path(__file__).parents[3] / "benchmarks" / "fleet.py"
    spec = importlib.util.spec_from_file_location("benchmarks_fleet", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["benchmarks_fleet"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["benchmarks_fleet"]


def draw_characters(folder: Path, n: int, n_images: int = 10) -> None:
    """Write characters as Omniglot has them: black dots on white, one bit, 105 by 105."""
    chance = np.random.default_rng(0)
    for number in range(n):
        place = folder / f"Alphabet_{number % 2}" / f"character{number:02d}"
        place.mkdir(parents=True)
        dots = chance.integers(10, 95, (4, 2))
        for image in range(n_images):
            paper = np.full((105, 105), True)
            for y, x in dots + chance.integers(-3, 4, dots.shape):
                paper[y - 4 : y + 4, x - 4 : x + 4] = False
            Image.fromarray(paper).save(place / f"{number:04d}_{image:02d}.png")


def test_characters_in_omniglots_layout(fleet: ModuleType, tmp_path: Path) -> None:
    draw_characters(tmp_path, 15)
    first = fleet.omniglot(tmp_path)[0]
    assert first.shape == (10, 196) and first.dtype == np.float32
    assert 0.01 < first.mean() < 0.05 and first.max() > 0.5  # ink is 1, paper 0
    args = argparse.Namespace(omniglot=tmp_path, seeds=1, share=0.01)
    said, _, _, _, *rows = fleet.measure_characters(args)
    assert said == "Omniglot; five classes, accuracy, 1 seeds."
    scores = {row.split(" | ")[0][2:]: float(row.split(" | ")[2].split()[0]) for row in rows}
    assert scores["prototypes"] > 0.95 and len(scores) == 5


def test_too_few_characters_are_refused(fleet: ModuleType, tmp_path: Path) -> None:
    draw_characters(tmp_path / "a", 3)
    with pytest.raises(SystemExit, match="3 characters; 15 are needed"):
        fleet.omniglot(tmp_path / "a")
    draw_characters(tmp_path / "b", 1, n_images=2)
    with pytest.raises(SystemExit, match=r"2 \.png; 9 are needed"):
        fleet.omniglot(tmp_path / "b")
