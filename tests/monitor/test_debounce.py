"""Debouncing and hysteresis, frame by frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listen_embed.monitor.debounce import Debouncer, DebounceRules

FIVE = DebounceRules(window=5, threshold=1.0)  # four of five must agree


def states(labels: str, rules: DebounceRules = FIVE) -> list[tuple[int, str, int]]:
    decided, found = Debouncer(rules), []
    for hop, label in enumerate(labels):
        since = decided.take_label(hop, label)
        if since is not None:
            found.append((hop, str(decided.state), since))
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
    assert states("ab" * 100, DebounceRules(window, 1.0)) == []


def test_a_window_of_one_follows_every_frame() -> None:
    assert states("aba", DebounceRules(1, 1.0)) == [(0, "a", 0), (1, "b", 1), (2, "a", 2)]


def alarms(scores: list[float], rules: DebounceRules = FIVE) -> list[tuple[int, bool]]:
    decided, found = Debouncer(rules), []
    for hop, score in enumerate(scores):
        if decided.take_score(hop, score) is not None:
            found.append((hop, decided.anomaly))
    return found


def test_an_alarm_begins_above_and_ends_below_the_released_threshold() -> None:
    assert alarms([0.0] * 5 + [2.0] * 5 + [0.9] * 5 + [0.5] * 5) == [(8, True), (18, False)]


def test_scores_between_the_thresholds_keep_what_is() -> None:
    assert alarms([0.9] * 20) == []
    assert alarms([1.0] * 4 + [0.85] * 100) == [(3, True)]


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 9), st.integers(0, 59))
def test_memory_survives_json_at_any_moment(labels: list[str], window: int, cut: int) -> None:
    rules = DebounceRules(window, 0.5)
    rng = np.random.default_rng(window)
    scores = rng.random(len(labels))
    whole, torn = Debouncer(rules), Debouncer(rules)
    for hop, (label, score) in enumerate(zip(labels, scores, strict=True)):
        if hop == cut:
            torn = Debouncer(rules, json.loads(json.dumps(torn.memory())))
        assert whole.take_label(hop, label) == torn.take_label(hop, label)
        assert whole.take_score(hop, score) == torn.take_score(hop, score)
    assert whole.memory() == torn.memory()


@pytest.mark.parametrize(("window", "votes"), [(1, 1), (2, 2), (3, 3), (5, 4), (10, 6), (20, 12)])
def test_votes_are_three_fifths_and_more_than_half(window: int, votes: int) -> None:
    assert DebounceRules(window, 1.0).votes == votes


def test_frames_across_a_change_cannot_win_a_vote() -> None:
    for frame_s, hop_s in ((1.0, 0.1), (0.96, 0.1), (0.5, 0.1), (1.0, 0.25)):
        rules = DebounceRules.over(frame_s, frame_s, hop_s, 1.0)
        assert rules.votes > frame_s / hop_s - 1
    assert DebounceRules.over(1.0, 1.0, 1.0, 1.0).window == 1
