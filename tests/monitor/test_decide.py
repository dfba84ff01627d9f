"""Debouncing and hysteresis, frame by frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listen_embed.monitor.decide import Decision, Settings

FIVE = Settings(window=5, threshold=1.0)  # four of five must agree


def states(labels: str, settings: Settings = FIVE) -> list[tuple[int, str, int]]:
    decision, found = Decision(), []
    for hop, label in enumerate(labels):
        since = decision.see(settings, hop, label)
        if since is not None:
            found.append((hop, str(decision.state), since))
    return found


def test_a_state_needs_its_votes() -> None:
    assert states("aaaaa") == [(3, "a", 0)]
    assert states("aaa") == []


def test_a_short_disturbance_changes_nothing() -> None:
    assert states("aaaaabbaaaaabaab") == [(3, "a", 0)]


def test_a_change_counts_from_its_first_frame_in_the_window() -> None:
    assert states("aaaaabbbb") == [(3, "a", 0), (8, "b", 5)]


@pytest.mark.parametrize("window", [2, 3, 4, 5, 7, 10, 11, 50])
def test_two_labels_by_turns_never_flap(window: int) -> None:
    assert states("ab" * 100, Settings(window, 1.0)) == []


def test_a_window_of_one_follows_every_frame() -> None:
    assert states("aba", Settings(1, 1.0)) == [(0, "a", 0), (1, "b", 1), (2, "a", 2)]


def alarms(scores: list[float], settings: Settings = FIVE) -> list[tuple[int, bool]]:
    decision, found = Decision(), []
    for hop, score in enumerate(scores):
        if decision.hear(settings, hop, score) is not None:
            found.append((hop, decision.anomaly))
    return found


def test_an_alarm_begins_above_and_ends_below_the_released_threshold() -> None:
    assert alarms([0.0] * 5 + [2.0] * 5 + [0.9] * 5 + [0.5] * 5) == [(8, True), (18, False)]


def test_scores_between_the_thresholds_keep_what_is() -> None:
    assert alarms([0.9] * 20) == []
    assert alarms([1.0] * 4 + [0.85] * 100) == [(3, True)]


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 9), st.integers(0, 59))
def test_memory_survives_json_at_any_moment(labels: list[str], window: int, cut: int) -> None:
    settings = Settings(window, 0.5)
    rng = np.random.default_rng(window)
    scores = rng.random(len(labels))
    whole, torn = Decision(), Decision()
    for hop, (label, score) in enumerate(zip(labels, scores, strict=True)):
        if hop == cut:
            torn = Decision.from_dict(json.loads(json.dumps(torn.to_dict())))
        assert whole.see(settings, hop, label) == torn.see(settings, hop, label)
        assert whole.hear(settings, hop, score) == torn.hear(settings, hop, score)
    assert whole == torn


@pytest.mark.parametrize(("window", "votes"), [(1, 1), (2, 2), (3, 3), (5, 4), (10, 6), (20, 12)])
def test_votes_are_three_fifths_and_more_than_half(window: int, votes: int) -> None:
    assert Settings(window, 1.0).votes == votes
