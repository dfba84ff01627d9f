"""Distillation: it learns, and a run that was cut off ends as if it had not been."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import nn

from listen_embed.errors import InputError
from listen_embed.training import distill, pruning
from listen_embed.training.distill import Settings, distil, evaluate, fit_linear, loss_of
from listen_embed.training.network import (
    Architecture,
    Block,
    Student,
    Transformer,
    TransformerShape,
)
from listen_embed.training.reduction import Reduction, fit_pca, keep_all
from listen_embed.training.shards import Shard

N_SHARDS, SIZE, SHAPE = 5, 64, (16, 8)
ARCHITECTURE = Architecture(
    8, (Block(3, 2, 16, 8, 0, "relu"), Block(3, 1, 16, 8, 8, "relu")), 24, 3, "relu"
)
SETTINGS = Settings(n_shards=N_SHARDS, batch=16, learning_rate=2e-2, average=0.8)


def shard_of(number: int) -> Shard:
    """Return pictures of two bumps, and teacher embeddings that tell where they are."""
    rng = np.random.default_rng([7, number])
    bands = np.arange(SHAPE[0])
    places = rng.uniform(2, 14, (SIZE, 2))
    bumps = np.exp(-((bands - places[:, :, None]) ** 2) / 4)  # (SIZE, 2, bands)
    pictures = (bumps[:, 0] - bumps[:, 1])[:, :, None]
    noise = 0.05 * rng.standard_normal((SIZE, *SHAPE))
    angles = places / 8
    taught = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return Shard(((pictures + noise).astype(np.float16),), taught.astype(np.float32))


HELD_OUT = shard_of(999)


def shards(first: int) -> Iterator[Shard]:
    return (shard_of(number) for number in range(first, N_SHARDS))


@pytest.fixture(scope="module")
def reduction() -> Reduction:
    return fit_pca(np.concatenate([shard_of(n).targets for n in range(4)]), 3)


@pytest.fixture
def student() -> Student:
    torch.manual_seed(1)
    return Student(ARCHITECTURE)


Train = Callable[..., Any]


@pytest.fixture
def train(student: Student, reduction: Reduction) -> Train:
    def run(folder: Path, settings: Settings = SETTINGS, source: Any = shards, **more: Any) -> Any:
        start = more.pop("start", student)
        return distil(start, source, HELD_OUT, reduction, settings, folder, progress=False, **more)

    return run


def assert_equal_states(first: Any, second: Any) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


# -- it learns -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "cosine", "mse+cosine"])
def test_training_teaches(tmp_path: Path, train: Train, loss: Any) -> None:
    def endless(first: int) -> Iterator[Shard]:
        return map(shard_of, itertools.count(first))

    trained, history = train(tmp_path, replace(SETTINGS, loss=loss, n_shards=25), source=endless)
    assert [row.shard for row in history] == list(range(1, 26))
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].cosine > history[0].cosine + 0.3
    if loss != "cosine":
        assert history[-1].error < 0.6 * history[0].error
    assert not trained.training
    assert json.loads((tmp_path / "history.json").read_text())[-1]["loss"] == history[-1].loss


def test_history_tells_how_the_result_does_on_held_out_crops(
    tmp_path: Path, train: Train, reduction: Reduction
) -> None:
    trained, history = train(tmp_path)
    with torch.no_grad():
        given = trained(torch.from_numpy(HELD_OUT.features[0].astype(np.float32))[:, None]).numpy()
    wanted = reduction(HELD_OUT.targets)
    error = np.square(given - wanted).sum() / np.square(wanted - wanted.mean(0)).sum()
    norms = np.linalg.norm(given, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = ((given * wanted).sum(axis=1) / norms).mean()
    assert (history[-1].error, history[-1].cosine) == pytest.approx((error, cosine), rel=1e-4)


def test_longer_crops_come_as_many_times_fewer_in_a_step(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is made of as much sound, whatever its crops last."""
    steps: list[tuple[int, int]] = []

    def loss(given: torch.Tensor, wanted: torch.Tensor, kind: Any) -> torch.Tensor:
        steps.append(tuple(given.shape))  # type: ignore[arg-type]
        return (given - wanted).pow(2).mean()

    def lengths(first: int) -> Iterator[Shard]:
        for number in range(first, 3):
            length = (1, 2, 32)[number]
            shard, n = shard_of(number), SIZE // min(length, 4)
            pictures = np.concatenate([shard.features[0][:n]] * length, axis=2)
            yield Shard((pictures,), shard.targets[:n])

    monkeypatch.setattr(distill, "loss_of", loss)
    train(tmp_path, source=lengths)
    # 16 crops of one frame, 8 of two; of those that outlast a whole step one.
    assert steps == [(16, 3)] * 4 + [(8, 3)] * 4 + [(1, 3)] * 16


def test_the_student_that_came_in_stays_as_it_was(
    tmp_path: Path, train: Train, student: Student
) -> None:
    kept = copy.deepcopy(student)
    trained, _ = train(tmp_path)
    assert trained is not student
    assert_equal_states(student, kept)
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())


# -- resuming ------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("n_done", [1, 3])
def test_resumed_equals_uninterrupted(tmp_path: Path, train: Train, n_done: int) -> None:
    def cut_off(first: int) -> Iterator[Shard]:
        for number in range(first, N_SHARDS):
            if number == n_done:
                raise Interrupted
            yield shard_of(number)

    asked = []

    def counted(first: int) -> Iterator[Shard]:
        asked.append(first)
        return shards(first)

    whole, history = train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", source=cut_off)
    resumed, resumed_history = train(tmp_path / "cut", source=counted)
    assert asked == [n_done]
    assert resumed_history == history
    assert_equal_states(resumed, whole)


def test_an_interruption_while_saving_loses_one_shard(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, n_saved = torch.save, []

    def save(state: Any, file: IO[bytes]) -> None:
        n_saved.append(file)
        if len(n_saved) == 3:
            file.write(b"half a check")
            raise Interrupted
        genuine(state, file)

    whole, history = train(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(torch, "save", save)
        train(tmp_path / "cut")
    resumed, resumed_history = train(tmp_path / "cut")
    assert resumed_history == history
    assert_equal_states(resumed, whole)


def test_an_interruption_while_writing_the_curve_leaves_the_last_one(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = distill.replacing

    @contextmanager
    def cut_off(target: Path) -> Iterator[IO[bytes]]:
        with genuine(target) as file:
            yield file
            file.flush()
            written = Path(file.name).read_bytes()
            if target.suffix == ".json" and len(json.loads(written)) == 3:
                file.truncate(20)
                raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(distill, "replacing", cut_off)
        train(tmp_path)
    assert [row["shard"] for row in json.loads((tmp_path / "history.json").read_text())] == [1, 2]
    _, history = train(tmp_path)
    assert len(json.loads((tmp_path / "history.json").read_text())) == len(history) == N_SHARDS
    assert {path.name for path in tmp_path.iterdir()} == {"history.json", "checkpoint.pt"}


def test_a_finished_run_is_only_read(tmp_path: Path, train: Train) -> None:
    first, history = train(tmp_path)
    again, again_history = train(tmp_path, source=lambda first: iter([shard_of(5)] * (6 - first)))
    assert again_history == history
    assert_equal_states(again, first)


@pytest.mark.parametrize(
    "change", [{"batch": 8}, {"loss": "mse"}, {"seed": 1}, {"n_shards": 6}, {"learning_rate": 0.1}]
)
def test_other_settings_need_another_folder(
    tmp_path: Path, train: Train, change: dict[str, Any]
) -> None:
    _, history = train(tmp_path)
    with pytest.raises(InputError, match="holds a run with other settings"):
        train(tmp_path, replace(SETTINGS, **change))
    assert train(tmp_path)[1] == history


def test_the_seed_orders_the_crops(tmp_path: Path, train: Train) -> None:
    first, _ = train(tmp_path / "a")
    again, _ = train(tmp_path / "b")
    other, _ = train(tmp_path / "c", replace(SETTINGS, seed=1))
    assert_equal_states(first, again)
    assert not torch.equal(first.to_embedding.weight, other.to_embedding.weight)


# -- what it is made of --------------------------------------------------------------------------


def test_pruned_weights_stay_pruned(tmp_path: Path, train: Train, student: Student) -> None:
    pruned = pruning.prune_magnitude(student, [0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9])
    before = {name: value == 0 for name, value in pruned.named_parameters()}
    kept, _ = train(tmp_path / "kept", replace(SETTINGS, keep_zeros=True), start=pruned)
    free, _ = train(tmp_path / "free", start=pruned)
    grown = 0
    for name, value in kept.named_parameters():
        if value.ndim > 1:
            assert torch.equal(value == 0, before[name])
            grown += int((dict(free.named_parameters())[name][before[name]] != 0).sum())
    assert grown > 100


def test_losses_by_hand(rng: Any) -> None:
    given, wanted = rng.standard_normal((2, 9, 4))
    mse = np.square(given - wanted).mean()
    norms = np.linalg.norm(given, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = 1 - ((given * wanted).sum(axis=1) / norms).mean()
    tensors = torch.from_numpy(given), torch.from_numpy(wanted)
    assert loss_of(*tensors, "mse").item() == pytest.approx(mse)
    assert loss_of(*tensors, "cosine").item() == pytest.approx(cosine)
    assert loss_of(*tensors, "mse+cosine").item() == pytest.approx(mse + cosine)


def test_a_perfect_student_has_no_error(student: Student) -> None:
    features = HELD_OUT.features[0]
    student.eval()
    with torch.no_grad():
        own = student(torch.from_numpy(features.astype(np.float32))[:, None]).numpy()
    assert evaluate(student, features, own, batch=10) == pytest.approx((0, 1), abs=1e-5)
    constant = np.broadcast_to(own.mean(0), own.shape) + 0.01 * (own - own.mean(0))
    error, _ = evaluate(student, features, constant)
    assert error > 100


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_leaves_a_student_in_its_mode(student: Student, training: bool) -> None:
    student.train(training)
    kept = copy.deepcopy(student.state_dict())
    targets = np.zeros((SIZE, 3), np.float32) + np.arange(SIZE, dtype=np.float32)[:, None]
    evaluate(student, HELD_OUT.features[0], targets)
    assert {module.training for module in student.modules()} == {training}
    for name, value in student.state_dict().items():
        assert torch.equal(value, kept[name])  # it was in evaluation while it was asked
    with pytest.raises(RuntimeError, match="channels_last"):
        evaluate(student, HELD_OUT.features[0][:, 0, 0], targets)
    assert student.training == training


def test_fit_linear_asks_for_what_is_known(student: Student) -> None:
    """Targets that are linear in the pooled channels are found, but for the ridge."""
    features = np.concatenate([shard_of(n).features[0] for n in range(4)])
    student.eval()
    with torch.no_grad():
        pooled = student.pooled(torch.from_numpy(features.astype(np.float32))[:, None]).numpy()
    variances = pooled.var(axis=0)
    targets = pooled[:, np.argsort(variances)[-3:]] * 7 - 4
    kept = copy.deepcopy(student)
    assert evaluate(student, features, targets)[0] > 0.5
    fit_linear(student, features, targets)
    error, _ = evaluate(student, features, targets)
    assert error < 0.05
    for name, value in student.state_dict().items():
        assert name.startswith("to_embedding") or torch.equal(value, kept.state_dict()[name])


@pytest.mark.parametrize("training", [True, False])
def test_fit_linear_speaks_through_a_transformers_short_cut(training: bool) -> None:
    torch.manual_seed(0)
    shape = TransformerShape(n_bands=SHAPE[0], width=8, heads=2, hidden=8, layers=1, emb_dim=3)
    network = Transformer(shape)
    nn.init.zeros_(network.to_embedding.weight)
    nn.init.zeros_(network.to_embedding.bias)
    network.train(training)
    features = np.concatenate([shard_of(n).features[0] for n in range(4)]).astype(np.float32)
    falls = np.maximum(features.mean(2, keepdims=True) - features, 0).mean(2)
    targets = np.stack([features.mean(2)[:, 1], falls[:, 2], falls[:, 3] - 2], axis=1)
    fit_linear(network, features, targets, ridge=1e-6)
    assert evaluate(network, features, targets)[0] < 0.02
    assert network.training == training


def test_students_as_wide_as_their_teacher_need_no_reduction(tmp_path: Path) -> None:
    torch.manual_seed(1)
    wide = Student(replace(ARCHITECTURE, emb_dim=4))
    _, history = distil(
        wide, shards, HELD_OUT, keep_all(HELD_OUT.targets), SETTINGS, tmp_path, progress=False
    )
    assert history[-1].error < history[0].error
