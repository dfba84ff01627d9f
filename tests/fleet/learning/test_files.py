"""Samples, members and starts as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.fleet.learning.files import (
    Samples,
    load_start,
    make_node,
    model_of,
    read_samples,
    save_start,
)
from listen_embed.fleet.learning.layout import Agreement, Layer, Layout
from listen_embed.fleet.learning.network import Network
from listen_embed.fleet.learning.node import Start, unsigned
from listen_embed.fleet.learning.prior import Prior
from listen_embed.fleet.learning.updates import Sending

from ...monitor.world import sound, write_wav

LOGMEL = Embedder("logmel/128/16k", threads=1)
MODEL = Prior(128, 2)
AGREED = Agreement("prior", MODEL.layout, LOGMEL.spec.name, LOGMEL.digest, ("off", "on"))


def made(labels: list[str], width: int = 128, agreed: Agreement = AGREED) -> Any:
    samples = Samples(np.ones((len(labels), width), np.float32), labels)
    return make_node(agreed, "n", samples, LOGMEL, Sending(), unsigned)


def test_sounds_in_folders_are_samples(tmp_path: Path) -> None:
    for state in ("off", "high"):
        (tmp_path / state).mkdir()
        write_wav(tmp_path / state / "a.wav", sound((state, 1.0), rate=16000, seed=1), 16000)
    found = read_samples(tmp_path, LOGMEL)
    assert found.x.shape == (2, 128) and sorted(found.labels) == ["high", "off"]


def test_classes_are_found_by_their_labels() -> None:
    assert made(["on", "off", "on"]).y.tolist() == [1, 0, 1]
    assert made(["on"]).y.tolist() == [1]


@pytest.mark.parametrize(
    ("labels", "width", "agreed", "said"),
    [
        (["on", "mill"], 128, AGREED, r"samples of \['mill'\], which this fleet does not learn"),
        (["on"], 64, AGREED, "the samples have 64 values each, logmel/128/16k gives 128"),
        (["on"], 128, replace(AGREED, embedder="sea/64"), "the embedder is 'logmel/128/16k'"),
        (["on"], 128, replace(AGREED, embedder_digest="ff"), "the embedder's digest is"),
        (["on"], 128, replace(AGREED, kind="tree"), "learns 'tree'; this node knows prior"),
        (["on"], 128, replace(AGREED, layout=Layout((Layer("a", (2, 9)),))), "layers are not"),
    ],
)
def test_nodes_that_cannot_take_part(
    labels: list[str], width: int, agreed: Agreement, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        made(labels, width, agreed)


def test_a_model_follows_from_what_was_agreed_on() -> None:
    for model in (Prior(5, 3), Network((4, 6, 2), "labels")):
        assert model_of(Agreement(model.kind, model.layout)).layout == model.layout
    with pytest.raises(InputError, match="layers are not those of a network"):
        model_of(Agreement("network", Layout((Layer("w", (3,)),))))


def test_a_start_is_read_as_it_was_written(tmp_path: Path) -> None:
    vector = np.random.default_rng(0).normal(size=MODEL.layout.size).astype(np.float32)
    start = Start(7, vector, np.full(3, 0.1, np.float32))
    save_start(tmp_path / "a.npz", AGREED, start)
    agreement, found = load_start(tmp_path / "a.npz")
    assert agreement == AGREED and found.round == 7
    assert np.array_equal(found.vector, vector)


def test_what_is_no_start_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for arrays, said in (
        ({"agreement": np.array("{}")}, "no start of a fleet"),
        ({"x": np.zeros(3)}, "no start of a fleet"),
        ({"agreement": np.array(AGREED.json()), "round": np.array(1), "vector": np.zeros(3),
          "rates": np.zeros(3)}, "not those of its layers"),
    ):  # fmt: skip
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=said):
            load_start(path)
    path.write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match="that can be read"):
        load_start(path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"embeddings": np.zeros((3, 2))}, "holds no embeddings"),
        ({"embeddings": np.zeros(3), "labels": np.array(["a"] * 3)}, "holds no embeddings"),
        ({"embeddings": np.zeros((3, 2)), "labels": np.array(["a"])}, "holds no embeddings"),
        ({"embeddings": np.array([None]), "labels": np.array(["a"])}, "that can be read"),
    ],
)
def test_what_are_no_samples(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=said):
        read_samples(tmp_path / "a.npz", LOGMEL)
