"""Scores against scikit-learn's, and on cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from listen_embed.classify import scores


@pytest.fixture
def answers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    targets = (rng.random((200, 5)) < [0.5, 0.2, 0.1, 0.05, 0.3]).astype(np.float32)
    targets[0] = 1
    found = np.round(0.5 * rng.random((200, 5)) + 0.3 * targets, 2).astype(np.float32)
    return targets, found  # rounded, so that some scores are equal


def test_average_precision_is_scikit_learns(answers: tuple[np.ndarray, np.ndarray]) -> None:
    targets, found = answers
    wanted = average_precision_score(targets, found, average=None)
    np.testing.assert_allclose(scores.per_class(targets, found), wanted, atol=1e-9)
    assert scores.mean_average_precision(targets, found) == pytest.approx(wanted.mean())


def test_a_class_that_is_not_there_has_no_precision() -> None:
    targets = np.array([[1, 0], [0, 0]], np.float32)
    found = np.array([[0.9, 0.1], [0.2, 0.3]], np.float32)
    assert np.isnan(scores.per_class(targets, found)[1])
    assert scores.mean_average_precision(targets, found) == 1.0


def test_thresholds_are_where_f1_is_highest(answers: tuple[np.ndarray, np.ndarray]) -> None:
    targets, found = answers
    chosen = scores.best_thresholds(targets, found)
    for c, threshold in enumerate(chosen):
        best = max(f1_score(targets[:, c], found[:, c] >= t) for t in np.unique(found[:, c]))
        assert f1_score(targets[:, c], found[:, c] >= threshold) == pytest.approx(best)


def test_reliability_of_what_is_as_sure_as_it_says(rng: np.random.Generator) -> None:
    found = rng.random((20_000, 1)).astype(np.float32)
    targets = (rng.random((20_000, 1)) < found).astype(np.float32)
    curve = scores.reliability(targets, found, is_multi=True)
    assert curve.error < 0.02 and len(curve.count) == 10 and curve.count.sum() == 20_000
    sure = np.full((100, 2), [0.99, 0.01], np.float32)
    wrong = np.tile(np.array([[0, 1]], np.float32), (100, 1))
    assert scores.reliability(wrong, sure, is_multi=False).error == pytest.approx(0.99, abs=1e-6)


def test_confusion_counts_what_was_taken_for_what() -> None:
    targets = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    found = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0, 1, 0], [0.5, 0.1, 0.4]], np.float32)
    assert scores.confusion(targets, found).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert scores.accuracy(targets, found) == 0.5
