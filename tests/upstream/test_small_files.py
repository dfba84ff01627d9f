"""Reading whole files, but never more than was agreed."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from listen_embed.errors import ConversionError
from listen_embed.upstream import small_files


def test_plain_and_gzipped_files_read_alike(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"weights")
    (tmp_path / "zipped").write_bytes(gzip.compress(b"weights"))  # the name does not matter
    assert (
        small_files.read(tmp_path / "plain") == small_files.read(tmp_path / "zipped") == b"weights"
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_limit_is_the_last_that_passes(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(b"12345"))
    assert small_files.read(path, 5) == b"12345"
    with pytest.raises(ConversionError, match="more than 4 bytes"):
        small_files.read(path, 4)


def test_gzip_bomb_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    path = tmp_path / "bomb.h5.gz"
    path.write_bytes(gzip.compress(bytes(100_000_000), 9))
    tracemalloc.start()
    with pytest.raises(ConversionError, match="more than 1000000 bytes"):
        small_files.read(path, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("damage", ["cut", "flipped", "header"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    data = bytearray(gzip.compress(b"some weights" * 100))
    if damage == "cut":
        del data[-12:]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    else:
        data[2] = 9  # an unknown method of compression
    path = tmp_path / "weights.h5.gz"
    path.write_bytes(data)
    with pytest.raises(ConversionError, match=r"weights\.h5\.gz"):
        small_files.read(path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ConversionError, match="cannot be read"):
            small_files.read(path)
