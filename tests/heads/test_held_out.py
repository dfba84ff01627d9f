"""Who is held out, and what held-out scores say of others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listen_embed.heads._held_out import MAX_SCORES, ScoreTable, deal, deal_blocks, thinned


@st.composite
def dealt(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_rows = draw(st.integers(2, 40))
    codes = np.array(draw(st.lists(st.integers(0, 3), min_size=n_rows, max_size=n_rows)))
    groups = np.array(draw(st.lists(st.integers(0, 9), min_size=n_rows, max_size=n_rows)))
    codes, groups = (np.unique(values, return_inverse=True)[1] for values in (codes, groups))
    return codes, groups, deal(codes, groups, draw(st.integers(2, 6)), draw(st.integers(0, 99)))


@given(dealt())
def test_groups_stay_together_and_classes_stay_taught(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    codes, groups, fold = case
    for group in np.unique(groups):
        assert len(set(fold[groups == group])) == 1
    for number in set(fold[fold >= 0]):
        assert set(codes[fold != number]) == set(codes)


def test_folds_have_their_share_of_each_class() -> None:
    codes = np.repeat(np.arange(4), 10)
    fold = deal(codes, np.arange(40), 5, seed=3)
    for code in range(4):
        assert np.bincount(fold[codes == code]).tolist() == [2] * 5


def test_the_only_group_of_a_class_is_never_held_out() -> None:
    codes, groups = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 2])
    fold = deal(codes, groups, 3, seed=0)
    assert fold[:2].tolist() == [-1, -1]
    assert fold[2] != fold[3] and fold.max() >= 0


def test_the_seed_deals() -> None:
    codes, groups = np.zeros(40, int), np.arange(40)
    assert np.array_equal(deal(codes, groups, 5, 1), deal(codes, groups, 5, 1))
    assert not np.array_equal(deal(codes, groups, 5, 1), deal(codes, groups, 5, 2))


@pytest.mark.parametrize("n_rows", [5, 20, 21, 999, 4000])
def test_blocks_are_neighbours_and_of_like_size(n_rows: int) -> None:
    fold = deal_blocks(n_rows, 5)
    assert len(np.flatnonzero(np.diff(fold))) <= 19
    assert np.ptp(np.bincount(fold, minlength=5)) <= 4


def test_thinning_keeps_order_and_ends() -> None:
    many = np.arange(12345.0)
    few = thinned(many)
    assert len(few) == MAX_SCORES and (np.diff(few) > 0).all()
    assert (few[0], few[-1]) == (0, 12344)
    assert thinned(many[:7]) is not None and len(thinned(many[:7])) == 7


scores = st.lists(st.floats(0, 1e6), min_size=2, max_size=60).map(np.array)


@given(scores)
def test_shares_rise_with_the_score_and_stay_within_0_and_1(held_out: np.ndarray) -> None:
    table = ScoreTable.fit(held_out)
    share = table.share_below(np.linspace(0, 2 * held_out.max() + 1, 500))
    assert (np.diff(share) >= 0).all()
    assert share.min() >= 0 and share.max() <= 1


@given(scores, st.floats(0, 0.9999))
def test_score_at_turns_share_below_around(held_out: np.ndarray, share: float) -> None:
    table = ScoreTable.fit(np.sort(held_out) + 1 + np.arange(len(held_out)))  # no ties
    back = float(table.share_below(np.array([table.score_at(share)]))[0])
    assert back == pytest.approx(share, abs=1e-6)


def test_beyond_all_data_shares_still_differ(rng: np.random.Generator) -> None:
    held_out = rng.gamma(9.0, size=200)
    share = ScoreTable.fit(held_out).share_below(held_out.max() + np.array([0.0, 2.0, 4.0, 8.0]))
    assert (np.diff(share) > 0).all() and share[0] > 0.98 and share[-1] < 1.0


@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("law", ["normal", "gamma", "exponential", "lognormal"])
def test_the_stated_share_is_the_true_one(law: str, wanted: float) -> None:
    """From 1000 held-out scores: right in the median, four in five within a factor of 5."""
    rng = np.random.default_rng(4)
    draw = {
        "normal": lambda size: rng.normal(10, 1, size),
        "gamma": lambda size: rng.gamma(9.0, size=size),
        "exponential": lambda size: rng.exponential(size=size),
        "lognormal": lambda size: rng.lognormal(0, 0.5, size),
    }[law]
    fresh = np.sort(draw(400_000))
    tables = [ScoreTable.fit(draw(1000)) for _ in range(100)]
    found = [1 - np.searchsorted(fresh, table.score_at(wanted)) / len(fresh) for table in tables]
    assert np.median(found) == pytest.approx(1 - wanted, rel=0.25)
    assert np.quantile(found, 0.9) < 5 * (1 - wanted)
    assert np.quantile(found, 0.1) > (1 - wanted) / 5


@pytest.mark.parametrize("held_out", [[0.0, 0.0], [3.0] * 40, [0.0] * 30 + [1.0]])
def test_ties_are_no_trouble(held_out: list[float]) -> None:
    share = ScoreTable.fit(np.array(held_out)).share_below(np.array([0.0, 3.0, 1e9]))
    assert np.isfinite(share).all() and share[-1] > 0.95
