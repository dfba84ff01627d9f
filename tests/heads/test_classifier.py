"""Classifiers: few clips, prototypes, probabilities, unknown sound, speed, real embeddings."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neighbors import NearestCentroid

from listen_embed.errors import HeadError, ListenEmbedWarning
from listen_embed.heads import Classifier

from .world import clouds


def accuracy(head: Classifier, x: np.ndarray, labels: list[str]) -> float:
    return float(accuracy_score(labels, head.predict(x)))


@pytest.mark.parametrize("n_clips", [1, 2, 3, 5, 20])
def test_any_number_of_clips_teaches(n_clips: int) -> None:
    x, labels = clouds(10 * n_clips, 10, 64, seed=0, spread=0.5)
    new, truth = clouds(200, 10, 64, seed=1, spread=0.5)
    head = Classifier().learn(x, labels)
    assert accuracy(head, new, truth) > 0.97
    assert accuracy(head, x, labels) == 1.0


def test_one_clip_of_some_classes_and_many_of_others() -> None:
    x, labels = clouds(50, 5, 20, seed=0, spread=0.3)
    keep = [row for row, label in enumerate(labels) if label != "c003" or row == 3]
    head = Classifier(reject=0.01).learn(x[keep], [labels[row] for row in keep])
    new, truth = clouds(200, 5, 20, seed=1, spread=0.3)
    assert head.labels == ("c000", "c001", "c002", "c003", "c004")
    assert accuracy(head, new, truth) > 0.9


def test_probabilities_are_a_distribution_over_sorted_labels() -> None:
    x, labels = clouds(30, 3, 6, seed=0)
    head = Classifier().learn(x, [label.upper() for label in labels])
    share = head.predict_proba(x)
    assert head.labels == ("C000", "C001", "C002")
    assert share.shape == (30, 3) and share.dtype == np.float64
    np.testing.assert_allclose(share.sum(axis=1), 1.0)
    assert [head.labels[best] for best in share.argmax(axis=1)] == head.predict(x)


def test_labels_in_any_order_and_type_of_sequence(rng: np.random.Generator) -> None:
    x, labels = clouds(40, 4, 6, seed=0)
    shuffled = rng.permutation(40)
    first = Classifier().learn(x, labels)
    second = Classifier().learn(x[shuffled], np.array(labels)[shuffled])
    np.testing.assert_allclose(first.novelty(x), second.novelty(x), rtol=1e-4, atol=1e-5)
    assert first.predict(x) == second.predict(x)
    assert all(type(label) is str for label in second.predict(x))


# ---- prototypes ----


def test_without_spread_prototypes_are_nearest_centroids(rng: np.random.Generator) -> None:
    x = rng.normal(size=(8, 5))
    x /= x.std(axis=0)
    labels = [f"c{number}" for number in range(8)]
    new = 2 * rng.normal(size=(300, 5))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # scikit-learn's, about the missing spread
        expected = NearestCentroid().fit(x, labels).predict(new).tolist()
    assert Classifier().learn(x, labels).predict(new) == expected
    assert Classifier().learn(np.tile(x, (2, 1)), labels * 2).predict(new) == expected


def test_with_many_clips_prototypes_are_discriminant_analysis(rng: np.random.Generator) -> None:
    codes = np.arange(6000) % 4
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0] * np.linspace(0.5, 2.0, 10)
    x = rng.normal(size=(4, 10))[codes] + rng.normal(size=(6000, 10)) @ turn
    labels = [f"c{code}" for code in codes[:4000]]
    expected = LinearDiscriminantAnalysis().fit(x[:4000], labels).predict_proba(x[4000:])
    head = Classifier().learn(x[:4000], labels)
    np.testing.assert_allclose(head.predict_proba(x[4000:]), expected, atol=0.05)
    assert accuracy_score(expected.argmax(1), head.predict_proba(x[4000:]).argmax(1)) > 0.99


def test_the_metric_is_the_shrunk_covariance_within_classes() -> None:
    x, labels = clouds(400, 4, 12, seed=0)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float64)
    within = np.vstack([x[k::4] - x[k::4].mean(axis=0) for k in range(4)])
    precision = (
        LedoitWolf(assume_centered=True).fit(within).precision_ * (396 / 400) / (1 + 1 / 100)
    )
    gaps = x[:5, None] - np.array([x[k::4].mean(axis=0) for k in range(4)])
    expected = np.sqrt(np.einsum("nkd,de,nke->nk", gaps, precision, gaps).min(axis=1))
    np.testing.assert_allclose(Classifier().learn(x, labels).novelty(x[:5]), expected, rtol=2e-3)


def test_shared_covariance_beats_plain_distance_where_clips_vary_alike() -> None:
    x, labels = clouds(100, 5, 30, seed=0, spread=2.5)
    new, truth = clouds(1000, 5, 30, seed=1, spread=2.5)
    plain = NearestCentroid().fit(x, labels)
    assert accuracy(Classifier().learn(x, labels), new, truth) > plain.score(new, truth) + 0.05


@pytest.mark.parametrize("spread", [0.7, 1.5, 3.0])
def test_prototype_probabilities_are_calibrated(spread: float) -> None:
    x, labels = clouds(100, 5, 20, seed=0, spread=spread)
    new, truth = clouds(2000, 5, 20, seed=1, spread=spread)
    share = Classifier().learn(x, labels).predict_proba(new)
    sure, right = share.max(axis=1), share.argmax(axis=1) == [int(label[1:]) for label in truth]
    assert sure.mean() == pytest.approx(right.mean(), abs=0.07)


def test_clean_clips_do_not_make_prototypes_overconfident() -> None:
    """Ten clips a class, all right, still are only some ten clips."""
    x, labels = clouds(20, 2, 4, seed=0, spread=0.01)
    share = Classifier().learn(x, labels).predict_proba(x).max(axis=1)
    assert share.min() > 0.9 and share.max() < 0.99


# ---- unknown sound ----


@pytest.mark.parametrize("reject", [0.01, 0.05, 0.2])
@pytest.mark.parametrize(("n_rows", "emb_dim"), [(60, 32), (400, 8), (400, 256)])
def test_the_stated_share_of_known_sound_is_rejected(
    reject: float, n_rows: int, emb_dim: int
) -> None:
    x, labels = clouds(n_rows, 4, emb_dim, seed=0)
    new = clouds(4000, 4, emb_dim, seed=1)[0]
    found = Classifier(reject=reject).learn(x, labels).predict(new).count("unknown") / 4000
    tolerance = 0.01 + 3 * np.sqrt(reject / n_rows)
    assert found == pytest.approx(reject, abs=tolerance)


def test_sound_far_from_all_is_unknown_and_near_is_not() -> None:
    x, labels = clouds(200, 4, 16, seed=0, spread=0.5)
    head = Classifier(reject=0.01).learn(x, labels)
    assert set(head.predict(x + 20)) == {"unknown"}
    assert "unknown" not in head.predict(np.array([x[k::4].mean(axis=0) for k in range(4)]))
    assert head.labels == ("c000", "c001", "c002", "c003")
    np.testing.assert_allclose(head.predict_proba(x + 20).sum(axis=1), 1.0)


def test_a_class_never_taught_is_novel() -> None:
    x, labels = clouds(300, 6, 16, seed=0, spread=0.5)
    known = np.array([label != "c005" for label in labels])
    head = Classifier(reject=0.02).learn(x[known], [v for v in labels if v != "c005"])
    assert head.predict(x[~known]).count("unknown") > 0.9 * (~known).sum()
    assert np.median(head.novelty(x[~known])) > np.quantile(head.novelty(x[known]), 0.99)


def test_nothing_is_unknown_unless_asked_for() -> None:
    x, labels = clouds(60, 3, 6, seed=0)
    head = Classifier().learn(x, labels)
    assert head.threshold == np.inf
    assert "unknown" not in head.predict(x + 1000)


def test_one_clip_a_class_cannot_calibrate_unknown_and_says_so() -> None:
    head = Classifier(reject=0.01)
    with pytest.warns(ListenEmbedWarning, match=r"reject=0.01 has no effect: only 0 .* 5"):
        head.learn(np.eye(6), list("abcdef"))
    assert head.threshold == np.inf
    assert head.predict(100 * np.eye(6)) == list("abcdef")


def test_frames_of_one_clip_a_class_cannot_either() -> None:
    x, labels = clouds(60, 3, 6, seed=0)
    with pytest.warns(ListenEmbedWarning, match="no effect"):
        Classifier(reject=0.01).learn(x, labels, groups=labels)


def test_groups_keep_near_copies_from_flattering_the_threshold(rng: np.random.Generator) -> None:
    clips, labels = clouds(30, 3, 64, seed=0)
    frames = np.repeat(clips, 10, axis=0) + 0.01 * rng.normal(size=(300, 64))
    names, numbers = np.repeat(labels, 10), np.repeat(np.arange(30), 10)
    new = clouds(1000, 3, 64, seed=1)[0]
    grouped = Classifier(reject=0.05).learn(frames, names, groups=numbers)
    alone = Classifier(reject=0.05).learn(frames, names)
    assert grouped.predict(new).count("unknown") < 200
    assert alone.predict(new).count("unknown") > 800


# ---- one at a time ----


def one_by_one(
    head: Classifier, x: np.ndarray, labels: list[str], groups: list[int] | None = None
) -> Classifier:
    for row, label, group in zip(x, labels, groups or [None] * len(x), strict=True):
        head.learn_one(row, label, group)
    return head


@pytest.mark.parametrize("capacity", [7, 1000])
@pytest.mark.parametrize("n_first", [0, 40])
@pytest.mark.parametrize("groups", [None, [number // 8 for number in range(100)]])
def test_one_by_one_it_learns_what_it_learns_at_once(
    n_first: int, capacity: int, groups: list[int] | None
) -> None:
    x, labels = clouds(100, 4, 8, seed=0, spread=2.0)
    at_once = Classifier(reject=0.1, capacity=capacity, seed=3).learn(x, labels, groups)
    head = Classifier(reject=0.1, capacity=capacity, seed=3)
    if n_first:
        head.learn(x[:n_first], labels[:n_first], groups and groups[:n_first])
    one_by_one(head, x[n_first:], labels[n_first:], groups and groups[n_first:])
    assert head.threshold == at_once.threshold < np.inf
    assert np.array_equal(head.predict_proba(x), at_once.predict_proba(x))
    assert np.array_equal(head.novelty(x), at_once.novelty(x))


def test_learning_goes_on_after_loading(tmp_path: Path) -> None:
    x, labels = clouds(100, 4, 8, seed=0, spread=2.0)
    head = Classifier(reject=0.1, capacity=12).learn(x[:60], labels[:60])
    head.save(tmp_path / "head.npz")
    loaded = Classifier.load(tmp_path / "head.npz")
    for each in (head, loaded):
        one_by_one(each, x[60:], labels[60:])
    assert np.array_equal(loaded.predict_proba(x), head.predict_proba(x))
    assert loaded.threshold == head.threshold


def test_a_new_label_is_known_at_once() -> None:
    x, labels = clouds(40, 3, 8, seed=0, spread=0.3)
    early = [row for row, label in enumerate(labels) if label != "c002"]
    head = Classifier().learn(x[early], [labels[row] for row in early])
    assert head.predict_one(x[2]) != "c002"
    assert head.learn_one(x[2], "c002") is head
    assert head.labels == ("c000", "c001", "c002")
    assert head.predict(x[2::3]) == labels[2::3]
    assert head.predict_one(x[5]) == "c002"


def test_one_label_is_not_enough_to_answer(tmp_path: Path) -> None:
    head = Classifier().learn_one(np.ones(3), "on")
    assert (head.labels, head.emb_dim) == (("on",), 3)
    for ask in (head.predict, head.predict_proba, head.novelty):
        with pytest.raises(HeadError, match=r"\['on'\]; a classifier needs at least two"):
            ask(np.ones((1, 3)))
    with pytest.raises(HeadError, match="at least two"):
        head.save(tmp_path / "head.npz")
    assert head.learn_one(np.zeros(3), "off").predict_one(np.ones(3)) == "on"


@pytest.mark.parametrize(
    ("row", "label", "group", "message"),
    [
        (np.ones((1, 6)), "c000", None, "shape"),
        (np.ones(5), "c000", None, "5 values each, this head was taught with 6"),
        (np.full(6, np.nan), "c000", None, "NaN"),
        (np.ones(6), "unknown", None, "'unknown' is given as a label"),
        (np.ones(6), 3, None, r"3 is given as a label beside .*texts only, or whole numbers"),
        (np.ones(6), "c000", ["a"], "groups hold"),
    ],
)
def test_odd_examples_change_nothing(
    row: object, label: object, group: object, message: str
) -> None:
    x, labels = clouds(40, 4, 6, seed=0)
    head = Classifier().learn(x, labels)
    before = head.predict_proba(x)
    with pytest.raises(HeadError, match=message):
        head.learn_one(row, label, group)  # type: ignore[arg-type]
    assert head.labels == ("c000", "c001", "c002", "c003")
    assert np.array_equal(head.predict_proba(x), before)


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    sizes = []
    for n_rows in (300, 1200):
        x, labels = clouds(n_rows, 3, 8, seed=0)
        one_by_one(Classifier(capacity=50), x, labels).save(tmp_path / "head.npz")
        sizes.append((tmp_path / "head.npz").stat().st_size)
        with np.load(tmp_path / "head.npz", allow_pickle=False) as file:
            assert file["classifier/memory"].shape == (150, 8)
            assert file["classifier/counts"].tolist() == [n_rows // 3] * 3
    assert abs(sizes[0] - sizes[1]) < 1000


def test_an_example_is_learned_within_milliseconds() -> None:
    """Takes 13 ms of one core with its first answer: 10 labels of 20 clips each."""
    x, labels = clouds(250, 10, 64, seed=0)
    head = Classifier(reject=0.01).learn(x[:200], labels[:200])
    start = time.process_time()
    for row, label in zip(x[200:], labels[200:], strict=True):
        head.learn_one(row, label)
        head.predict_one(row)
    assert (time.process_time() - start) / 50 < 0.1


# ---- integer labels ----


@pytest.mark.parametrize(
    "labels",
    [[10, -3, 7], np.array([10, -3, 7]), np.array([10, -3, 7], np.int8), torch.tensor([10, -3, 7])],
)
def test_whole_numbers_come_back_as_given(labels: Sequence[int], tmp_path: Path) -> None:
    head = Classifier().learn(np.eye(3), labels).learn_one(-np.ones(3), labels[0])
    head.save(tmp_path / "head.npz")
    for each in (head, Classifier.load(tmp_path / "head.npz")):
        assert each.labels == (-3, 7, 10)
        assert each.predict(np.eye(3)) == [10, -3, 7]
        assert all(type(label) is int for label in each.predict(np.eye(3)))
        assert each.predict_one(-np.ones(3)) == 10


def test_whole_numbers_too_are_unknown_where_all_are_too_far() -> None:
    x, labels = clouds(200, 4, 16, seed=0, spread=0.5)
    head = Classifier(reject=0.01).learn(x, [int(label[1:]) for label in labels])
    assert head.predict(x[:4]) == [0, 1, 2, 3]
    assert set(head.predict(x + 20)) == {"unknown"}


# ---- the public door ----


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a", "a"], r"\['a'\]; a classifier needs at least two"),
        (["a", "unknown", "b"], "'unknown' is given as a label"),
        (["a", "", "b"], "'' is given"),
        (["a", "b\0", "b"], "NUL"),
        (["a", 3, "b"], "texts and whole numbers; allowed are the ones or the others"),
        ([0, True, 2], "True is given as a label"),
        ([0, 1.5, 2], "1.5 is given as a label"),
        ([0, 2**63, 2], "9223372036854775808 is given as a label"),
        (["a", None, "b"], "None is given as a label"),
        (["a", "b"], "2 values; allowed is a sequence of 3"),
        ("abc", "'abc'; allowed is a sequence of 3"),
        (iter("abc"), "allowed is a sequence of 3"),
    ],
)
def test_odd_labels_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(HeadError, match=message):
        Classifier().learn(np.eye(3), labels)


@pytest.mark.parametrize("groups", [["a", "b"], "abc", [["x"], ["y"], ["z"]], 5])
def test_odd_groups_are_refused(groups: object) -> None:
    with pytest.raises(HeadError, match="groups"):
        Classifier().learn(np.eye(3), ["a", "b", "c"], groups)  # type: ignore[arg-type]


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(HeadError, match="at least two"):
        Classifier().learn(np.empty((0, 4)), [])


@pytest.mark.parametrize(
    "options",
    [{"reject": -0.1}, {"reject": 0.6}, {"reject": "a"}, {"capacity": 1}, {"capacity": 2.5}],
)
def test_odd_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(HeadError, match="allowed"):
        Classifier(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [["Säge", "鋸"], ["a/b", "a b "], ["x" * 500, "y"]])
def test_any_text_is_a_label_and_survives_the_file(labels: list[str], tmp_path: Path) -> None:
    Classifier().learn(np.eye(2), labels).save(tmp_path / "head.npz")
    assert sorted(Classifier.load(tmp_path / "head.npz").predict(np.eye(2))) == sorted(labels)


def test_options_survive_the_file(tmp_path: Path) -> None:
    x, labels = clouds(80, 4, 6, seed=0, spread=2.0)
    head = Classifier(reject=0.1, capacity=30, seed=9).learn(x, labels)
    head.save(tmp_path / "head.npz")
    loaded = Classifier.load(tmp_path / "head.npz")
    assert loaded.threshold == head.threshold < np.inf
    assert loaded.predict(2 * x) == head.predict(2 * x)
    assert np.array_equal(
        loaded.learn(x[:60], labels[:60]).predict_proba(x),
        head.learn(x[:60], labels[:60]).predict_proba(x),
    )


# ---- speed ----


@pytest.mark.parametrize("emb_dim", [64, 256, 1024])
def test_200_clips_in_10_classes_are_learned_within_a_second(emb_dim: int) -> None:
    """Takes 0.01 to 0.2 s; processor time, and the best of three, as other work may be going on."""
    x, labels = clouds(200, 10, emb_dim, seed=0)
    times = []
    for _ in range(3):
        start = time.process_time()
        Classifier(reject=0.01).learn(x, labels)
        times.append(time.process_time() - start)
    assert min(times) < 1.0


# ---- real embeddings ----


@pytest.fixture(scope="module")
def listen(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return 200 one-second clips of ten states of a machine, 64-d, in the order of time."""
    with np.load(shared / "golden" / "listen_upstream_train.npz", allow_pickle=False) as data:
        return data["embedding"], np.array([str(path).split("/")[1] for path in data["path"]])


def test_machine_states_by_real_embeddings(listen: tuple[np.ndarray, np.ndarray]) -> None:
    """Five folds, each a stretch of time of every state.

    Measured: 0.990 right and a log loss of 0.060.
    """
    x, labels = listen
    fold = np.arange(200) % 20 // 4  # 20 clips a state, one after the other
    share = np.empty((200, 10))
    for number in range(5):
        head = Classifier().learn(x[fold != number], labels[fold != number])
        share[fold == number] = head.predict_proba(x[fold == number])
    names = np.unique(labels)
    assert accuracy_score(labels, names[share.argmax(axis=1)]) >= 0.98
    assert log_loss(labels, share) < 0.1


def test_machine_states_from_one_clip_each(listen: tuple[np.ndarray, np.ndarray]) -> None:
    """Every clip once among the ten taught. Measured, on average: 0.980 right."""
    x, labels = listen
    found = []
    for first in range(20):
        taught = np.arange(200) % 20 == first
        head = Classifier().learn(x[taught], labels[taught])
        found.append(accuracy(head, x[~taught], labels[~taught]))
    assert np.mean(found) >= 0.96


def test_a_machine_state_never_taught_is_unknown(listen: tuple[np.ndarray, np.ndarray]) -> None:
    """Measured: of a state not taught all clips are unknown, of the taught ones none, at 5 %."""
    x, labels = listen
    late = np.arange(200) % 20 >= 10
    caught, rejected = [], []
    for hidden in np.unique(labels):
        taught = ~late & (labels != hidden)
        head = Classifier(reject=0.05).learn(x[taught], labels[taught])
        caught.append(head.predict(x[late & (labels == hidden)]).count("unknown") / 10)
        rejected.append(head.predict(x[late & (labels != hidden)]).count("unknown") / 90)
    assert np.mean(caught) > 0.95
    assert np.mean(rejected) < 0.1
