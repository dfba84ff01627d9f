"""The one training story: material comes again, held-out crops have one purpose each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import nn

from listen_embed.training import convert, quantize, train
from listen_embed.training.distill import Settings, evaluate
from listen_embed.training.export import Identity
from listen_embed.training.network import Student, grown
from listen_embed.training.reduction import fit_pca
from listen_embed.training.shards import Recipe, Shard, open_shard
from listen_embed.training.starts import NANO_FRONT_END
from listen_embed.training.train import Material, Plan, Split

TEACHER = "logmel/128/16k"
RECIPE = Recipe(None, (NANO_FRONT_END,), (TEACHER,), 1024, 0)  # type: ignore[arg-type]


@pytest.fixture
def material(specialised: Any) -> Material:
    """Return what the specialised model learnt from."""
    recipe = replace(RECIPE, sounds=None)
    return Material(recipe, specialised.work / "shards", 2, 0)


@pytest.fixture
def plan() -> Plan:
    settings = Settings(n_shards=2, batch=256)
    return Plan(
        identity=Identity(model_type="own", emb_dim=16, variant="x", licence="", source=""),
        front_end=NANO_FRONT_END,
        start=lambda features: Student(grown(0.5, 16)),
        reduce=lambda targets: fit_pca(targets, 16),
        distillation=settings,
        int8=replace(settings, n_shards=1),
    )


@pytest.fixture
def existing(specialised: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the shards as they are, whatever the recipe."""

    def shards(folder: Path, recipe: Any, first: int, last: int, n: int) -> Iterator[Shard]:
        return (open_shard(folder, number) for number in range(first, last))

    monkeypatch.setattr(train, "shards", shards)


def test_material_comes_again_when_it_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numbered(folder: Path, recipe: Any, first: int, last: int, n: int) -> Iterator[Shard]:
        assert (folder, n) == (tmp_path, 3)
        return (Shard((np.zeros(1), np.ones(1)), np.array([[i]])) for i in range(first, last))

    monkeypatch.setattr(train, "shards", numbered)
    wide = replace(NANO_FRONT_END, hop_samples=160)
    material = Material(replace(RECIPE, front_ends=(wide, NANO_FRONT_END)), tmp_path, 4, 3)

    def numbers(first: int, last: int) -> list[int]:
        found = list(material.shards(NANO_FRONT_END, first, last))
        assert all(shard.features[0] == 1 and len(shard.features) == 1 for shard in found)
        return [int(shard.targets[0, 0]) for shard in found]

    assert numbers(0, 1) == [0]
    assert numbers(1, 12) == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]
    assert numbers(3, 6) == [3, 4, 1]
    assert numbers(7, 7) == []
    assert material.held_out(wide).targets == [[0]]
    assert material.targets().ravel().tolist() == [0, 1, 2, 3, 4]
    assert replace(material, n_shards=90).targets().ravel().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("size", [64, 2048])
def test_held_out_crops_have_one_purpose_each(size: int) -> None:
    held_out = Shard((np.arange(size),), np.arange(size))
    split = Split.of(held_out)
    parts = [split.progress, split.calibration, split.measurement]
    assert [len(part.targets) for part in parts] == [size // 4, size // 4, size // 2]
    for of_part in (lambda part: part.targets, lambda part: part.features[0]):
        np.testing.assert_array_equal(np.concatenate([of_part(p) for p in parts]), np.arange(size))


def test_a_plan_is_trained_and_converted(
    plan: Plan, material: Material, existing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def to_float(student: nn.Module, shape: tuple[int, int]) -> bytes:
        seen.update(student=student, shape=shape)
        return b"float"

    def to_int8(model: bytes, typical: Any) -> bytes:
        seen.update(typical=typical)
        return b"int8"

    monkeypatch.setattr(convert, "to_float", to_float)
    monkeypatch.setattr(convert, "to_int8", to_int8)
    outcome = train.train(plan, material, tmp_path, progress=False)
    assert (outcome.trained.float_model, outcome.trained.int8_model) == (b"float", b"int8")
    assert [lesson.shard for lesson in outcome.history] == [1, 2, 1]
    assert seen["shape"] == NANO_FRONT_END.input_shape
    held_out = open_shard(material.folder, 0).features[0]
    np.testing.assert_array_equal(seen["typical"], held_out[256:512].astype(np.float32))
    np.testing.assert_array_equal(outcome.measurement.features[0], held_out[512:])
    kinds = {type(module) for module in seen["student"].modules()}
    assert not kinds & {quantize.RoundedConv2d, quantize.RoundedActivation, nn.BatchNorm2d}
    assert {path.name for path in tmp_path.iterdir()} == {"distillation", "int8"}
    monkeypatch.setattr(convert, "to_int8_weights", lambda model: model + b", int8 weights")
    for bits, made in ((8, b"int8"), (32, b"float, int8 weights")):
        other = train.train(replace(plan, activations=bits, int8=None), material, tmp_path,
                            progress=False)  # fmt: skip
        assert other.history == outcome.history[:2]
        assert other.trained.int8_model == made


def test_a_start_that_knows_much_is_fitted_and_folded(
    plan: Plan, material: Material, existing: None
) -> None:
    torch.manual_seed(0)
    network = Student(grown(0.5, 16)).eval()
    plan = replace(plan, start=lambda features: network, ridge=1e-2, folds_first=True)
    split, reduction = Split.of(material.held_out(NANO_FRONT_END)), plan.reduce(material.targets())
    student = train._started(plan, material, split, reduction)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in student.modules())
    second = open_shard(material.folder, 2)
    error, _ = evaluate(student, second.features[0], reduction(second.targets))
    assert error < 0.9  # a random network knows something once its last layer is fitted
    as_it_was = train._started(
        replace(plan, ridge=None, folds_first=False), material, split, reduction
    )
    assert as_it_was is network


def test_retraining_is_a_third_as_long_and_as_fast(plan: Plan) -> None:
    plan = replace(plan, distillation=Settings(n_shards=7, learning_rate=3e-3, loss="mse"))
    assert plan.retraining == Settings(n_shards=2, learning_rate=1e-3, loss="mse")
