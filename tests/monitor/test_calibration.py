"""Where an alarm begins: exact on what is known, cautious with what is not."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed.monitor.calibration import Tail, furthest


def test_the_furthest_is_the_highest_threshold_that_would_alarm() -> None:
    scores = np.array([0.0, 5, 5, 0, 5, 5, 0, 0, 9, 0])
    assert furthest(scores, window=5, votes=4) == 5.0
    assert furthest(scores, window=5, votes=5) == 0.0
    assert furthest(scores, window=1, votes=1) == 9.0
    assert furthest(np.array([3.0]), window=19, votes=12) == 3.0


def test_it_equals_the_debouncer() -> None:
    from listen_embed.monitor.debounce import Debouncer, DebounceRules

    rng = np.random.default_rng(3)
    for window in (1, 2, 5, 19):
        scores = rng.exponential(size=60)
        edge = furthest(scores, window, DebounceRules(window, 1.0).votes)
        for threshold, alarms in ((edge * (1 - 1e-9), True), (edge * (1 + 1e-9), False)):
            decided = Debouncer(DebounceRules(window, threshold, release=0.0))
            rung = any(decided.take_score(n, s) is not None for n, s in enumerate(scores))
            assert rung is alarms


@pytest.mark.parametrize("n", [20, 60, 200])
def test_the_promise_is_kept_where_the_tail_is_exponential(n: int) -> None:
    """Over many machines, the mean rate of alarms at the limit is what was promised, or less."""
    rng = np.random.default_rng(n)
    hours, rates = n * 10 / 3600, []
    for _ in range(2000):
        tail = Tail.fit(rng.exponential(size=n), hours)
        rates.append(n / hours * np.exp(-tail.distance(0.1)))
    assert 0.03 < np.mean(rates) < 0.15


def test_few_recordings_give_a_further_limit_and_a_wider_interval() -> None:
    few, many = (Tail(1.0, 1.0, n, n // 2, n * 10 / 3600) for n in (8, 400))
    assert few.distance() > many.distance()
    assert few.at_most_per_hour(10.0) > many.at_most_per_hour(10.0) > many.per_hour(10.0) * 0.5


def test_rate_and_distance_are_inverse() -> None:
    tail = Tail(2.0, 0.5, 40, 20, 0.1)
    for rate in (0.01, 0.1, 1.0, 100.0):
        assert tail.per_hour(tail.distance(rate)) == pytest.approx(rate)
    assert tail.per_hour(1.0) == 400
    assert tail.proven_per_hour == 30


def test_recordings_that_are_all_alike_have_a_limit() -> None:
    assert Tail.fit([1.0] * 10, 0.1).distance() > 1.0
