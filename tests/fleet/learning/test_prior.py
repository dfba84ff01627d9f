"""What a fleet knows of classes before a device gives its first sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.learning.network import Way
from listen_embed.fleet.learning.prior import Prior
from listen_embed.heads import OnlineClassifier

from .world import CLASSES, DIM, LABELS, device, prior

RATES = np.zeros(3, np.float32)


def learnt(model: Prior, *seeds: int) -> np.ndarray:
    """Return the mean of what devices learn, twice over, so that all of it is known."""
    vector = model.begin(0)
    for _ in range(2):
        each = [model.learn(vector, *device(seed, 30), RATES, Way()).vector for seed in seeds]
        vector = np.mean(each, axis=0).astype(np.float32)
    return vector


def test_whitening_gives_what_classes_share_a_variance_of_one() -> None:
    model, _ = prior()
    vector = learnt(model, *range(8))
    x, y = device(3, 200)
    means = np.stack([x[y == code].mean(axis=0) for code in range(CLASSES)])
    spread = ((x - means[y]) @ model.whitening(vector)).std(axis=0)
    assert (spread < 1.2).all() and spread.max() > 0.8
    assert np.array_equal(model.whitening(model.begin(0)), np.eye(DIM))


def test_the_fleet_weighs_more_where_devices_are_alike() -> None:
    model, _ = prior()
    alike, apart = learnt(model, 1, 1, 1), learnt(model, *range(8))
    assert model.weight(alike) == 8 > model.weight(apart) > 0.25


def test_classes_that_a_device_lacks_stay_the_fleets() -> None:
    model, _ = prior()
    vector = learnt(model, *range(8))
    x, y = device(9)
    known = y < 2
    after = model.learn(vector, x[known], y[known], RATES, Way()).vector
    before, new = (model.layout.views(v)["classes"] for v in (vector, after))
    assert np.array_equal(before[2:], new[2:]) and not np.array_equal(before[:2], new[:2])


def test_one_sample_of_each_class_says_nothing_about_spread() -> None:
    model, _ = prior()
    vector = learnt(model, *range(8))
    x, y = device(9, 1)
    after = model.learn(vector, x, y, RATES, Way()).vector
    assert np.array_equal(*(model.layout.views(v)["within"] for v in (vector, after)))


def test_a_classifier_that_begins_with_the_fleet_is_ahead_and_learns_on() -> None:
    model, _ = prior()
    vector = learnt(model, *range(8))
    right: dict[str, list[float]] = {"alone": [], "fleet": []}
    for seed in range(20, 30):
        x, y = device(seed, 40)
        few = [int(np.flatnonzero(y == code)[0]) for code in range(CLASSES)]
        starts = {"alone": OnlineClassifier(), "fleet": model.online(vector, LABELS)}
        for name, head in starts.items():
            for place in few:
                head.learn_one(x[place], LABELS[y[place]])
            answers = np.array(head.predict(x))
            right[name].append(float(np.mean(answers == np.array(LABELS)[y])))
    assert np.mean(right["fleet"]) > np.mean(right["alone"]) + 0.08


def test_classes_that_nobody_heard_begin_later(tmp_path: Path) -> None:
    model, _ = prior()
    with pytest.raises(InputError, match="has not learnt any class yet"):
        model.online(model.begin(0), LABELS)
    vector = learnt(model, *range(8))
    model.layout.views(vector)["classes"][1] = 0
    head = model.online(vector, LABELS)
    assert head.labels == ("drill", "mill", "off") and head.count == 3 * round(model.weight(vector))
    head.save(tmp_path / "online.npz")
    again = OnlineClassifier.load(tmp_path / "online.npz")
    x, _ = device(3)
    assert np.array_equal(again.predict_proba(x), head.predict_proba(x))
    assert again.learn_one(x[0], "saw").labels == ("drill", "mill", "off", "saw")
