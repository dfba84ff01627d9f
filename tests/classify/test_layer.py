"""The layer of classes: its numbers, its file, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed.classify.layer import Layer
from listen_embed.errors import HeadError


def layer_of(kind: str, rng: np.random.Generator) -> Layer:
    weight, bias, thresholds = rng.normal(size=(3, 4)), rng.normal(size=3), [0.5, 0.2, 0.9]
    parts = (np.asarray(part, np.float32) for part in (weight, bias, thresholds))
    return Layer(*parts, kind=kind)  # type: ignore[arg-type]


def test_softmax_adds_up_and_gives_the_likeliest(rng: np.random.Generator) -> None:
    layer = layer_of("softmax", rng)
    found = layer.probabilities(100 * rng.normal(size=(50, 4)))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    given = layer.given(found)
    assert (given.sum(axis=1) == 1).all() and (given.argmax(1) == found.argmax(1)).all()


def test_sigmoid_gives_every_label_from_its_threshold_on(rng: np.random.Generator) -> None:
    layer = layer_of("sigmoid", rng)
    rows = rng.normal(size=(50, 4))
    wanted = 1 / (1 + np.exp(-(rows @ layer.weight.T + layer.bias)))
    found = layer.probabilities(rows)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_array_equal(layer.given(found), found >= layer.thresholds)


def test_a_file_gives_the_same_layer(tmp_path: Path, rng: np.random.Generator) -> None:
    layer, path = layer_of("sigmoid", rng), tmp_path / "classes.npz"
    path.write_bytes(layer.as_npz())
    again = Layer.read(path, "sigmoid")
    np.testing.assert_array_equal(again.weight, layer.weight)
    np.testing.assert_array_equal(again.thresholds, layer.thresholds)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"\x80\x04K\x01."])
def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "classes.npz"
    path.write_bytes(content)
    with pytest.raises(HeadError, match="cannot be read"):
        Layer.read(path, "softmax")


def test_parts_that_do_not_fit_are_refused() -> None:
    two, three = np.zeros(2, np.float32), np.zeros(3, np.float32)
    with pytest.raises(HeadError, match="do not fit"):
        Layer(np.zeros((2, 4), np.float32), three, two, "softmax")
    with pytest.raises(HeadError, match="kind"):
        Layer(np.zeros((2, 4), np.float32), two, two, "hardmax")  # type: ignore[arg-type]
    with pytest.raises(HeadError, match="not finite"):
        Layer(np.full((2, 4), np.nan, np.float32), two, two, "softmax")
