"""Choosing crops: equal to brute force on small cases, and at scale still what was asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from scipy.stats import rankdata

from listen_embed.errors import InputError
from listen_embed.training import sampling
from listen_embed.training.corpus import Corpus

MODES = ("random", "relevance", "diversity", "both")
Chances = dict[tuple[int, ...], float]


def corpus_of(loudness_db: Any) -> Corpus:
    """Return a corpus of one-second crops of which only the loudness matters."""
    n = len(loudness_db)
    return Corpus(
        samples=np.zeros(n, np.int16),
        sr=1,
        starts=np.arange(n),
        loudness_db=np.asarray(loudness_db, np.float32),
        recording=np.zeros(n, np.int64),
        bounds=np.array([0, n]),
        of_file=np.array([0]),
    )


def measured(draw: Callable[[int], Any], n_draws: int = 3000) -> Chances:
    """Return how often each set is drawn, by seeds from 0 on."""
    counts = Counter(tuple(int(i) for i in draw(seed)) for seed in range(n_draws))
    return {chosen: count / n_draws for chosen, count in counts.items()}


def distance(first: Chances, second: Chances) -> float:
    """Return the total variation distance of two distributions."""
    keys = first.keys() | second.keys()
    return sum(abs(first.get(key, 0) - second.get(key, 0)) for key in keys) / 2


def k_dpp(kernel: Any, k: int) -> Chances:
    """Return every set of k items with its chance, by its determinant."""
    sets = list(itertools.combinations(range(len(kernel)), k))
    weights = [np.linalg.det(kernel[np.ix_(chosen, chosen)]) for chosen in sets]
    return {chosen: w / sum(weights) for chosen, w in zip(sets, weights, strict=True)}


def uniform(n: int, k: int) -> Chances:
    sets = list(itertools.combinations(range(n), k))
    return dict.fromkeys(sets, 1 / len(sets))


def test_elementary_symmetric_polynomials(rng: Any) -> None:
    values = rng.uniform(0.01, 5, 7)
    table = np.exp(sampling.log_elementary(values, 5))
    assert table.shape == (8, 6)
    for m, j in itertools.product(range(8), range(6)):
        expected = sum(np.prod(chosen) for chosen in itertools.combinations(values[:m], j))
        assert table[m, j] == pytest.approx(expected, rel=1e-12)


def test_polynomials_far_beyond_a_float() -> None:
    # all values 0.1: the sum over sets of 1000 of 2000 is their number times 0.1 ** 1000
    table = sampling.log_elementary(np.full(2000, 0.1), 1000)
    steps = np.arange(1, 1001)
    expected = np.sum(np.log((1000 + steps) / steps)) + 1000 * np.log(0.1)
    assert table[-1, -1] == pytest.approx(expected, rel=1e-10)
    assert expected < np.log(np.finfo(float).tiny)


@pytest.mark.parametrize("width", [2, 9])  # fewer and more dimensions than items
@pytest.mark.parametrize("k", [1, 3, 5])
def test_k_dpp_equals_enumeration(rng: Any, width: int, k: int) -> None:
    features = rng.standard_normal((6, width)) * [[0.2], [0.5], [1], [1], [2], [0.1]]
    expected = k_dpp(features @ features.T + 0.1 * np.eye(6), k)
    assert distance(expected, uniform(6, k)) > 0.15
    found = measured(lambda s: sampling.sample_k_dpp(features, k, np.random.default_rng(s)))
    assert distance(found, expected) < 0.06


def test_k_dpp_of_everything_and_of_nothing_to_tell_apart() -> None:
    rng = np.random.default_rng(0)
    assert sampling.sample_k_dpp(np.zeros((5, 3)), 5, rng).tolist() == [0, 1, 2, 3, 4]
    found = measured(lambda s: sampling.sample_k_dpp(np.zeros((4, 3)), 2, np.random.default_rng(s)))
    assert distance(found, uniform(4, 2)) < 0.05


# Items 0 to 2 point one way, 3 and 4 another, whatever their length; 5 stands alone.
DIRECTIONS = np.array([[1, 0, 0], [100, 0, 0], [2, 0, 0], [0, -3, 0], [0, -1, 0], [0, 0, 5.0]])
LOUDNESS = [-50.0, -20, -30, -30, -60, -10]
RELEVANCE = np.array([2, 5, 3, 3, 1, 6]) / 6


@pytest.mark.parametrize(("mode", "weights"), [("diversity", np.ones(6)), ("both", RELEVANCE)])
def test_diverse_choices_have_the_papers_kernel(mode: Any, weights: Any) -> None:
    features = weights[:, None] * np.sign(DIRECTIONS)  # L1-normalised: length has no say
    expected = k_dpp(features @ features.T + 0.1 * np.eye(6), 3)
    assert distance(expected, uniform(6, 3)) > 0.25
    corpus = corpus_of(LOUDNESS)
    found = measured(
        lambda s: sampling.choose(corpus, 3, mode, embeddings=DIRECTIONS.astype("f4"), seed=s)
    )
    assert distance(found, expected) < 0.06


@pytest.mark.parametrize("neighbourhood", [1, 7, 40, 100, 1000])
def test_relevance_is_the_rank_in_its_block(rng: Any, neighbourhood: int) -> None:
    loudness = np.round(rng.normal(-30, 3, 100)).astype(np.float32)  # with many equals
    expected = np.concatenate(
        [
            rankdata(loudness[i : i + neighbourhood], method="min")
            / len(loudness[i : i + neighbourhood])
            for i in range(0, 100, neighbourhood)
        ]
    )
    np.testing.assert_array_equal(sampling.relevance(loudness, neighbourhood), expected)


def test_relevant_choices_are_drawn_without_replacement() -> None:
    loudness = [-50, -40, -40, -20, -10]
    p = np.array([1, 2, 2, 4, 5]) / 14
    expected = {
        (i, j): p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
        for i, j in itertools.combinations(range(5), 2)
    }
    corpus = corpus_of(loudness)
    found = measured(lambda s: sampling.choose(corpus, 2, "relevance", seed=s))
    assert distance(found, expected) < 0.05


def test_relevance_looks_at_the_neighbourhood_only() -> None:
    quiet, loud = [-60.0, -60.0, -60.0, -50.0], [-20.0, -20.0, -20.0, -10.0]
    corpus = corpus_of(quiet + loud)
    counts = np.zeros(8)
    for seed in range(1000):
        counts[sampling.choose(corpus, 1, "relevance", seed=seed, neighbourhood=4)] += 1
    assert counts[3] / counts[7] == pytest.approx(1, abs=0.25)
    assert min(counts[3], counts[7]) > 2.5 * max(counts[:3].max(), counts[4:7].max())


def test_random_choices_are_uniform() -> None:
    corpus = corpus_of(LOUDNESS)
    found = measured(lambda s: sampling.choose(corpus, 2, seed=s))
    assert distance(found, uniform(6, 2)) < 0.05


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [3, 20, 57, 60])
def test_choices_are_sorted_unique_and_repeatable(rng: Any, mode: Any, n: int) -> None:
    corpus = corpus_of(rng.normal(-30, 5, 60))
    embeddings = rng.standard_normal((60, 4)).astype(np.float32)
    embeddings[7] = 0  # silence, to some networks
    first, again, other = (
        sampling.choose(corpus, n, mode, embeddings=embeddings, seed=s) for s in (1, 1, 2)
    )
    assert first.dtype == np.int64
    assert first.shape == (n,)
    assert np.all(np.diff(first) > 0)
    assert first[0] >= 0
    assert first[-1] < 60
    np.testing.assert_array_equal(first, again)
    assert n == 60 or first.tolist() != other.tolist()


@pytest.mark.parametrize("mode", ["diversity", "both"])
@pytest.mark.parametrize("n", [1, 5, 33, 94])
def test_many_candidates_go_by_blocks(rng: Any, tmp_path: Path, mode: Any, n: int) -> None:
    np.save(tmp_path / "embeddings.npy", rng.standard_normal((95, 5)).astype(np.float32))
    embeddings = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    corpus = corpus_of(rng.normal(-30, 5, 95))
    chosen = sampling.choose(corpus, n, mode, embeddings=embeddings, block=10)
    assert len(np.unique(chosen)) == len(chosen) == n


def test_blocks_prefer_what_is_rare() -> None:
    embeddings = np.zeros((90, 11), np.float32)
    rare = np.arange(4, 90, 9)
    embeddings[:, 0] = 1
    embeddings[rare] = np.eye(11)[1:]
    corpus = corpus_of(np.zeros(90))
    shares = [
        np.isin(
            sampling.choose(corpus, 15, "diversity", embeddings=embeddings, seed=s, block=30), rare
        ).mean()
        for s in range(40)
    ]
    assert np.mean(shares) > 0.3  # at random: 0.11


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 7}, "n is 7; from 6 crops"),
        ({"n": 0}, "n is 0"),
        ({"mode": "best"}, "'best'; allowed are random, relevance, diversity, both"),
        ({"mode": "diversity"}, "give one of each crop as `embeddings`"),
        ({"mode": "both", "embeddings": np.ones((5, 3))}, r"\(5, 3\); for 6 crops"),
        ({"mode": "both", "embeddings": np.ones(6)}, r"\(6,\)"),
        ({"mode": "diversity", "embeddings": np.ones((6, 0))}, r"\(6, 0\)"),
        ({"mode": "diversity", "embeddings": np.full((6, 2), np.nan)}, "NaN"),
        ({"neighbourhood": 0.2}, "neighbourhood is 0.2"),
        ({"neighbourhood": float("nan")}, "neighbourhood is nan"),
        ({"block": 0}, "block is 0"),
    ],
)
def test_what_cannot_be_chosen(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sampling.choose(corpus_of(LOUDNESS), **{"n": 3, **arguments})
