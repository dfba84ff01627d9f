"""What every head promises: one check per promise, crossed with every kind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from listen_embed.embedder import Embedder
from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly, Classifier, OnlineClassifier

from .world import KINDS, ODD_OPTIONS, Head, answers, embedder, make, normal_sound, teach

BAD = {
    "one dimension": (np.zeros(6), "shape"),
    "three dimensions": (np.zeros((2, 3, 6)), "shape"),
    "no dimension": (3.0, "shape"),
    "no features": (np.zeros((4, 0)), "shape"),
    "NaN": (np.full((2, 6), np.nan), "NaN"),
    "infinity": (np.full((2, 6), np.inf), "infinite"),
    "beyond float32": (np.full((2, 6), 1e39), "float32"),
    "text": (np.full((2, 6), "a"), "dtype"),
    "objects": (np.full((2, 6), None), "dtype"),
    "complex": (np.zeros((2, 6), complex), "dtype"),
    "ragged": ([[1.0, 2.0], [1.0]], "rectangular"),
}


def check_input_is_left_alone(kind: str, path: Path) -> None:
    x = normal_sound()
    before = x.copy()
    answers(teach(make(kind), x), x)
    assert np.array_equal(x, before)


def check_float64_input_is_left_alone(kind: str, path: Path) -> None:
    x = normal_sound().astype(np.float64)
    before = x.copy()
    head = make(kind)
    if isinstance(head, Anomaly):
        head.learn(x).learn_one(x[0])
        head.score(x), head.probability(x), head.score_one(x[0])
    else:
        head.learn(x, ["a", "b"] * 30)
        head.predict(x)
    assert np.array_equal(x, before)


def check_same_seed_same_answers(kind: str, path: Path) -> None:
    x = normal_sound()
    first, second = (answers(teach(make(kind, seed=5), x), x) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def check_rows_are_judged_alone(kind: str, path: Path) -> None:
    x = normal_sound()
    head = teach(make(kind), x)
    single = [answers(head, x[i : i + 1]) for i in range(5)]
    for whole, *parts in zip(answers(head, x[:5]), *single, strict=True):
        joined = np.concatenate(parts)
        if joined.dtype.kind == "U":
            assert np.array_equal(whole, joined)
        else:
            np.testing.assert_allclose(whole, joined, rtol=1e-9, atol=1e-9)


def check_no_rows_give_no_answers(kind: str, path: Path) -> None:
    head = teach(make(kind), normal_sound())
    assert all(len(answer) == 0 for answer in answers(head, np.empty((0, 6), np.float32)))


def check_lists_do_as_arrays(kind: str, path: Path) -> None:
    x = normal_sound()
    head = teach(make(kind), x)
    asked = head.score if isinstance(head, Anomaly) else head.predict_proba
    assert np.array_equal(asked(x[:2].tolist()), asked(x[:2]))


def check_tensors_and_tables_do_as_arrays(kind: str, path: Path) -> None:
    x = normal_sound()
    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.ravel()), 6)
    tensor = torch.tensor(x, requires_grad=True)

    def learned(x: Any) -> Head:
        head = make(kind)
        return head.learn(x) if isinstance(head, Anomaly) else head.learn(x, ["a", "b"] * 30)

    expected = answers(learned(x), x)
    for like in (tensor, list(tensor), pyarrow.chunked_array([column]), [tuple(row) for row in x]):
        for asked in (answers(learned(like), x), answers(learned(x), like)):
            assert all(np.array_equal(a, b) for a, b in zip(asked, expected, strict=True))


def check_learning_again_forgets(kind: str, path: Path) -> None:
    x, other = normal_sound(), normal_sound(emb_dim=9, seed=3)
    again = teach(teach(make(kind), other), x)
    for a, b in zip(answers(again, x), answers(teach(make(kind), x), x), strict=True):
        assert np.array_equal(a, b)


def check_learn_returns_the_head(kind: str, path: Path) -> None:
    head = make(kind)
    assert teach(head, normal_sound()) is head


def check_failed_learning_keeps_what_was_known(kind: str, path: Path) -> None:
    x = normal_sound()
    head = teach(make(kind), x)
    before = answers(head, x)
    with pytest.raises(HeadError):
        teach(head, np.full((60, 6), np.nan, np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(answers(head, x), before, strict=True))


def check_untaught_heads_say_so(kind: str, path: Path) -> None:
    head = make(kind)
    with pytest.raises(HeadError, match="learned nothing yet"):
        answers(head, normal_sound())
    with pytest.raises(HeadError, match="learned nothing yet"):
        head.save(path)
    assert not path.exists()


def check_repr_tells_kind_and_model(kind: str, path: Path) -> None:
    head = make(kind, embedder=embedder())
    assert (kind in repr(head) or not isinstance(head, Anomaly)) and "sea/64" in repr(head)
    assert "6" in repr(teach(head, normal_sound()))


def check_properties(kind: str, path: Path) -> None:
    head = make(kind, embedder=embedder())
    assert (head.model, head.digest, head.emb_dim) == ("sea/64", "ab12", None)
    assert teach(head, normal_sound()).emb_dim == 6


def check_wrong_width_is_refused(kind: str, path: Path) -> None:
    head = teach(make(kind), normal_sound())
    with pytest.raises(HeadError, match="7 values each, this head was taught with 6"):
        answers(head, normal_sound(emb_dim=7))


def check_bad_embeddings_are_refused(kind: str, path: Path) -> None:
    taught = teach(make(kind), normal_sound())
    learn = taught.learn if isinstance(taught, Anomaly) else lambda x: taught.learn(x, ["a", "b"])
    ask = taught.score if isinstance(taught, Anomaly) else taught.predict
    for name, (bad, message) in BAD.items():
        for method in (learn, ask):
            with pytest.raises(HeadError, match=message):
                method(bad)
                pytest.fail(f"{name} was let in by {method}")


def check_copies_are_separate(kind: str, path: Path) -> None:
    x = normal_sound()
    head = teach(make(kind), x)
    before = answers(head, x)
    teach(copy.deepcopy(head), normal_sound(emb_dim=4))
    assert all(np.array_equal(a, b) for a, b in zip(answers(head, x), before, strict=True))


def check_saved_is_loaded_bit_for_bit(kind: str, path: Path) -> None:
    x = normal_sound()
    head = teach(make(kind, embedder=embedder()), x)
    head.save(path)
    loaded = type(head).load(path, embedder())
    assert repr(loaded) == repr(head)
    assert (loaded.model, loaded.digest) == ("sea/64", "ab12")
    for a, b in zip(answers(loaded, 1.1 * x), answers(head, 1.1 * x), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def check_another_model_is_refused(kind: str, path: Path) -> None:
    teach(make(kind, embedder=embedder()), normal_sound()).save(path)
    head = type(make(kind))
    with pytest.raises(HeadError, match=r"sea/64.*ab12.*listen/64"):
        head.load(path, embedder("listen/64"))
    with pytest.raises(HeadError, match=r"ab12.*ffff"):
        head.load(path, embedder(digest="ffff"))
    with pytest.raises(HeadError, match="listen/64"):
        head.load(path).check_model(embedder("listen/64"))
    head.load(path).check_model(embedder())


def check_odd_data_give_finite_answers(kind: str, path: Path) -> None:
    x = normal_sound()
    dead = x.copy()
    dead[:, 2] = 4.0
    few = np.repeat(x[:3], 20, axis=0)
    zeros = np.zeros_like(x)
    for data in (dead, few, zeros, 1e-30 * x, 1e30 * x, x[:, :1], normal_sound(emb_dim=200)):
        head = make(kind)
        taught = (
            head.learn(data) if isinstance(head, Anomaly) else head.learn(data, ["a", "b"] * 30)
        )
        for answer in answers(taught, 2 * data + 1):
            assert answer.dtype.kind == "U" or np.isfinite(answer).all()


def check_odd_options_are_refused(kind: str, path: Path) -> None:
    for options in ODD_OPTIONS[kind]:
        with pytest.raises(HeadError, match="allowed"):
            make(kind, **options)


CHECKS: list[Callable[[str, Path], None]] = [
    check for name, check in list(globals().items()) if name.startswith("check_")
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_promise(check: Callable[[str, Path], None], kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path / "head.npz")


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(HeadError, match=r"kind is 'tree'; allowed are '"):
        Anomaly(kind="tree")  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [Classifier, Anomaly, OnlineClassifier])
@pytest.mark.parametrize(
    "wrong", ["knn", 3, embedder(name=""), embedder(digest=b"ab"), embedder(digest="a\0")]
)
def test_what_is_no_embedder_is_refused(head: Callable[..., Head], wrong: object) -> None:
    with pytest.raises(HeadError, match="allowed is an Embedder"):
        head(wrong)


@pytest.mark.parametrize("head", [Classifier, Anomaly, OnlineClassifier])
def test_an_embedder_guards_model_and_weights(head: Callable[..., Head], tmp_path: Path) -> None:
    logmel = Embedder("logmel/128/16k")
    taught = teach(head(logmel), normal_sound())
    assert (taught.model, taught.digest) == ("logmel/128/16k", logmel.digest)
    taught.save(tmp_path / "head.npz")
    assert type(taught).load(tmp_path / "head.npz", logmel).digest == logmel.digest
    with pytest.raises(HeadError, match="Embeddings of different models do not compare"):
        type(taught).load(tmp_path / "head.npz", Embedder("logmel/256/48k"))
