"""Logistic regression against scikit-learn's, and the choice of its ridge."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from listen_embed.heads import Classifier
from listen_embed.heads._logistic import CANDIDATES, Problem, choose_c, fit

from .world import clouds


def reference(
    x: np.ndarray, labels: list[str], c: float, balanced: bool = False
) -> LogisticRegression:
    weight = "balanced" if balanced else None
    x = x.astype(np.float64)  # in float32 it stops up to 8e-3 in probability short of the optimum
    return LogisticRegression(C=c, tol=1e-8, max_iter=20_000, class_weight=weight).fit(x, labels)


def problem(x: np.ndarray, codes: np.ndarray) -> Problem:
    ones = np.column_stack([x, np.ones(len(x))])
    return Problem(ones, codes, codes.max() + 1, np.ones(len(x)), (ones**2).sum(axis=0))


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize(("n_rows", "emb_dim"), [(60, 200), (120, 30), (600, 16)])
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_probabilities_are_those_of_scikit_learn(
    n_classes: int, n_rows: int, emb_dim: int, c: float
) -> None:
    x, labels = clouds(n_rows, n_classes, emb_dim, seed=0, spread=2.0)
    x = StandardScaler().fit_transform(x)  # after it, the head's own scaling changes nothing
    new = np.vstack([x[:20], clouds(50, n_classes, emb_dim, seed=1, spread=2.0)[0]])
    head = Classifier("logistic", c=c).learn(x, labels)
    expected = reference(x, labels, c).predict_proba(new)
    np.testing.assert_allclose(head.predict_proba(new), expected, atol=1e-3)


@pytest.mark.parametrize("balanced", [False, True])
def test_balanced_classes_are_those_of_scikit_learn(balanced: bool) -> None:
    x, labels = clouds(300, 3, 8, seed=0, spread=3.0)
    rare = np.array([label != "c000" or row % 5 == 0 for row, label in enumerate(labels)])
    x, labels = StandardScaler().fit_transform(x[rare]), list(np.array(labels)[rare])
    head = Classifier("logistic", c=0.3, balanced=balanced).learn(x, labels)
    expected = reference(x, labels, 0.3, balanced).predict_proba(x)
    np.testing.assert_allclose(head.predict_proba(x), expected, atol=1e-3)


def test_features_are_scaled_by_their_spread_or_the_average_one(rng: np.random.Generator) -> None:
    x = rng.normal(size=(90, 4)) * [0.01, 1.0, 2.0, 30.0] + 5
    labels = ["a" if row[1] > 5 else "b" for row in x]
    spread = x.std(axis=0)
    scaled = (x - x.mean(axis=0)) / np.maximum(spread, spread.mean())
    expected = reference(scaled, labels, 1.0).predict_proba(scaled)
    head = Classifier("logistic", c=1.0).learn(x, labels)
    np.testing.assert_allclose(head.predict_proba(x), expected, atol=1e-3)


def test_the_gradient_and_curvature_are_right(rng: np.random.Generator) -> None:
    at = problem(rng.normal(size=(12, 3)), np.arange(12) % 3)
    theta, step = rng.normal(size=(4, 3)), 1e-4
    gradient, curvature = at.loss(theta)[1], at.curvature(theta)
    for index in np.ndindex(theta.shape):
        nudge = np.zeros_like(theta)
        nudge[index] = step
        low, here, high = (at.loss(theta + k * nudge)[0] for k in (-1, 0, 1))
        assert (high - low) / (2 * step) == pytest.approx(gradient[index], abs=1e-6)
        assert (high - 2 * here + low) / step**2 == pytest.approx(curvature[index], abs=1e-4)


def test_a_warm_start_ends_at_the_same_place(rng: np.random.Generator) -> None:
    at = problem(rng.normal(size=(60, 5)), np.arange(60) % 4)
    expected = fit(at, 1.0)
    np.testing.assert_allclose(fit(at, 1.0, start=fit(at, 0.01)), expected, atol=1e-3)


def test_weak_and_strong_ridges_are_chosen_where_they_belong(rng: np.random.Generator) -> None:
    codes, fold = np.arange(100) % 2, np.arange(100) // 2 % 5
    noise = rng.normal(size=(100, 30))
    clear = noise * 0.05
    clear[:, 0] += 2 * codes - 1
    assert choose_c(problem(noise, codes), fold) <= 0.01
    assert choose_c(problem(clear, codes), fold) >= 1.0


def test_the_choice_is_near_the_best_of_scikit_learn() -> None:
    """Held-out log loss with the chosen ridge is at most 5 % above that of the best candidate."""
    x, labels = clouds(150, 5, 40, seed=0, spread=2.0)
    new, truth = clouds(1000, 5, 40, seed=1, spread=2.0)
    columns = [sorted(set(labels)).index(label) for label in truth]

    def loss(head: Classifier) -> float:
        return float(-np.log(head.predict_proba(new)[np.arange(1000), columns]).mean())

    chosen = loss(Classifier("logistic").learn(x, labels))
    assert chosen < 1.05 * min(
        loss(Classifier("logistic", c=c).learn(x, labels)) for c in CANDIDATES
    )


def test_too_few_clips_take_the_default() -> None:
    x, labels = clouds(10, 5, 12, seed=0)
    chosen, stated = (Classifier("logistic", c=c).learn(x, labels) for c in (None, 1.0))
    assert np.array_equal(chosen.predict_proba(x), stated.predict_proba(x))


def test_frames_of_one_clip_are_not_taken_for_many_clips() -> None:
    x, labels = clouds(60, 3, 12, seed=0, spread=3.0)
    groups = [f"clip of {label}" for label in labels]
    grouped = Classifier("logistic").learn(x, labels, groups)
    default = Classifier("logistic", c=1.0).learn(x, labels)
    alone = Classifier("logistic").learn(x, labels)
    assert np.array_equal(grouped.predict_proba(x), default.predict_proba(x))
    assert not np.array_equal(alone.predict_proba(x), default.predict_proba(x))
