"""Bytes on disk are not trusted: whatever is cut off, foreign or forged is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from listen_embed.errors import IndexFileError
from listen_embed.index import Index
from listen_embed.index.storage import Listing, locked

from .world import DIM, build, rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build(tmp_path / "a.idx", [rows("a", 40), rows("b", 40)])
    return tmp_path / "a.idx"


def part(folder: Path, kind: str) -> Path:
    (path,) = folder.glob(f"*.{kind}.*")
    return path


@pytest.mark.parametrize("kind", ["vectors", "places", "sources"])
@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_a_file_that_is_cut_off(folder: Path, kind: str, kept: float) -> None:
    path = part(folder, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(IndexFileError, match=path.name):
        Index(folder)


def test_a_file_that_is_missing(folder: Path) -> None:
    path = part(folder, "places")
    path.unlink()
    with pytest.raises(IndexFileError, match=rf"{path.name}: is missing.*build it anew"):
        Index(folder)


def test_arrays_of_another_shape_or_type(folder: Path) -> None:
    path = part(folder, "vectors")
    for array in (np.zeros((80, DIM + 1), np.float16), np.zeros((80, DIM), np.float32)):
        np.save(path, array)
        with pytest.raises(IndexFileError, match="instead of float16"):
            Index(folder)


def test_a_pickle_is_not_opened(folder: Path) -> None:
    np.save(part(folder, "vectors"), np.array([{}], object), allow_pickle=True)
    with pytest.raises(IndexFileError, match="damaged"):
        Index(folder)


def test_a_row_of_no_source(folder: Path) -> None:
    places = np.load(part(folder, "places"))
    places["source"][7] = 2
    np.save(part(folder, "places"), places)
    with pytest.raises(IndexFileError, match="names a source that is not there"):
        Index(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something else 1"},
        {"emb_dim": "16"},
        {"emb_dim": 10**9},
        {"segments": [{"name": "../../etc/passwd", "n_rows": 3}]},
        {"segments": [{"name": "segment-0123456789abcdef", "n_rows": -3}]},
        {"segments": 3},
        {"unknown": 1},
        {"graph": {"name": "/tmp/x", "n_rows": 1}},
        {"digest": None},
    ],
)
def test_a_forged_list(folder: Path, change: dict) -> None:
    path = folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IndexFileError, match="not an index of listen-embed"):
        Index(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff"])
def test_a_foreign_list(folder: Path, text: str) -> None:
    (folder / "index.json").write_text(text)
    with pytest.raises(IndexFileError, match="not an index of listen-embed"):
        Index(folder)


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match="index build"):
        Index(tmp_path)
    with pytest.raises(IndexFileError, match="index build"):
        Index(tmp_path / "nothing")


def test_a_graph_that_is_cut_off(folder: Path) -> None:
    from listen_embed.index.build import Builder

    with Builder(folder, is_new=False).adding() as builder:
        builder.approximate()
    (path,) = folder.glob("*.usearch")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(IndexFileError, match="damaged or cut off"):
        Index(folder).search(np.ones(DIM), approximate=True)


def test_only_one_adds_at_a_time(folder: Path) -> None:
    with locked(folder), pytest.raises(IndexFileError, match="another process"):
        build(folder, [rows("c")], is_new=False)


def test_the_list_comes_back(folder: Path) -> None:
    listing = Listing.read(folder)
    listing.write(folder)
    assert Listing.read(folder) == listing and listing.is_complete
