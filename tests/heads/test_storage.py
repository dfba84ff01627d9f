"""Files of heads: two in one, complete or absent, and hostile ones."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from listen_embed import heads
from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly, Classifier, _storage

from .world import KINDS, Head, answers, embedder, make, normal_sound, teach

X = normal_sound()
Arrays = dict[str, np.ndarray]


def taught(kind: str, **options: object) -> Head:
    return teach(make(kind, embedder=embedder(), **options), X)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "machine.npz"


def arrays_of(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


# ---- two heads in one file ----


@pytest.mark.parametrize("second", ["mahalanobis", "knn"])
def test_a_file_holds_both(second: str, path: Path) -> None:
    classifier, anomaly = taught("prototype", reject=0.05), taught(second)
    assert isinstance(classifier, Classifier) and isinstance(anomaly, Anomaly)
    heads.save(path, classifier=classifier, anomaly=anomaly)
    loaded = heads.load(path, embedder())
    assert loaded.classifier is not None and loaded.anomaly is not None
    for old, new in ((classifier, loaded.classifier), (anomaly, loaded.anomaly)):
        for a, b in zip(answers(old, 1.2 * X), answers(new, 1.2 * X), strict=True):
            assert np.array_equal(a, b)
    assert Classifier.load(path).labels == classifier.labels
    assert Anomaly.load(path).count == anomaly.count


@pytest.mark.parametrize("kind", KINDS)
def test_load_returns_what_there_is(kind: str, path: Path) -> None:
    head = taught(kind)
    head.save(path)
    loaded = heads.load(path)
    assert [type(one) for one in loaded if one is not None] == [type(head)]
    other = Anomaly if isinstance(head, Classifier) else Classifier
    with pytest.raises(HeadError, match="it holds no "):
        other.load(path)


def test_heads_of_different_models_do_not_share_a_file(path: Path) -> None:
    anomaly = Anomaly(embedder("listen/64")).learn(X)
    classifier = Classifier(embedder()).learn(X[:2], ["a", "b"])
    with pytest.raises(HeadError, match=r"listen/64.*sea/64"):
        heads.save(path, classifier=classifier, anomaly=anomaly)
    assert not path.exists()


def test_there_must_be_something_to_save(path: Path) -> None:
    with pytest.raises(HeadError, match="no head is given"):
        heads.save(path)
    with pytest.raises(HeadError, match="learned nothing"):
        heads.save(path, classifier=Classifier(), anomaly=Anomaly().learn(X))
    assert not path.exists()


def test_a_head_without_a_model_fits_none(path: Path) -> None:
    Anomaly().learn(X).save(path)
    with pytest.raises(HeadError, match="a model that was not stated"):
        heads.load(path, embedder())
    assert heads.load(path).anomaly is not None


# ---- writing ----


def test_equal_heads_make_equal_files(tmp_path: Path) -> None:
    for name in "ab":
        taught("knn").save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numpy_reads_the_file(path: Path) -> None:
    taught("knn").save(path)
    arrays = arrays_of(path)
    assert arrays["model"] == "sea/64" and arrays["digest"] == "ab12"
    assert np.array_equal(arrays["anomaly/memory"], X)


def test_nothing_but_the_file_is_left(path: Path) -> None:
    taught("knn").save(path)
    taught("prototype").save(str(path))
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_file(
    step: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught("knn").save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(_storage.os, step, fail)
    with pytest.raises(HeadError, match=r"machine.npz: cannot be written \(disk full\)"):
        taught("prototype").save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    taught("knn").save(tmp_path / "new" / "head.npz")
    assert arrays_of(tmp_path / "new" / "head.npz")["model"] == "sea/64"


def test_a_folder_that_cannot_be_is_said(path: Path) -> None:
    taught("knn").save(path)
    with pytest.raises(HeadError, match="cannot be written"):
        taught("knn").save(path / "head.npz")


def test_heads_too_large_to_read_again_are_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_storage, "MAX_BYTES", 2**20 + 1000)
    with pytest.raises(HeadError, match="allowed are 1000"):
        taught("knn").save(path)
    assert not path.exists()


# ---- hostile files ----


def write(path: Path, arrays: Arrays, **options: object) -> None:
    """Write an .npz as anybody may."""
    with zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[call-overload]
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())


def refused(path: Path) -> None:
    with pytest.raises(HeadError, match="no head file that can be used"):
        heads.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"\x93NUMPY" + bytes(99), os.urandom(999)]
)
def test_other_files_are_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    refused(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.npz")
    refused(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_each_array_must_be_there(kind: str, path: Path) -> None:
    taught(kind).save(path)
    whole = arrays_of(path)
    for name in whole:
        write(path, {key: array for key, array in whole.items() if key != name})
        refused(path)
    write(path, whole)
    assert any(heads.load(path))


WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "an object": lambda a: np.full(a.shape, None),
    "another kind": lambda a: a.astype("U9") if a.dtype.kind in "fi" else np.zeros(a.shape),
    "a dimension more": lambda a: a[None],
    "a row less": lambda a: a[:-1] if a.ndim else np.zeros((0,), a.dtype),
    "NaN": lambda a: a * np.nan if a.dtype.kind == "f" else np.full(a.shape, np.nan),
    "infinity": lambda a: a + np.inf if a.dtype.kind == "f" else np.full(a.shape, np.inf),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", KINDS)
def test_each_array_must_be_right(kind: str, wrong: str, path: Path) -> None:
    taught(kind, **({"reject": 0.05} if kind == "prototype" else {})).save(path)
    whole = arrays_of(path)
    for name, array in whole.items():
        if wrong == "a row less" and name.endswith(("held_out", "anomaly/memory")):
            continue  # may be of any length, or are held against the count below
        write(path, whole | {name: WRONG[wrong](array)})
        refused(path)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("knn", "format", 1),
        ("knn", "format", -1),
        ("knn", "anomaly/kind", "tree"),
        ("knn", "anomaly/count", 0),
        ("knn", "anomaly/count", 59),
        ("knn", "anomaly/count", 2**62),
        ("knn", "anomaly/capacity", 2**62),
        ("knn", "anomaly/capacity", 59),
        ("knn", "anomaly/n_neighbors", 0),
        ("knn", "anomaly/min_count", 0),
        ("knn", "anomaly/seed", -1),
        ("knn", "anomaly/held_out", [-1.0]),
        ("knn", "anomaly/held_out", np.ones(1001)),
        ("mahalanobis", "anomaly/scatter", -np.eye(6)),
        ("mahalanobis", "anomaly/mean", np.empty(0)),
        ("mahalanobis", "anomaly/kind", "knn"),
        ("prototype", "classifier/labels", ["state0", "state0", "state1"]),
        ("prototype", "classifier/labels", ["state2", "state1", "state0"]),
        ("prototype", "classifier/labels", ["state0", "state1", "unknown"]),
        ("prototype", "classifier/scale", np.zeros(6)),
        ("prototype", "classifier/temperature", 0.0),
        ("prototype", "classifier/inflated", [1.0, 1.0, -1.0]),
        ("prototype", "classifier/reject", 0.9),
        ("prototype", "classifier/labels", ["state0"]),
        ("prototype", "classifier/labels", [1.0, 2.0, 3.0]),
        ("prototype", "classifier/capacity", 1),
        ("prototype", "classifier/capacity", 19),
        ("prototype", "classifier/counts", [20, 20, 0]),
        ("prototype", "classifier/counts", [20, 20, 21]),
        ("prototype", "classifier/groups", np.arange(60) + 1),
        ("prototype", "classifier/groups", -np.ones(60, int)),
    ],
)
def test_values_must_be_in_range(kind: str, name: str, value: object, path: Path) -> None:
    taught(kind).save(path)
    whole = arrays_of(path)
    assert name in whole
    write(path, whole | {name: np.array(value)})
    with pytest.raises(HeadError):
        heads.load(path)


def test_sizes_are_bounded_before_reading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught("knn").save(path)
    whole = arrays_of(path)
    for claim in ((2**40,), (2**31, 2**31), (-1,), (-2, -180), (10**30,)):
        header = {"descr": "<f8", "fortran_order": False, "shape": claim}
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, header)
        write(path, {k: v for k, v in whole.items() if k != "anomaly/memory"})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("anomaly/memory.npy", buffer.getvalue() + bytes(8))
        refused(path)
    write(path, whole | {f"more{number}": np.zeros(1) for number in range(64)})
    refused(path)
    write(path, whole)
    monkeypatch.setattr(_storage, "MAX_BYTES", 100)
    refused(path)


def test_bombs_stay_closed(path: Path) -> None:
    write(path, {"bomb": np.zeros(10**6)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    refused(path)


def test_pickles_stay_closed(path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(path.parent / "sprung"),)

    taught("knn").save(path)
    trap = np.empty((), dtype=object)
    trap[()] = Trap()
    for name in ("format", "model", "anomaly/memory"):
        write(path, arrays_of(path) | {name: trap})
        refused(path)
        taught("knn").save(path)
    assert os.listdir(path.parent) == [path.name]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data(), st.sampled_from(KINDS))
def test_damage_is_an_error_or_harmless(path: Path, data: st.DataObject, kind: str) -> None:
    taught(kind).save(path)
    content = bytearray(path.read_bytes())
    where = st.integers(0, len(content) - 1)
    if data.draw(st.booleans()):
        del content[data.draw(where) :]
    else:
        for at in data.draw(st.lists(where, min_size=1, max_size=8)):
            content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        loaded = heads.load(path)
    except HeadError:
        return
    for head in filter(None, loaded):
        assert all(len(answer) == 60 for answer in answers(head, X))
