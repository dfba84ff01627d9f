"""Heads in C against the heads in Python."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import Embedder, heads, registry
from listen_embed.device.export import export_c
from listen_embed.errors import HeadError, InputError

from .one import compile_c

DIM, CLASSES = 32, 3
SPEC = registry.find("sea/32/nano")
LABELS = ["drill", 'Säge "2"', "off"]


def world(n: int = 60) -> tuple[Any, list[str]]:
    """Return embeddings of three classes whose spread is not a sphere."""
    chance = np.random.default_rng(3)
    codes = np.arange(n) % CLASSES
    spread = np.geomspace(0.1, 2.0, DIM)
    centers = chance.normal(size=(CLASSES, DIM))
    x = (centers[codes] + chance.normal(size=(n, DIM)) * spread).astype(np.float32)
    return x, [LABELS[code] for code in codes]


def library(place: Path, *flags: str, **kinds: Any) -> Any:
    """Return the compiled heads of an export."""
    digest = embedder().digest
    heads.save(place / "heads.npz", **kinds)
    assert all(head.digest == digest for head in kinds.values())
    export_c(SPEC, place / "out", heads=place / "heads.npz")
    source = place / "out" / "src"
    built = place / "heads.so"
    files = [source / f"listen_{name}.c" for name in ("heads", "heads_model", "running")]
    compile_c(source, *files, "-shared", "-lm", *flags, "-o", built)
    loaded = ctypes.CDLL(str(built))
    for name in ("embed_novelty", "embed_anomaly_score"):
        if hasattr(loaded, name):
            getattr(loaded, name).restype = ctypes.c_float
    loaded.embed_heads_init()
    return loaded


def embedder() -> Embedder:
    return Embedder(SPEC.name)


def pointer(row: Any) -> Any:
    return np.ascontiguousarray(row, np.float32).ctypes.data_as(ctypes.c_void_p)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("reject", [0.0, 0.2])
@pytest.mark.parametrize("n", [3, 60])
def test_a_classifier_says_what_python_says(n: int, reject: float, tmp_path: Path) -> None:
    x, labels = world(n)
    if n == 3 and reject:
        return
    head = heads.Classifier(embedder(), reject=reject).learn(x, labels)
    c = library(tmp_path, classifier=head)
    c.embed_label.restype = ctypes.c_char_p
    asked = np.concatenate([world(90)[0], 30 + world(6)[0]])
    found = np.empty((len(asked), CLASSES), np.float32)
    codes = [c.embed_classify(pointer(row), pointer_to(found, i)) for i, row in enumerate(asked)]
    assert [c.embed_label(code).decode() for code in codes] == head.predict(asked)
    assert np.abs(found - head.predict_proba(asked)).max() < 1e-5
    novel = np.array([c.embed_novelty(pointer(row)) for row in asked])
    assert np.allclose(novel, head.novelty(asked), rtol=1e-5, atol=1e-5)


def pointer_to(rows: Any, i: int) -> Any:
    return ctypes.c_void_p(rows[i].ctypes.data)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("kind", ["mahalanobis", "knn"])
def test_an_anomaly_head_scores_what_python_scores(kind: Any, tmp_path: Path) -> None:
    head = heads.Anomaly(embedder(), kind=kind).learn(world(80)[0])
    c = library(tmp_path, anomaly=head)
    asked = np.concatenate([world(30)[0], 5 + world(6)[0]])
    scores = np.array([c.embed_anomaly_score(pointer(row)) for row in asked])
    assert np.allclose(scores, head.score(asked), rtol=1e-5)


@pytest.mark.needs("gcc")
def test_means_go_on_learning_on_the_device(tmp_path: Path) -> None:
    x, labels = world()
    classifier = heads.Classifier(embedder()).learn(x, labels)
    c = library(tmp_path, classifier=classifier, anomaly=heads.Anomaly(embedder()).learn(x))
    new = x[0] + 9
    before = c.embed_novelty(pointer(new)), c.embed_anomaly_score(pointer(new))
    for _ in range(200):
        c.embed_learn(pointer(new), 1)
        c.embed_anomaly_learn(pointer(new))
    assert c.embed_classify(pointer(new), None) == 1
    assert c.embed_novelty(pointer(new)) < before[0] / 5
    assert c.embed_anomaly_score(pointer(new)) < before[1] / 2
    c.embed_heads_init()
    assert c.embed_novelty(pointer(new)) == before[0]


@pytest.mark.needs("gcc")
def test_running_statistics_go_on_as_in_python(tmp_path: Path) -> None:
    x, others = world(40)[0], 0.3 * world(90)[0] + 1
    head = heads.Anomaly(embedder()).learn(x)
    c = library(tmp_path, "-DEMBED_LEARNS_SPREAD=1", anomaly=head)
    asked = np.concatenate([x[:10], others[:10], 5 + x[:5]])
    for n_learnt in (0, 1, 5, 30, 50):
        for row in others[:n_learnt]:
            head.learn_one(row)
            c.embed_anomaly_learn(pointer(row))
        scores = np.array([c.embed_anomaly_score(pointer(row)) for row in asked])
        np.testing.assert_allclose(scores, head.score(asked), rtol=1e-5)


def test_heads_of_another_model_or_kind_are_refused(tmp_path: Path) -> None:
    x, labels = world()
    heads.save(
        tmp_path / "other.npz", classifier=heads.Classifier(Embedder("sea/64")).learn(x, labels)
    )
    with pytest.raises(HeadError, match="sea/64"):
        export_c(SPEC, tmp_path / "out", heads=tmp_path / "other.npz")
    narrow = heads.Classifier(embedder()).learn(x[:, :8], labels)
    heads.save(tmp_path / "narrow.npz", classifier=narrow)
    with pytest.raises(InputError, match="takes embeddings of 8 values, the model gives 32"):
        export_c(SPEC, tmp_path / "out", heads=tmp_path / "narrow.npz")
    assert not (tmp_path / "out").exists()
