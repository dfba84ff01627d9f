"""Anomaly heads: against scikit-learn, online against at once, start-up, probabilities."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly

from .world import clouds, normal_sound

BOTH = pytest.mark.parametrize("kind", ["mahalanobis", "knn"])


def one_by_one(head: Anomaly, x: np.ndarray) -> Anomaly:
    for row in x:
        head.learn_one(row)
    return head


# ---- what a score is ----


@pytest.mark.parametrize(("n_rows", "emb_dim"), [(40, 100), (200, 16), (1500, 64)])
def test_mahalanobis_is_that_of_scikit_learn(n_rows: int, emb_dim: int) -> None:
    x = normal_sound(n_rows, emb_dim).astype(np.float64)
    new = 2 * normal_sound(100, emb_dim, seed=2) - 4
    expected = np.sqrt(LedoitWolf().fit(x).mahalanobis(new))
    np.testing.assert_allclose(Anomaly(kind="mahalanobis").learn(x).score(new), expected, rtol=1e-5)


@pytest.mark.parametrize("n_neighbors", [1, 5, 20])
@pytest.mark.parametrize("n_rows", [20, 300])
def test_knn_is_that_of_scikit_learn(n_neighbors: int, n_rows: int) -> None:
    x, new = normal_sound(n_rows, 16), normal_sound(500, 16, seed=2)
    reference = NearestNeighbors(n_neighbors=n_neighbors).fit(x.astype(np.float64))
    expected = reference.kneighbors(new.astype(np.float64))[0].mean(axis=1)
    head = Anomaly(kind="knn", n_neighbors=n_neighbors).learn(x)
    np.testing.assert_allclose(head.score(new), expected, rtol=1e-9)


def test_knn_is_0_where_the_memory_holds_the_same_sound() -> None:
    x = normal_sound()
    assert Anomaly(kind="knn", n_neighbors=1).learn(x).score(x).max() == 0.0


@BOTH
def test_high_is_anomalous(kind: str) -> None:
    x = normal_sound(300, 16)
    head = Anomaly(kind=kind).learn(x)
    away = head.score(x.mean(axis=0) + np.linspace(0, 100, 20)[1:, None] * np.ones(16))
    assert (np.diff(away) > 0).all()
    assert away[-1] > head.score(x).max()
    assert head.score(x).min() >= 0


@BOTH
def test_scores_are_float64_and_numbers(kind: str) -> None:
    x = normal_sound()
    head = Anomaly(kind=kind).learn(x)
    assert head.score(x).dtype == head.probability(x).dtype == np.float64
    assert type(head.score_one(x[0])) is float
    assert head.score_one(x[0]) == pytest.approx(head.score(x[:1])[0], rel=1e-12)


def test_several_states_are_one_cloud_for_mahalanobis_but_not_for_knn() -> None:
    x, _ = clouds(400, 2, 8, seed=0, spread=0.1)
    between = x[::2].mean(axis=0) / 2 + x[1::2].mean(axis=0) / 2
    found = {kind: Anomaly(kind=kind).learn(x).probability(between[None])[0]
             for kind in ("mahalanobis", "knn")}  # fmt: skip
    assert found["knn"] > 0.999 > found["mahalanobis"]


# ---- online ----


@pytest.mark.parametrize("n_first", [0, 20, 137])
@pytest.mark.parametrize("emb_dim", [3, 80])
def test_mahalanobis_learns_one_by_one_what_it_learns_at_once(n_first: int, emb_dim: int) -> None:
    x = 100 + normal_sound(200, emb_dim)
    at_once = Anomaly(kind="mahalanobis").learn(x)
    head = Anomaly(kind="mahalanobis")
    online = one_by_one(head.learn(x[:n_first]) if n_first else head, x[n_first:])
    assert online.count == at_once.count == 200
    new = 100 + normal_sound(50, emb_dim, seed=2)
    np.testing.assert_allclose(online.score(new), at_once.score(new), rtol=1e-6)


@pytest.mark.parametrize("capacity", [20, 50, 1000])
@pytest.mark.parametrize("n_first", [0, 20, 137])
def test_knn_learns_one_by_one_what_it_learns_at_once(n_first: int, capacity: int) -> None:
    x, new = normal_sound(200), normal_sound(50, seed=2)
    at_once = Anomaly(kind="knn", capacity=capacity, seed=3).learn(x)
    head = Anomaly(kind="knn", capacity=capacity, seed=3)
    online = one_by_one(head.learn(x[:n_first]) if n_first else head, x[n_first:])
    assert np.array_equal(online.score(new), at_once.score(new))


@BOTH
def test_learning_goes_on_after_loading(kind: str, tmp_path: Path) -> None:
    x, new = normal_sound(120), normal_sound(50, seed=2)
    head = Anomaly(kind=kind, capacity=40, n_neighbors=3, min_count=25, seed=8).learn(x[:60])
    head.save(tmp_path / "head.npz")
    loaded = Anomaly.load(tmp_path / "head.npz")
    for each in (head, loaded):
        one_by_one(each, x[60:])
    assert loaded.count == 120
    assert np.array_equal(loaded.score(new), head.score(new))
    assert np.array_equal(loaded.probability(new), head.probability(new))


@BOTH
def test_scoring_changes_nothing(kind: str) -> None:
    x, new = normal_sound(100), normal_sound(50, seed=2)
    silent, asked = Anomaly(kind=kind), Anomaly(kind=kind)
    for row in x:
        silent.learn_one(row)
        asked.score_one(row), asked.learn_one(row), asked.score(x[:3]), asked.probability(x[:3])
    assert np.array_equal(silent.score(new), asked.score(new))
    assert np.array_equal(silent.probability(new), asked.probability(new))


@BOTH
def test_what_is_learned_online_becomes_normal(kind: str) -> None:
    x = normal_sound(200)
    head = Anomaly(kind=kind).learn(x)
    new = normal_sound(200, seed=2) + 6
    before = head.probability(new[:50]).mean()
    one_by_one(head, new)
    assert before > 0.99 > head.probability(new[:50]).mean()


def test_the_memory_is_bounded_and_gives_every_embedding_the_same_chance(tmp_path: Path) -> None:
    kept = np.zeros(200)
    for seed in range(150):
        head = Anomaly(kind="knn", capacity=20, seed=seed).learn(np.arange(200.0)[:, None])
        head.save(tmp_path / "head.npz")
        with np.load(tmp_path / "head.npz", allow_pickle=False) as file:
            memory = file["anomaly/memory"][:, 0].astype(int)
        assert len(set(memory)) == 20
        kept[memory] += 1
    # 15 expected for each of ten stretches times 20, deviation below sqrt(300)
    assert np.abs(kept.reshape(10, 20).sum(axis=1) - 300).max() < 4 * np.sqrt(300)


def test_the_file_does_not_grow_with_time(tmp_path: Path) -> None:
    sizes = []
    for n_rows in (1500, 6000):
        head = Anomaly(kind="knn", capacity=100).learn(normal_sound(n_rows))
        one_by_one(head, normal_sound(1500, seed=2))
        head.save(tmp_path / "head.npz")
        sizes.append((tmp_path / "head.npz").stat().st_size)
    assert max(sizes) < 100 * 6 * 4 + 1000 * 8 + 4000  # memory, held-out scores, the rest


# ---- start-up ----


@BOTH
def test_scores_are_0_in_the_grace_period(kind: str) -> None:
    x = normal_sound(60)
    head = Anomaly(kind=kind, min_count=12)
    scores = []
    for row in x:
        scores.append(head.score_one(row + 50))
        head.learn_one(row)
    assert scores[:12] == [0.0] * 12
    assert min(scores[12:]) > 0


@BOTH
def test_probabilities_come_after_as_many_held_out_scores(kind: str) -> None:
    x = normal_sound(60)
    head = Anomaly(kind=kind, min_count=12)
    found = []
    for row in x:
        head.learn_one(row)
        found.append(head.probability(row[None] + 50)[0])
    assert found[:23] == [0.0] * 23
    assert min(found[23:]) > 0.9


@BOTH
def test_batch_methods_score_0_in_the_grace_period_too(kind: str) -> None:
    head = Anomaly(kind=kind).learn_one(np.ones(3))
    assert head.score(np.zeros((2, 3))).tolist() == head.probability(np.zeros((2, 3))).tolist()
    assert head.score(np.zeros((2, 3))).tolist() == [0.0, 0.0]
    with pytest.raises(HeadError, match="4 values each, this head was taught with 3"):
        head.score_one(np.zeros(4))


@BOTH
def test_too_few_for_learning_at_once_are_refused(kind: str) -> None:
    with pytest.raises(HeadError, match="19 embeddings are given; min_count=20 are needed"):
        Anomaly(kind=kind).learn(normal_sound(19))
    assert Anomaly(kind=kind).learn(normal_sound(20)).probability(normal_sound(1) + 50)[0] > 0.9


# ---- probabilities ----


@BOTH
@pytest.mark.parametrize(("n_rows", "emb_dim"), [(100, 8), (100, 64), (1500, 64)])
def test_probability_is_the_share_of_normal_data_that_scores_lower(
    kind: str, n_rows: int, emb_dim: int
) -> None:
    head = Anomaly(kind=kind).learn(normal_sound(n_rows, emb_dim))
    found = head.probability(normal_sound(5000, emb_dim, seed=2))
    for share in (0.25, 0.5, 0.75, 0.9):
        assert np.mean(found < share) == pytest.approx(share, abs=0.02 + 2 / np.sqrt(n_rows))
    assert np.mean(found > 0.99) < 0.01 + 0.4 / np.sqrt(n_rows)


@BOTH
def test_online_probabilities_are_as_good(kind: str) -> None:
    head = one_by_one(Anomaly(kind=kind), normal_sound(3000, 8))
    found = head.probability(normal_sound(5000, 8, seed=2))
    for share in (0.25, 0.5, 0.75, 0.9, 0.99):
        assert np.mean(found < share) == pytest.approx(share, abs=0.06)


@BOTH
def test_probability_rises_with_the_score_and_is_not_saturated_at_once(kind: str) -> None:
    x = normal_sound(300, 8)
    head = Anomaly(kind=kind).learn(x)
    path = x.mean(axis=0) + np.linspace(0, 40, 400)[:, None] * np.ones(8)
    score, share = head.score(path), head.probability(path)
    assert (np.diff(share[np.argsort(score)]) >= 0).all()
    assert share.min() >= 0 and share.max() <= 1
    top = score[np.searchsorted(score, head.score(x).max())]
    beyond = share[(score >= top) & (score < 1.5 * top)]
    assert (np.diff(beyond) > 0).all()


@BOTH
def test_neighbours_in_time_are_held_out_together(kind: str, rng: np.random.Generator) -> None:
    """Frames overlap: dealt one by one, copies of held-out ones would be among the learned."""
    clips = normal_sound(100, 32)
    frames = np.repeat(clips, 10, axis=0) + 0.01 * rng.normal(size=(1000, 32))
    new = normal_sound(1000, 32, seed=2)
    for groups in (None, np.repeat(np.arange(100), 10).tolist()):
        found = Anomaly(kind=kind).learn(frames, groups).probability(new)
        assert np.mean(found > 0.99) < 0.06
    shuffled = Anomaly(kind="knn").learn(frames[rng.permutation(1000)]).probability(new)
    assert np.mean(shuffled > 0.99) > 0.5  # what happens otherwise


@BOTH
def test_groups_are_held_out_whole(kind: str) -> None:
    x = np.vstack([normal_sound(40, seed=k) + 9 * k * np.eye(1, 6) for k in range(5)])
    recordings = np.repeat(["a", "b", "c", "d", "e"], 40)
    order = np.random.default_rng(0).permutation(200)
    grouped = Anomaly(kind=kind).learn(x[order], recordings[order].tolist())
    alone = Anomaly(kind=kind).learn(x[order])
    odd = x[:1] + 9 * 2.5 * np.eye(1, 6) + np.eye(1, 6, 1) * 3
    assert grouped.score(odd) == alone.score(odd)
    assert grouped.probability(odd) < alone.probability(odd)


@BOTH
def test_one_recording_cannot_be_held_out_of_itself(kind: str) -> None:
    with pytest.raises(HeadError, match="one recording only"):
        Anomaly(kind=kind).learn(normal_sound(30), ["a"] * 30)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["mahalanobis", "knn"]))
def test_probability_and_score_agree_on_the_order(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 4)) * rng.exponential(size=4)
    head = Anomaly(kind=kind, seed=seed).learn(x)
    new = 3 * rng.normal(size=(50, 4))
    order = np.argsort(head.score(new))
    assert (np.diff(head.probability(new)[order]) >= 0).all()


# ---- the public door ----


@pytest.mark.parametrize(
    "options",
    [
        {"min_count": 4},
        {"min_count": 2.5},
        {"n_neighbors": 0},
        {"n_neighbors": 21},
        {"capacity": 19},
        {"capacity": 10**9},
    ],
)
def test_odd_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(HeadError, match=f"{next(iter(options))} is .* allowed"):
        Anomaly(kind="knn", **options)  # type: ignore[arg-type]


def test_a_memory_beyond_any_file_is_refused() -> None:
    with pytest.raises(HeadError, match="capacity of 100000 embeddings of 1000 values"):
        Anomaly(kind="knn", capacity=100_000).learn_one(np.zeros(1000))


@BOTH
@pytest.mark.parametrize("bad", [np.zeros((1, 6)), 3.0, [], [np.nan] * 6, ["a"] * 6])
def test_odd_single_embeddings_are_refused(kind: str, bad: object) -> None:
    head = Anomaly(kind=kind).learn(normal_sound())
    for method in (head.learn_one, head.score_one):
        with pytest.raises(HeadError, match="allowed"):
            method(bad)
    assert head.count == 60


# ---- speed ----


@BOTH
def test_thousands_of_embeddings_are_learned_within_seconds(kind: str) -> None:
    """Takes 0.1 to 0.5 s of one core."""
    x = normal_sound(5000, 256)
    start = time.process_time()
    Anomaly(kind=kind).learn(x).probability(x[:1000])
    assert time.process_time() - start < 5.0


@BOTH
def test_online_learning_keeps_up_with_ten_embeddings_a_second(kind: str) -> None:
    """Takes 0.5 to 4 ms of one core for each."""
    x = normal_sound(1050, 256)
    head = Anomaly(kind=kind).learn(x[:1000])
    start = time.process_time()
    for row in x[1000:]:
        head.score_one(row)
        head.learn_one(row)
    assert (time.process_time() - start) / 50 < 0.1


# ---- real embeddings ----


@BOTH
def test_other_states_of_a_machine_are_anomalous(kind: str, shared: Path) -> None:
    """Half of one state's clips are normal; all were told from other states when measured."""
    with np.load(shared / "golden" / "listen_upstream_train.npz", allow_pickle=False) as data:
        x = data["embedding"]
    state, early = np.arange(200) // 20, np.arange(200) % 20 < 12
    found, calm = [], []
    for number in range(10):
        head = Anomaly(kind=kind, min_count=12).learn(x[early & (state == number)])
        rest = ~(early & (state == number))
        found.append(roc_auc_score(state[rest] != number, head.score(x[rest])))
        calm.append(np.mean(head.probability(x[~early & (state == number)]) > 0.99))
    assert np.mean(found) > 0.99
    assert np.mean(calm) < 0.2
