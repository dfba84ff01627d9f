"""Reports: the figures are what the two models do on held-out crops, the pictures are drawn."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from matplotlib.image import imread

from listen_embed.graph import macs, peak_bytes
from listen_embed.runtime import Network
from listen_embed.training import report
from listen_embed.training.distill import Lesson
from listen_embed.training.export import Trained
from listen_embed.training.reduction import Reduction, fit_pca, keep_all
from listen_embed.training.report import Figures
from listen_embed.training.shards import Shard, open_shard
from listen_embed.training.train import Split
from listen_embed.training.verdict import OWN, RIVAL, Verdict


@pytest.fixture(scope="module")
def held_out(specialised: Any) -> Shard:
    return Split.of(open_shard(specialised.work / "shards", 0)).measurement


@pytest.fixture(scope="module")
def reduction(specialised: Any) -> Reduction:
    """Return the reduction of the specialised model, made again from its shards."""
    targets = [open_shard(specialised.work / "shards", i).targets for i in range(3)]
    return fit_pca(np.concatenate(targets), 16)


@pytest.fixture(scope="module")
def trained(specialised: Any) -> Trained:
    files = [specialised.folder / name for name in ("float/model.tflite", "model.tflite")]
    return Trained(files[0].read_bytes(), files[1].read_bytes())


def cosines(a: Any, b: Any) -> Any:
    return [float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for x, y in zip(a, b, strict=True)]


def test_figures_are_the_models(trained: Trained, held_out: Shard, reduction: Reduction) -> None:
    figures = report.measure(trained, held_out, reduction)
    features = held_out.features[0][:256].astype(np.float32)
    wanted = reduction(held_out.targets[:256])
    by_float, by_int8 = (Network(m)(features) for m in (trained.float_model, trained.int8_model))
    assert figures.cosine_float == pytest.approx(cosines(by_float, wanted), abs=1e-5)
    assert figures.cosine_int8 == pytest.approx(cosines(by_int8, wanted), abs=1e-5)
    assert figures.float_to_int8 == pytest.approx(np.mean(cosines(by_float, by_int8)), abs=1e-5)
    assert figures.float_to_int8 > 0.9
    assert (figures.float_bytes, figures.int8_bytes) == (
        len(trained.float_model), len(trained.int8_model),
    )  # fmt: skip
    assert figures.macs == macs(trained.int8_model)
    assert figures.arena_bytes == peak_bytes(trained.int8_model)
    assert 0 < figures.int8_ms < 1000 > figures.float_ms > 0


def test_the_specialised_models_report_is_its_own(
    specialised: Any, trained: Trained, held_out: Shard, reduction: Reduction
) -> None:
    content = json.loads((specialised.folder / "report.json").read_text())
    figures = report.measure(trained, held_out, reduction)
    for name, value in asdict(figures).items():
        if not name.endswith("_ms"):
            assert content[name] == pytest.approx(value, abs=1e-5)
    np.testing.assert_allclose(content["variance_kept"], reduction.variance_kept, atol=1e-6)
    logs = [json.loads((specialised.work / stage / "history.json").read_text())
            for stage in ("distillation", "int8")]  # fmt: skip
    assert content["history"] == logs[0] + logs[1]
    assert [row["shard"] for row in content["history"]] == [1, 2, 1]


FIGURES = Figures(
    cosine_float=[0.9, 0.8], cosine_int8=[-0.5, 0.7], float_to_int8=0.99, float_bytes=90_000,
    int8_bytes=36_944, macs=899_072, arena_bytes=27_488, float_ms=0.4, int8_ms=0.2,
)  # fmt: skip


VERDICT = Verdict("accuracy", {OWN: 0.83, RIVAL: 0.8, "mn04": 0.85}, 0.03, 0.01, 40, heard=True)


@pytest.mark.parametrize("n_shards", [1, 30])
@pytest.mark.parametrize("verdict", [None, VERDICT])
def test_pictures_are_drawn(tmp_path: Path, n_shards: int, verdict: Verdict | None) -> None:
    history = [Lesson(i + 1, 2 / (i + 1), 1 / (i + 1), i / 30) for i in range(n_shards)]
    reduction = keep_all(np.zeros((1, n_shards), np.float32))
    report.draw(tmp_path / "r.png", FIGURES, reduction, history, verdict, "pumps")
    assert [path.name for path in tmp_path.iterdir()] == ["r.png"]
    picture = imread(tmp_path / "r.png")
    n_rows = 2 if verdict is None else 3
    assert picture.shape[:2] == (450 * n_rows, 1320)
    rows = np.array_split(picture[..., :3], n_rows)
    parts = [part for row in rows[:2] for part in np.array_split(row, 2, 1)] + rows[2:]
    assert all(part.std() > 0.02 for part in parts)


def test_a_verdict_is_told_in_the_card_and_in_the_report(tmp_path: Path) -> None:
    history = [Lesson(1, 2.0, 1.0, 0.1)]
    reduction = keep_all(np.zeros((1, 4), np.float32))
    report.write(tmp_path, FIGURES, reduction, history, VERDICT, "pumps")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["verdict"]["sentence"] == "Your model is better than sea/64/general here."
    assert content["verdict"]["scores"] == {OWN: 0.83, RIVAL: 0.8, "mn04": 0.85}
    card = report.in_words(FIGURES, VERDICT)
    assert "**Your model is better than sea/64/general here.** Below is the accuracy, on 40" in card
    assert "| own model | 0.830 |" in card
    advised = replace(VERDICT, untaught=("mn04",))
    assert " add --teacher mn04. Below is the" in report.in_words(FIGURES, advised)
    assert "| cosine to the teacher | 0.850 | 0.100 |" in card
    without = report.in_words(FIGURES, None)
    assert "| cosine to the teacher | 0.850 | 0.100 |" in without
    assert "own model" not in without
