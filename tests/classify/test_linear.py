"""Linear classes: as good as what they stand for, and calibrated."""

from __future__ import annotations

import numpy as np

from listen_embed import heads
from listen_embed.classify import linear, scores


def test_one_of_is_the_few_shot_classifier(rng: np.random.Generator) -> None:
    codes = np.repeat(np.arange(4), 20)
    rows = (rng.normal(size=(4, 6))[codes] + 0.7 * rng.normal(size=(80, 6))).astype(np.float32)
    layer = linear.one_of(rows, codes, list(range(80)), 4)
    wanted = heads.Classifier().learn(rows, codes.tolist()).predict_proba(rows)
    np.testing.assert_allclose(layer.probabilities(rows), wanted, atol=1e-4)


def test_a_class_that_was_not_taught_is_never_likely(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(20, 6)).astype(np.float32)
    layer = linear.one_of(rows, np.repeat([0, 2], 10), list(range(20)), 3)
    assert layer.probabilities(rows)[:, 1].max() < 1e-6


def test_several_of_finds_labels_that_overlap(rng: np.random.Generator) -> None:
    targets = (rng.random((400, 5)) < 0.3).astype(np.float32)
    rows = targets @ rng.normal(size=(5, 20)) + 0.5 * rng.normal(size=(400, 20))
    rows, folds = rows.astype(np.float32), np.arange(400) % 5
    layer = linear.several_of(rows[:300], targets[:300], folds[:300])
    found = layer.probabilities(rows[300:])
    assert scores.mean_average_precision(targets[300:], found) > 0.95
    assert scores.reliability(targets[300:], found, is_multi=True).error < 0.06
