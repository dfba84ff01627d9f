"""The shipped students' recipes: each starts, has its size, and finds its input in its material."""

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

from listen_embed import registry
from listen_embed.training import convert, corpus, quantize, students
from listen_embed.training.distill import Settings, evaluate
from listen_embed.training.network import Student, count_weights, estimate_bytes, grown
from listen_embed.training.reduction import fit_pca
from listen_embed.training.shards import Recipe, Shard, open_shard
from listen_embed.training.students import (
    NANO_FRONT_END,
    SHIPPED,
    Plan,
    Workplace,
    build_corpora,
    plans,
    recipes,
)

from .sounds import noise, write

PLANS = {plan.slug: plan for plan in plans(Path("nowhere"))}
MN04 = "weights-upstream/efficientat-mn04/mn04_as_mAP_432.pt"


@pytest.fixture(scope="module")
def work(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with mn04's published file."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "mn04.pt").write_bytes((shared / MN04).read_bytes())
    return folder


def started(slug: str, work: Path) -> nn.Module:
    plan = next(plan for plan in plans(work) if plan.slug == slug)
    features = np.random.default_rng(0).standard_normal((4, *plan.front_end.input_shape))
    return plan.start(torch.from_numpy(0.5 * features.astype(np.float32))[:, None])


# -- the plans -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", PLANS)
def test_every_plan_starts_and_gives_what_its_name_says(slug: str, work: Path) -> None:
    plan, student = PLANS[slug], started(slug, work)
    with torch.no_grad():
        given = student.eval()(torch.zeros(2, 1, *plan.front_end.input_shape))
    assert given.shape == (2, plan.identity.emb_dim)
    if not isinstance(student, Student):
        return
    layers = [m for m in student.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    n_weights = sum(m.weight.numel() + len(m.weight) for m in layers)  # folded norms are biases
    assert n_weights == count_weights(student.architecture)
    assert n_weights < estimate_bytes(student.architecture) < 1_000_000


@pytest.mark.parametrize(
    ("slug", "budget"), [("sea-64-general", 205_000), ("sea-128-general", 400_000)]
)
def test_students_with_a_budget_keep_it(slug: str, budget: int, work: Path) -> None:
    student = started(slug, work)
    assert isinstance(student, Student)
    assert estimate_bytes(student.architecture) <= budget


def test_plans_name_different_models() -> None:
    assert len(PLANS) == len(plans(Path("nowhere"))) == 5
    for slug, plan in PLANS.items():
        assert slug.split("-") == [
            plan.identity.model_type, str(plan.identity.emb_dim), plan.identity.variant,
        ]  # fmt: skip
        assert plan.identity.licence == "MIT"


def test_every_front_end_is_in_its_material(recordings: Path, tmp_path: Path) -> None:
    folders = build_corpora([recordings], tmp_path)
    material = recipes(folders)
    place = Workplace(tmp_path, material, 0)
    for plan in PLANS.values():
        recipe = material[plan.material]
        assert recipe.front_ends[place.front_end(plan)] == plan.front_end
        assert all(registry.find(name).emb_dim for name in recipe.teachers)
        assert recipe.sounds.sr >= plan.front_end.sample_rate


def test_the_same_plan_starts_the_same(work: Path) -> None:
    for slug in ("sea-32-nano", "listen-64-workshop"):
        first, again = (started(slug, work).state_dict() for _ in range(2))
        assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_mn04_is_fetched_once(tmp_path: Path, mirror: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = students.teacher_network(tmp_path / "work")
    assert (network.architecture.last, network.architecture.emb_dim) == (384, 0)
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    monkeypatch.delenv("LISTEN_EMBED_MIRROR")
    again = students.teacher_network(tmp_path / "work")
    assert torch.equal(again.last[0].weight, network.last[0].weight)


# -- material ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of recordings at four rates, 2, 3, 4 and 5 seconds long."""
    folder = tmp_path_factory.mktemp("recordings")
    for seconds, sr in enumerate((8_000, 16_000, 22_050, 48_000), start=2):
        write(folder / str(sr) / "a.wav", noise(seconds, seed=sr, sr=sr), sr)
    return folder


def test_recordings_are_kept_at_the_lowest_rate_that_loses_nothing(
    recordings: Path, tmp_path: Path
) -> None:
    folders = build_corpora([recordings], tmp_path)
    corpora = [corpus.open_corpus(folder) for folder in folders]
    assert [folder.name for folder in folders] == ["corpus-16000", "corpus-32000"]
    assert [c.sr for c in corpora] == [16_000, 32_000]
    assert [len(c) for c in corpora] == [2 + 3, 4 + 5]


def test_a_rate_that_no_recording_needs_has_no_corpus(recordings: Path, tmp_path: Path) -> None:
    folders = build_corpora([recordings / "8000", recordings / "16000"], tmp_path)
    assert [folder.name for folder in folders] == ["corpus-16000"]
    (only,) = recipes(folders)["general"].sounds.parts
    assert (only.folder, only.sr, len(only.chosen)) == (folders[0], 32_000, 5)


def test_the_command_takes_folders_and_names(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(students, "make", lambda plan, place, weights: made.append(plan.slug))
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    folders = [str(recordings / name) for name in ("8000", "48000")]
    names = ["sea-32-nano", "listen-64-workshop"]
    only = [word for name in names for word in ("--only", name)]
    monkeypatch.setattr("sys.argv", ["students", *folders, *only, "--run", str(tmp_path)])
    students.main()
    assert made == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus-16000", "corpus-32000"]


# -- making one ----------------------------------------------------------------------------------


def test_material_comes_again_when_it_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numbers(folder: Path, recipe: Any, first: int, last: int, workers: int) -> Iterator[int]:
        assert (folder, workers) == (tmp_path / "general", 3)
        return iter(range(first, last))

    monkeypatch.setattr(students, "shards", numbers)
    place = Workplace(tmp_path, {"general": None}, 3)  # type: ignore[dict-item]
    plan = replace(PLANS["sea-32-nano"], n_shards=4)
    assert list(place.shards(plan, 0, 1)) == [0]
    assert list(place.shards(plan, 1, 12)) == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]
    assert list(place.shards(plan, 3, 6)) == [3, 4, 1]
    assert list(place.shards(plan, 7, 7)) == []
    assert place.held_out(plan) == 0


@pytest.fixture
def tiny() -> Plan:
    """Return a plan for what the specialised model was made of."""
    settings = Settings(n_shards=2, batch=256)
    return replace(
        PLANS["sea-32-nano"],
        identity=replace(PLANS["sea-32-nano"].identity, emb_dim=16, variant="tiny"),
        n_shards=2,
        start=lambda features: Student(grown(0.5, 16)),
        settings=settings,
        int8=replace(settings, n_shards=1),
    )


def test_a_plan_becomes_a_model_folder_and_its_shipped_part(
    specialised: Any, tiny: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(None, (NANO_FRONT_END,), ("logmel/128/16k",), 1024, 0)  # type: ignore[arg-type]
    made: dict[str, Any] = {}

    def from_existing(folder: Path, recipe: Any, first: int, last: int, n: int) -> Iterator[Shard]:
        return (open_shard(specialised.work / "shards", min(i, 2)) for i in range(first, last))

    def to_float(student: nn.Module, shape: tuple[int, int]) -> bytes:
        made.update(student=student, shape=shape)
        return bytes((specialised.folder / "float" / "model.tflite").read_bytes())

    def to_int8(model: bytes, typical: Any, activations: int) -> bytes:
        made.update(typical=typical)
        return bytes((specialised.folder / "model.tflite").read_bytes())

    monkeypatch.setattr(students, "shards", from_existing)
    monkeypatch.setattr(convert, "to_float", to_float)
    monkeypatch.setattr(convert, "to_int8", to_int8)
    place = Workplace(tmp_path / "run", {"general": recipe}, 0)
    students.make(tiny, place, tmp_path / "weights")

    assert made["shape"] == NANO_FRONT_END.input_shape
    held_out = open_shard(specialised.work / "shards", 0).features[0]
    np.testing.assert_array_equal(made["typical"], held_out[512:1024].astype(np.float32))
    kinds = {type(module) for module in made["student"].modules()}
    assert not kinds & {quantize.RoundedConv2d, quantize.RoundedActivation, nn.BatchNorm2d}

    whole, shipped = tmp_path / "run" / "models" / "sea-16-tiny", tmp_path / "weights/sea-16-tiny"
    assert registry.load_folder(whole).name == "sea/16/tiny"
    assert registry.load_folder(shipped).name == "sea/16/tiny"
    assert {path.name for path in shipped.iterdir()} == set(SHIPPED)
    for name in SHIPPED:
        assert (shipped / name).read_bytes() == (whole / name).read_bytes()
    card = (shipped / "README.md").read_text(encoding="utf-8")
    assert "| material | 2 shards of 1024 crops (general), seed 0 |" in card
    assert "python -m listen_embed.training.students RECORDINGS --only sea-16-tiny" in card
    stages = {path.name for path in (tmp_path / "run").iterdir()}
    assert stages == {"sea-16-tiny", "sea-16-tiny-int8", "models"}


def test_a_pruned_start_is_fitted_and_folded(
    specialised: Any, tiny: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a student comes from mn04, its linear layer is asked for and its norms are frozen."""
    shards = [open_shard(specialised.work / "shards", i) for i in range(2)]
    monkeypatch.setattr(
        students, "shards", lambda folder, recipe, first, last, n: iter(shards[first:last])
    )
    monkeypatch.setattr(students, "MN04_FRONT_END", NANO_FRONT_END)
    recipe = Recipe(None, (NANO_FRONT_END,), ("logmel/128/16k",), 1024, 0)  # type: ignore[arg-type]
    place = Workplace(tmp_path, {"general": recipe}, 0)
    torch.manual_seed(0)
    plan = replace(tiny, start=lambda features: Student(grown(0.5, 16)).eval())
    reduction = fit_pca(shards[0].targets, 16)
    student = students._start(plan, place, shards[0], reduction)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in student.modules())
    error, _ = evaluate(student, shards[1].features[0], reduction(shards[1].targets))
    assert error < 0.9  # a random network knows something once its last layer is fitted
