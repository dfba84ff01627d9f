"""The torch reader: honest files give their tensors, hostile ones an error and nothing else."""

from __future__ import annotations

import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import ConversionError
from listen_embed.upstream.torch_zip import StateDict, read_state_dict

from . import torch_files as tf

ONES = {"0": np.ones(12, np.float32).tobytes()}
TWELVE = tf.storage("0", 12)


def refused(path: Path, words: str, **options: int) -> None:
    with pytest.raises(ConversionError, match=words):
        read_state_dict(path, **options)


# -- honest files ------------------------------------------------------------------------------


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "i8"])
def test_tensors_come_back(tmp_path: Path, rng: Any, dtype: str, byte_order: str) -> None:
    state = {
        "layer.weight": (9 * rng.standard_normal((4, 3, 2))).astype(dtype),
        "layer.bias": (9 * rng.standard_normal(4)).astype(dtype),
        "count": np.array(7, dtype),
        "empty": np.zeros((0, 3), dtype),
    }
    found = read_state_dict(tf.write_state(tmp_path / "a.pt", state, byte_order=byte_order))
    assert list(found) == list(state)
    for name, array in state.items():
        assert found[name].dtype == np.dtype(dtype) and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def test_without_a_byte_order_record_it_is_little(tmp_path: Path) -> None:
    program = tf.START + tf.dictionary({"a": tf.tensor(TWELVE, (12,), (1,))}) + tf.STOP
    found = read_state_dict(tf.write_archive(tmp_path / "a.pt", program, ONES))
    np.testing.assert_array_equal(found["a"], np.ones(12, np.float32))


def test_views_of_one_storage(tmp_path: Path) -> None:
    items = {
        "rows": tf.tensor(TWELVE, (3, 4), (4, 1)),
        "columns": tf.tensor(TWELVE, (4, 3), (1, 4)),
        "slice": tf.tensor(TWELVE, (2, 2), (4, 2), offset=5),
        "repeated": tf.tensor(TWELVE, (3, 2), (0, 1), offset=10),
    }
    values = np.arange(12, dtype=np.float32)
    program = tf.START + tf.dictionary(items) + tf.STOP
    found = read_state_dict(tf.write_archive(tmp_path / "a.pt", program, {"0": values.tobytes()}))
    np.testing.assert_array_equal(found["rows"], values.reshape(3, 4))
    np.testing.assert_array_equal(found["columns"], values.reshape(3, 4).T)
    np.testing.assert_array_equal(found["slice"], [[5, 7], [9, 11]])
    np.testing.assert_array_equal(found["repeated"], [[10, 11]] * 3)


def test_equals_what_torch_wrote(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch itself")
    state = {
        "a": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        "b": torch.arange(24.0)[3:20:5],
        "c": torch.arange(5),
        "d": torch.linspace(0, 1, 7).half(),
        "e": torch.tensor(3),
        "f": torch.zeros(0, 4),
    }
    torch.save(state, tmp_path / "a.pt")
    found = read_state_dict(tmp_path / "a.pt")
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(found[name], tensor.numpy())


@pytest.mark.parametrize(
    ("file", "count", "values"),
    [
        ("efficientat-mn04/mn04_as_mAP_432.pt", 312, 983_599),
        ("listen/LISTEN.pth", 31, None),
        ("listen/LISTEN-classifier.pth", 8, None),
    ],
)
def test_published_files(shared: Path, file: str, count: int, values: int | None) -> None:
    state = read_state_dict(shared / "weights-upstream" / file)
    assert len(state) == count
    if values:  # the paper counts what is learned
        assert values == sum(
            array.size for name, array in state.items() if "running_" not in name and array.ndim
        )


# -- tensors of a network ----------------------------------------------------------------------


def test_tensor_checks_name_shape_and_values() -> None:
    state = StateDict(a=np.ones((2, 3), np.float32), b=np.array([1, np.nan], np.float32))
    assert state.tensor("a", None, 3).dtype == np.float64
    with pytest.raises(ConversionError, match="no tensor 'c'"):
        state.tensor("c", 2)
    with pytest.raises(ConversionError, match=r"a has the shape \(2, 3\), expected \(any, 4\)"):
        state.tensor("a", None, 4)
    with pytest.raises(ConversionError, match="expected"):
        state.tensor("a", None)
    with pytest.raises(ConversionError, match="not finite"):
        state.tensor("b", 2)


# -- hostile pickles ---------------------------------------------------------------------------


class Caller:
    """Pickles into a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_that_calls_the_system_does_not(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "marker"
    program = pickle.dumps({"a": Caller(os.system, f"touch {marker}")}, protocol)
    refused(tf.write_archive(tmp_path / "a.pt", program), "Refused")
    assert not marker.exists()
    pickle.loads(program)  # the same bytes do call it where they are trusted
    assert marker.exists()


@pytest.mark.parametrize(
    "name",
    ["builtins eval", "os system", "torch._utils _rebuild_parameter", "torch load", "numpy load"],
)
def test_unknown_names_are_refused(tmp_path: Path, name: str) -> None:
    program = tf.START + b"c" + name.replace(" ", "\n").encode() + b"\n."
    refused(tf.write_archive(tmp_path / "a.pt", program), f"mentions '{name}'.*Refused")


def test_names_from_the_stack_are_refused(tmp_path: Path) -> None:
    program = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."  # STACK_GLOBAL
    refused(tf.write_archive(tmp_path / "a.pt", program), "Refused")


@pytest.mark.parametrize(
    "call",
    [
        tf.DICTIONARY + b")R",  # what a call gave is called
        b"ctorch\nFloatStorage\n)R",  # a name for storages only
        b"ccollections\nOrderedDict\n" + tf.text("a") + b"\x85R",  # a dictionary of something
        tf.text("os.system") + b")R",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        b"ctorch._utils\n_rebuild_tensor_v2\n" + tf.text("a") + b"\x85R",
    ],
)
def test_other_calls_are_refused(tmp_path: Path, call: bytes) -> None:
    program = tf.START + call + tf.STOP
    refused(tf.write_archive(tmp_path / "a.pt", program), "pickle")


def test_state_set_on_a_dictionary_is_dropped(tmp_path: Path) -> None:
    state = b"}" + tf.text("items") + tf.text("evil") + b"sb"
    program = tf.START + tf.dictionary({"a": tf.tensor(TWELVE, (12,), (1,))}) + state + tf.STOP
    found = read_state_dict(tf.write_archive(tmp_path / "a.pt", program, ONES))
    assert dict(found.items()).keys() == {"a"}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"", "damaged"),
        (b"\x80\x02", "damaged"),
        (tf.START + b"0.", "Refused"),  # POP
        (tf.START + b"R.", "damaged"),
        (tf.START + b"t.", "damaged"),
        (tf.START + b"h\x05.", "damaged"),  # a memo that nobody wrote
        (tf.START + b"\x85.", "damaged"),
        (tf.START + b"}(" + tf.text("a") + b"u.", "damaged"),  # a key without a value
        (tf.START + b"}" + tf.number(1) + tf.number(2) + b"s.", "key"),
        (tf.START + tf.text("a") + b"Q.", "wrong place"),
        (tf.START + tf.text("a") + tf.STOP, "flat dictionary"),
        (tf.START + tf.dictionary({"a": tf.number(1)}) + tf.STOP, "flat dictionary"),
        (tf.START + b"}}.", "flat dictionary"),
        (tf.START + b"X\xff\xff\xff\xffabc", "damaged"),
        (tf.START + b"X\x01\0\0\0\xff.", "damaged"),  # not UTF-8
        (tf.START + b"\x8e" + b"\xff" * 8, "Refused"),  # BINBYTES8 of 2 ** 64
        (tf.START + b"cos", "damaged"),
    ],
)
def test_damaged_pickles(tmp_path: Path, program: bytes, words: str) -> None:
    refused(tf.write_archive(tmp_path / "a.pt", program), words)


def test_a_huge_memo_index_costs_nothing(tmp_path: Path) -> None:
    program = tf.START + b"}r\xff\xff\xff\xff."
    tracemalloc.start()
    assert read_state_dict(tf.write_archive(tmp_path / "a.pt", program)) == {}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_deep_nesting_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    program = tf.START + b")" + b"\x85" * 100_000 + b"."
    refused(tf.write_archive(tmp_path / "a.pt", program), "flat dictionary")


# -- hostile storages and tensors --------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "words"),
    [
        ((13,), (1,), 0, "beyond"),
        ((3, 4), (4, 1), 1, "beyond"),
        ((2,), (12,), 0, "beyond"),
        ((1,), (1,), 12, "beyond"),
        ((2,), (-1,), 5, "counts"),
        ((-1,), (1,), 0, "counts"),
        ((2,), (1,), -1, "counts"),
        ((2,), (1, 1), 0, "unknown way"),
        ((1,) * 40, (1,) * 40, 0, "unknown way"),
        ((2**39, 2**39), (0, 0), 0, "larger"),
        ((2**50,), (0,), 0, "counts"),
        ((1 << 80,), (0,), 0, "counts"),
    ],
)
def test_tensors_stay_inside_their_storage(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, words: str
) -> None:
    program = tf.START + tf.dictionary({"a": tf.tensor(TWELVE, shape, strides, offset)}) + tf.STOP
    refused(tf.write_archive(tmp_path / "a.pt", program, ONES), words)


def test_tensors_together_stay_below_the_limit(tmp_path: Path) -> None:
    items = {str(i): tf.tensor(TWELVE, (1000, 12), (0, 1)) for i in range(30)}
    program = tf.START + tf.dictionary(items) + tf.STOP
    path = tf.write_archive(tmp_path / "a.pt", program, ONES)
    assert len(read_state_dict(path, max_bytes=30 * 48_000)) == 30
    refused(path, "larger", max_bytes=29 * 48_000)


@pytest.mark.parametrize("count", [11, 13, 2**39])
def test_a_storage_has_the_size_that_is_claimed(tmp_path: Path, count: int) -> None:
    stored = tf.tensor(tf.storage("0", count), (1,), (1,))
    program = tf.START + tf.dictionary({"a": stored}) + tf.STOP
    refused(tf.write_archive(tmp_path / "a.pt", program, ONES), "48 bytes")


@pytest.mark.parametrize("key", ["1", "../data.pkl", "/etc/hostname", ""])
def test_storages_come_from_the_archive_only(tmp_path: Path, key: str) -> None:
    stored = tf.tensor(tf.storage(key, 12), (1,), (1,))
    program = tf.START + tf.dictionary({"a": stored}) + tf.STOP
    refused(tf.write_archive(tmp_path / "a.pt", program, ONES), "There is no data/")


def test_storages_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for kind in ("Bool", "Untyped"):
        program = tf.START + tf.storage("0", 12, kind) + tf.STOP
        refused(tf.write_archive(tmp_path / "a.pt", program, ONES), "Refused")


# -- hostile archives --------------------------------------------------------------------------


def test_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(30_000_000))
    assert path.stat().st_size < 100_000
    refused(path, "30000000 bytes", max_bytes=1_000_000)


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    program = tf.START + b"}."
    path = tf.write_archive(tmp_path / "a.pt", program, compression=zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tf.write_state(tmp_path / "a.pt", {"a": np.zeros(1000)})
    refused(path, "more than the 5000 bytes", max_bytes=5000)


def test_an_entry_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = tf.write_state(tmp_path / "a.pt", {"a": np.zeros(1000)})
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02", 0, data.rindex(b"archive/data/0"))
    data[directory + 24 : directory + 28] = (8_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "8000000 bytes")


@pytest.mark.parametrize("order", [b"middle", b"", b"little" * 100])
def test_unknown_byte_order_is_refused(tmp_path: Path, order: bytes) -> None:
    path = tf.write_archive(tmp_path / "a.pt", tf.START + b"}.", extra={"byteorder": order})
    refused(path, "(?i)byte ?order")


def test_one_pickle_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", b"nothing")
    refused(path, "0 files named data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"}.")
        archive.writestr("b/data.pkl", b"}.")
    refused(path, "2 files named data.pkl")


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02}.", b"x" * 1000])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    refused(path, r"weights\.pt")
    refused(tmp_path / "absent.pt", r"absent\.pt")


def test_flipped_bits_never_raise_anything_else(tmp_path: Path, rng: Any) -> None:
    tensor = tf.tensor(TWELVE, (3, 4), (4, 1))
    program = tf.START + tf.dictionary({"a": tensor, "b": tensor}) + tf.STOP
    whole = tf.write_archive(tmp_path / "a.pt", program, ONES).read_bytes()
    refusals = 0
    for _ in range(600):
        if rng.random() < 0.5:  # inside the pickle, under a correct checksum
            changed = bytearray(program)
            changed[rng.integers(len(changed))] = rng.integers(256)
            path = tf.write_archive(tmp_path / "b.pt", bytes(changed), ONES)
        else:
            changed = bytearray(whole)
            changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
            path = tmp_path / "b.pt"
            path.write_bytes(changed)
        try:
            read_state_dict(path, max_bytes=10_000)
        except ConversionError:
            refusals += 1
    assert 120 < refusals < 600
