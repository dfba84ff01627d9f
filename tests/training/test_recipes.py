"""The shipped students' recipes: each starts, has its size, and finds its input in its material."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import nn

from listen_embed import registry, store
from listen_embed.runtime import Network
from listen_embed.training import corpus, export, starts
from listen_embed.training.network import Student, count_weights, estimate_bytes
from listen_embed.training.report import Figures
from listen_embed.training.restore import restore
from listen_embed.training.shards import open_shard
from listen_embed.training.train import Material

from .sounds import noise, write


def loaded(name: str) -> ModuleType:
    """Return a module of ``recipes/``, which no package holds."""
    path = Path(__file__).parents[2] / "recipes" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"recipes_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


students = loaded("students")
PLANS = {shipped.slug: shipped for shipped in students.plans(Path("nowhere"))}
MN04 = "weights-upstream/efficientat-mn04/mn04_as_mAP_432.pt"


@pytest.fixture(scope="module")
def work(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with mn04's published file."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "mn04.pt").write_bytes((shared / MN04).read_bytes())
    return folder


def started(slug: str, work: Path) -> nn.Module:
    plan = next(shipped.plan for shipped in students.plans(work) if shipped.slug == slug)
    features = np.random.default_rng(0).standard_normal((4, *plan.front_end.input_shape))
    return plan.start(torch.from_numpy(0.5 * features.astype(np.float32))[:, None])


# -- the plans -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", PLANS)
def test_every_plan_starts_and_gives_what_its_name_says(slug: str, work: Path) -> None:
    plan, student = PLANS[slug].plan, started(slug, work)
    with torch.no_grad():
        given = student.eval()(torch.zeros(2, 1, *plan.front_end.input_shape))
    assert (given.shape[0], given.shape[-1]) == (2, plan.identity.emb_dim)
    assert (given.ndim == 3) == (plan.stepping is not None)  # several times, where it streams
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
    assert len(PLANS) == len(students.plans(Path("nowhere"))) == 6
    for slug, shipped in PLANS.items():
        plan = shipped.plan
        assert slug.split("-") == [
            plan.identity.model_type, str(plan.identity.emb_dim), plan.identity.variant,
        ]  # fmt: skip
        assert plan.identity.licence == "MIT"


def test_every_front_end_is_in_its_material(recordings: Path, tmp_path: Path) -> None:
    material = students.recipes(students.build_corpora([recordings], tmp_path))
    for shipped in PLANS.values():
        plan, recipe = shipped.plan, material[shipped.material]
        assert plan.front_end in recipe.front_ends
        assert all(registry.find(name).emb_dim for name in recipe.teachers)
        assert recipe.sounds.sr >= plan.front_end.sample_rate


def test_the_same_plan_starts_the_same(work: Path) -> None:
    for slug in ("sea-32-nano", "listen-64-workshop"):
        first, again = (started(slug, work).state_dict() for _ in range(2))
        assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_mn04_is_fetched_once(tmp_path: Path, mirror: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = starts.mn04(tmp_path / "work")
    assert (network.architecture.last, network.architecture.emb_dim) == (384, 0)
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    monkeypatch.delenv("LISTEN_EMBED_MIRROR")
    again = starts.mn04(tmp_path / "work")
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
    folders = students.build_corpora([recordings], tmp_path)
    corpora = [corpus.open_corpus(folder) for folder in folders]
    assert [folder.name for folder in folders] == ["corpus-16000", "corpus-32000"]
    assert [c.sr for c in corpora] == [16_000, 32_000]
    assert [len(c) for c in corpora] == [2 + 3, 4 + 5]


def test_a_rate_that_no_recording_needs_has_no_corpus(recordings: Path, tmp_path: Path) -> None:
    folders = students.build_corpora([recordings / "8000", recordings / "16000"], tmp_path)
    assert [folder.name for folder in folders] == ["corpus-16000"]
    (only,) = students.recipes(folders)["general"].sounds.parts
    assert (only.folder, only.sr, len(only.chosen)) == (folders[0], 32_000, 5)


def test_the_command_takes_folders_and_names(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(students, "make", lambda shipped, *rest: made.append(shipped.slug))
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    folders = [str(recordings / name) for name in ("8000", "48000")]
    names = ["sea-32-nano", "listen-64-workshop"]
    only = [word for name in names for word in ("--only", name)]
    monkeypatch.setattr(sys, "argv", ["students", *folders, *only, "--run", str(tmp_path)])
    students.main()
    assert made == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus-16000", "corpus-32000"]


# -- making one ----------------------------------------------------------------------------------


def test_a_plan_becomes_a_model_folder_and_its_shipped_part(
    specialised: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained for real elsewhere; here is what becomes of it."""
    files = [specialised.folder / name for name in ("float/model.tflite", "model.tflite")]
    figures = Figures([1.0], [0.9], 0.99, 1, 1, 1, 1, 0.1, 0.1)
    asked: dict[str, Any] = {}

    def train(plan: Any, material: Material, folder: Path) -> Any:
        asked.update(plan=plan, material=material, folder=folder)
        return export.Trained(*(file.read_bytes() for file in files))

    def write(folder: Path, plan: Any, outcome: Any, settings: Any) -> None:
        def complete(place: Path) -> None:
            for name in ("report.json", "report.png"):
                (place / name).write_text(repr(figures))
            export.write_card(place, plan.identity, plan.front_end, outcome, settings, "", "x")

        export.write_folder(folder, plan.identity, plan.front_end, outcome, complete)

    monkeypatch.setattr(students, "train", train)
    monkeypatch.setattr(students, "write", write)
    nano = PLANS["sea-32-nano"]
    identity = replace(nano.plan.identity, emb_dim=16, variant="tiny")
    tiny = replace(nano, plan=replace(nano.plan, identity=identity), n_shards=7)
    recipe = students.Recipe(None, (nano.plan.front_end,), ("logmel/128/16k",), 1024, 3)
    students.make(tiny, recipe, tmp_path / "run", tmp_path / "weights", 2)

    assert asked["plan"] is tiny.plan
    assert asked["material"] == Material(recipe, tmp_path / "run" / "general", 7, 2)
    assert asked["folder"] == tmp_path / "run" / "sea-16-tiny"
    whole, shipped = tmp_path / "run" / "models" / "sea-16-tiny", tmp_path / "weights/sea-16-tiny"
    assert registry.load_folder(whole).name == "sea/16/tiny"
    assert registry.load_folder(shipped).name == "sea/16/tiny"
    assert {path.name for path in shipped.iterdir()} == set(students.SHIPPED)
    for name in students.SHIPPED:
        assert (shipped / name).read_bytes() == (whole / name).read_bytes()
    card = (shipped / "README.md").read_text(encoding="utf-8")
    assert "| material | 7 shards of 1024 crops (general), seed 3 |" in card
    assert "python recipes/students.py RECORDINGS --only sea-16-tiny" in card


def test_a_coarse_stem_learns_what_the_fine_one_gives(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem = loaded("stem")
    for name, value in {"N_SHARDS": 1, "BATCH": 8, "RATE": 3e-2}.items():
        monkeypatch.setattr(stem, name, value)
    everyday = students.recipes(students.build_corpora([recordings / "16000"], tmp_path))["general"]
    origin = registry.find("sea/64/general")
    fronts = (origin.front_end, starts.MN04_FRONT_END)
    recipe = replace(everyday, front_ends=fronts, teachers=(), lengths=(1,), size=128)
    old = restore(store.load(origin))
    new = stem.with_coarse_stem(old, recipe, tmp_path / "stems", workers=0)
    assert new.architecture.stem_stride == (4, 2)
    assert new.architecture.blocks[1:] == old.architecture.blocks[2:]
    assert new.last is old.last
    fine, coarse = stem._pictures(open_shard(tmp_path / "stems", 0), np.arange(128))
    with torch.no_grad():
        wanted = stem._first_stage(old)(fine)
        scale = wanted.std((0, 2, 3), keepdim=True)
        untaught, taught = (
            float(((student.blocks[0](student.stem(coarse)) - wanted) / scale).pow(2).mean())
            for student in (stem.begun_anew(old).eval(), new)
        )
        assert taught < 0.85 * untaught
        again = stem.with_coarse_stem(old, recipe, tmp_path / "stems", workers=0)  # kept
        assert torch.equal(again(coarse), new(coarse))


def test_an_integer_network_is_written_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "students", students)
    spec = registry.find("sea/32/nano")
    integers = store.load(spec)
    real = loaded("rewrite").in_float(integers)
    log_mels = np.random.default_rng(0).standard_normal((4, *spec.front_end.input_shape))
    rounded, exact = (Network(model)(log_mels.astype(np.float32)) for model in (integers, real))
    lengths = np.linalg.norm(rounded, axis=1) * np.linalg.norm(exact, axis=1)
    assert ((rounded * exact).sum(1) / lengths).min() > 0.98
    assert len(np.unique(exact)) == exact.size  # no steps
