"""An .npz from anywhere: its arrays, or an error before they take memory."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from listen_embed import npz

LIMIT = 1 << 20


def test_numbers_and_texts_come_back(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6).reshape(2, 3),
        "b": np.asfortranarray(np.eye(3)),
        "c": np.array("x"),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = npz.read(tmp_path / "x.npz", LIMIT)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.zeros(LIMIT // 8 + 1)},
        {f"a{number}": np.zeros(1) for number in range(65)},
        {"a": np.array([None])},
        {"a": np.zeros(3, complex)},
    ],
)
def test_what_is_too_much_or_no_number_is_refused(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=r"too large|not what it should be"):
        npz.read(tmp_path / "x.npz", LIMIT)


def test_a_bomb_that_lies_about_its_size_unpacks_to_what_it_says(tmp_path: Path) -> None:
    """64 MB of zeros, of which the directory and the entry admit 200 bytes."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(64 << 20))
    content = path.read_bytes()
    told, lie = struct.pack("<I", 64 << 20), struct.pack("<I", 200)
    assert content.count(told) == 2
    path.write_bytes(content.replace(told, lie))
    tracemalloc.start()
    with pytest.raises((zipfile.BadZipFile, ValueError)):
        npz.read(path, LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
