"""The benchmark's sets: mixtures that keep their folds, and FSD50K's layout."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from listen_embed.classify.labelled import read_labelled
from listen_embed.classify.parts import parts_of

from .sounds import KINDS, sound, table, write


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """Return ``benchmarks/classify.py``, which no package holds."""
    path = Path(__file__).parents[2] / "benchmarks" / "classify.py"
    spec = importlib.util.spec_from_file_location("benchmarks_classify", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fsd50k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder laid out as FSD50K is, of fifteen clips."""
    place = tmp_path_factory.mktemp("sets") / "FSD50K"
    for part, splits in (("dev", ["train", "train", "train", "val"]), ("eval", [""])):
        rows: list[dict[str, object]] = []
        for i, split in enumerate(splits):
            for number, kind in enumerate(KINDS):
                name = f"{i}{number}"
                write(
                    place / f"FSD50K.{part}_audio" / f"{name}.wav",
                    sound(kind, i + 10 * len(splits), 1.1),
                )
                labels = f"{kind},Sound" if number else kind
                row: dict[str, object] = {"fname": name, "labels": labels, "mids": "/m/0"}
                rows.append(row | ({"split": split} if split else {}))
        table(place / "FSD50K.ground_truth" / f"{part}.csv", rows)
    return place


def test_fsd50k_as_it_is_published(benchmark: ModuleType, fsd50k: Path, tmp_path: Path) -> None:
    benchmark.fsd50k(fsd50k, tmp_path / "cache")
    labelled = read_labelled(tmp_path / "cache" / "fsd50k.csv", multi=True)
    parts = parts_of(labelled)
    assert (len(parts.learn), len(parts.choose), len(parts.measure)) == (9, 3, 3)
    assert labelled.labels == ("Sound", *sorted(KINDS))


def test_fsd50k_is_measured_and_put_into_the_page(
    benchmark: ModuleType, fsd50k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark.wave, "WEIGHTS", tmp_path / "none.npz")
    monkeypatch.setattr(
        benchmark, "rows_of", lambda base: [benchmark.Row("linear", base, "linear")]
    )
    monkeypatch.setattr(benchmark.torch, "set_num_threads", lambda n: None)
    page = Path(__file__).parents[2] / "docs" / "CLASSIFICATION.md"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / page.name).write_bytes(page.read_bytes())
    cache, out = str(tmp_path / "cache"), str(tmp_path / "docs")
    asked = ["--cache", cache, "--fsd50k", str(fsd50k), "--bases", "mn04", "--out", out]
    monkeypatch.setattr(sys, "argv", ["classify.py", str(tmp_path), *asked])
    benchmark.main()
    text = (tmp_path / "docs" / page.name).read_text(encoding="utf-8")
    assert "### FSD50K, official splits" in text
    for way in ("log-mel statistics, linear", "pruned/384/mn04, linear"):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {way} |")]
        assert 0.3 < float(row.split("|")[3]) <= 1
    assert (tmp_path / "docs" / "classification.png").stat().st_size > 5_000


def test_mixtures_are_of_one_fold_and_the_same_again(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "N_MIXTURES", 2)
    rows: list[dict[str, object]] = []
    for fold in "12345":
        for kind in KINDS:
            path = write(tmp_path / "esc" / f"{fold}-{kind}.wav", sound(kind, int(fold), 0.5))
            rows.append({"path": path.name, "label": f"{kind} {fold}", "fold": fold})
        for kind in KINDS:  # more of the same, or a mixture of four would lack clips
            path = write(tmp_path / "esc" / f"{fold}-{kind}-2.wav", sound(kind, 9, 0.5))
            rows.append({"path": path.name, "label": f"{kind} {fold}", "fold": fold})
    table(tmp_path / "esc" / "meta.csv", rows)
    made = [benchmark.mixtures(tmp_path / "esc", tmp_path / place) for place in "ab"]
    assert made[0].read_text() == made[1].read_text()
    for line in made[0].read_text().splitlines()[1:]:
        name, labels, fold = line.split(",")
        assert all(label.endswith(fold) for label in labels.split(";"))
        one, other = (soundfile.read(tmp_path / place / name)[0] for place in "ab")
        np.testing.assert_array_equal(one, other)
        assert len(one) == 160_000 and np.abs(one).max() > 0.01
