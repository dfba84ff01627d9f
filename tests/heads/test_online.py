"""The classifier that learns one sample at a time."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly, OnlineClassifier, _single, load

from .world import clouds


def taught(n: int = 200, n_classes: int = 5, **options: Any) -> OnlineClassifier:
    x, labels = clouds(n, n_classes, 16, seed=1)
    return OnlineClassifier(**options).learn(x, labels)


def accuracy(head: OnlineClassifier, n_classes: int = 5, seed: int = 2) -> float:
    x, labels = clouds(200, n_classes, 16, seed=seed)
    return float(np.mean(np.array(head.predict(x)) == labels))


def test_one_sample_a_class_is_enough_to_begin() -> None:
    assert accuracy(taught(5)) > 0.5
    assert accuracy(taught(200)) > 0.9


def test_gradient_steps_learn_what_prototypes_cannot() -> None:
    chance = np.random.default_rng(0)
    x = chance.normal(size=(400, 2))
    x[:, 1] *= 8  # the classes differ in the axis that spreads least
    labels = (x[:, 0] > 0).astype(int) + 2 * (np.abs(x[:, 1]) > 8)
    half, whole = (OnlineClassifier(rate=r).learn(x[:300], labels[:300].tolist()) for r in (0, 1))
    right = [np.mean(np.array(h.predict(x[300:])) == labels[300:]) for h in (half, whole)]
    assert right[1] > right[0] + 0.1


def test_a_class_may_begin_while_running() -> None:
    head = taught(n_classes=3)
    new = np.full(16, 6.0, np.float32)
    head.learn_one(new, "new")
    assert head.labels == ("c000", "c001", "c002", "new")
    assert head.predict_one(new) == "new"
    assert accuracy(head, 3) > 0.9


def test_what_is_not_heard_for_long_is_not_forgotten() -> None:
    head = taught(100)
    before = accuracy(head)
    x, labels = clouds(1000, 5, 16, seed=4)
    for row, label in zip(x, labels, strict=True):
        if label == "c000":
            head.learn_one(row, label)
    assert accuracy(head) > before - 0.1


def test_memory_does_not_grow_with_samples() -> None:
    def size(head: OnlineClassifier) -> int:
        return sum(np.asarray(field).nbytes for field in head._fields().values())

    assert size(taught(100)) == size(taught(400))


def test_the_guard_takes_back_a_correction_that_does_harm() -> None:
    head = taught(200, rate=0.02)
    x, labels = clouds(120, 5, 16, seed=5)
    learner = head._learner
    assert learner is not None
    harmful = np.random.default_rng(0).normal(size=learner.correction.weights.shape)
    learner.correction.weights = 2 * harmful.astype(np.float32)
    for row, label in zip(x, labels, strict=True):
        head.learn_one(row, label)
    assert head.rollbacks == 1
    assert accuracy(head) > 0.85


def test_wrong_labels_for_a_while_do_little_harm() -> None:
    head = taught(300)
    before = accuracy(head)
    x, labels = clouds(20, 5, 16, seed=6)
    for row, label in zip(x, labels[1:] + labels[:1], strict=True):
        head.learn_one(row, label)
    assert accuracy(head) > before - 0.1


def test_every_class_has_samples_held_out_whatever_their_order() -> None:
    x, labels = clouds(400, 5, 16, seed=1)
    head, seen = OnlineClassifier(), set()
    for row, label in zip(x, labels, strict=True):
        head.learn_one(row, label)
        assert head._learner is not None
        seen |= set(head._learner.held_out.codes.tolist())
    assert seen == set(range(5))


def test_held_out_samples_are_not_learnt() -> None:
    head = OnlineClassifier(hold_out=2)
    x, labels = clouds(100, 5, 16, seed=1)
    changed = 0
    for row, label in zip(x, labels, strict=True):
        before = copy.deepcopy(head._learner)
        head.learn_one(row, label)
        now = head._learner
        if before is not None and now is not None and now.held_out.count > before.held_out.count:
            assert np.array_equal(now.prototypes, before.prototypes)
            assert np.array_equal(now.heard.mean, before.heard.mean)
            changed += 1
    assert 30 < changed < 50


def test_going_on_after_load_is_as_never_saved(tmp_path: Path) -> None:
    head = taught(150)
    head.save(tmp_path / "a.npz")
    loaded = OnlineClassifier.load(tmp_path / "a.npz")
    x, labels = clouds(60, 6, 16, seed=8)
    for row, label in zip(x, labels, strict=True):
        head.learn_one(row, label), loaded.learn_one(row, label)
    assert np.array_equal(head.predict_proba(x), loaded.predict_proba(x))
    assert (head.count, head.labels) == (loaded.count, loaded.labels) and head.count == 210


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", np.full((2, 5), 9, np.float32), "weights is not all from -8 to 8"),
        ("weights", np.full((2, 5), np.nan, np.float32), "weights holds NaN"),
        ("weights", np.zeros((2, 4), np.float32), "weights is float32 of shape"),
        ("good", np.zeros((2, 5), np.int32), "good is int32, not int16"),
        ("counts", np.array([0, 1], np.int32), "counts are not all from 1"),
        ("squares", np.full(4, -1, np.float32), "squares is not all from 0"),
        ("labels", np.array(["a", "a"]), "labels are not 1 to 1000 different ones"),
        ("held_codes", np.array([3], np.int16), "held_codes is int16 of shape"),
        ("rate", np.asarray(np.inf), "rate is inf"),
        ("offered", np.asarray(-1), "offered is -1"),
    ],
)
def test_damaged_files_are_refused(name: str, value: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    OnlineClassifier().learn(np.eye(2, 4), ["a", "b"]).save(path)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files} | {f"online/{name}": value}
    np.savez(path, **arrays)
    with pytest.raises(HeadError, match=message):
        OnlineClassifier.load(path)


def test_load_finds_it_and_other_files_lack_it(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    taught().save(path)
    with zipfile.ZipFile(path) as archive:
        assert "online/weights.npy" in archive.namelist()
    found = load(path)
    assert found.online is not None and found.classifier is None
    assert found.online.labels == taught().labels
    Anomaly().learn(np.random.default_rng(0).normal(size=(20, 4))).save(path)
    with pytest.raises(HeadError, match="it holds no "):
        OnlineClassifier.load(path)


def test_odd_labels_are_refused() -> None:
    head = OnlineClassifier().learn_one(np.zeros(4), "a")
    with pytest.raises(HeadError, match="texts and whole numbers"):
        head.learn_one(np.zeros(4), 1)
    with pytest.raises(HeadError, match="'unknown' is given"):
        head.learn_one(np.zeros(4), "unknown")
    with pytest.raises(HeadError, match="1001 different labels are given; allowed are 1000"):
        OnlineClassifier().learn(np.zeros((1001, 1)), list(range(1001)))
    with pytest.raises(HeadError, match="no rows; give one or more"):
        head.learn(np.zeros((0, 4)), [])
    with pytest.raises(HeadError, match="nothing would be learnt"):
        OnlineClassifier(hold_out=1)
    assert head.labels == ("a",)


def test_the_exponential_is_as_good_as_single_precision() -> None:
    x = -np.geomspace(1e-6, 86, 10_000, dtype=np.float32)
    wanted = np.exp(x.astype(np.float64))
    assert np.abs(_single.exp(x) / wanted - 1).max() < 1e-6
    assert _single.exp(np.array([0.0, -1e9], np.float32)).tolist() == pytest.approx([1, 0])


def test_it_may_begin_with_what_others_heard() -> None:
    means = np.array([[1.0, 0, 0], [0, 1, 0]])
    head = OnlineClassifier.from_statistics(means, [0.1, 0.1, 0.1], ["saw", "drill"], weight=4)
    assert (head.labels, head.count, head.emb_dim) == (("saw", "drill"), 8, 3)
    assert head.predict(means) == ["saw", "drill"]
    heard = head._known().heard
    assert heard.mean == pytest.approx([0.5, 0.5, 0])
    assert heard.squares / 8 == pytest.approx([0.35, 0.35, 0.1])
    head.learn_one([1.0, 0, 5], "saw")
    assert head._known().prototypes[0] == pytest.approx([1, 0, 1])  # a fifth of the fifth sample
    for variances, labels, weight, why in (
        ([0.1, -0.1, 0.1], ["a", "b"], 1, "variances of 0 or more"),
        ([0.1, 0.1, 0.1], ["a", "a"], 1, "all different"),
        ([0.1, 0.1, 0.1], ["a"], 1, "labels"),
        ([0.1, 0.1], ["a", "b"], 1, "dimensions|values"),
        ([0.1, 0.1, 0.1], ["a", "b"], 0, "weight is 0"),
    ):
        with pytest.raises(HeadError, match=why):
            OnlineClassifier.from_statistics(means, variances, labels, weight)
