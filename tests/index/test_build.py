"""Making and adding: interrupted at any point, while others search, twice the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from listen_embed.errors import IndexFileError
from listen_embed.index import Index
from listen_embed.index.build import Builder

from .world import build, rows

# Children of a process of its own: this one may have threads, which a fork would leave behind.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def facts(folder: Path) -> list[tuple[str, float, bytes]]:
    """All rows, in an order that does not depend on how they came in."""
    index = Index(folder)
    vectors = index.vectors(range(len(index)))
    hits = [index._hit(row, 0.0) for row in range(len(index))]
    return sorted((hit.path, hit.start, v.tobytes()) for hit, v in zip(hits, vectors, strict=True))


def test_segments_are_merged_and_nothing_changes(tmp_path: Path) -> None:
    sounds = [rows(f"s{i}", n=9) for i in range(40)]
    build(tmp_path / "one", sounds)
    build(tmp_path / "many", sounds, segment_rows=10)
    assert facts(tmp_path / "one") == facts(tmp_path / "many")
    n_segments = len(list((tmp_path / "many").glob("*.vectors.npy")))
    assert 1 <= n_segments <= 7, "a handful, growing with the logarithm of the rows"


def test_a_sound_is_added_once(tmp_path: Path) -> None:
    build(tmp_path / "x", [rows("a"), rows("b")])
    with Builder(tmp_path / "x", is_new=False).adding() as builder:
        assert [builder.add(rows(name)) for name in ("a", "c", "c")] == [False, True, False]
    assert builder.n_skipped == 2
    assert list(Index(tmp_path / "x").sources()) == ["a", "b", "c"]


def test_another_models_rows_are_refused(tmp_path: Path) -> None:
    build(tmp_path / "x", [rows("a")])
    with pytest.raises(IndexFileError, match=r"b: embedded by .*build another index"):
        build(tmp_path / "x", [rows("b", digest="e" * 64)], is_new=False)


def test_building_goes_on_after_an_error(tmp_path: Path) -> None:
    sounds = [rows(f"s{i}", n=9) for i in range(20)]

    def failing() -> None:
        with Builder(tmp_path / "x", is_new=True, segment_rows=30).adding() as builder:
            for i, sound in enumerate(sounds):
                if i == 13:
                    raise RuntimeError("power cut")
                builder.add(sound)

    with pytest.raises(RuntimeError):
        failing()
    assert len(Index(tmp_path / "x")) == 108, "what was written is there, and can be searched"
    build(tmp_path / "x", sounds)
    build(tmp_path / "undisturbed", sounds)
    assert facts(tmp_path / "x") == facts(tmp_path / "undisturbed")
    with pytest.raises(IndexFileError, match="complete index; add to it"):
        build(tmp_path / "x", sounds)


def _keep_building(folder: Path) -> None:
    build(folder, [rows(f"s{i}", n=9) for i in range(300)], segment_rows=30)


@pytest.mark.parametrize("seed", range(4))
def test_killed_while_building(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(3):
        process = PROCESSES.Process(target=_keep_building, args=(tmp_path / "x",))
        process.start()
        time.sleep(rng.uniform(0.005, 0.15))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        if _is_complete(tmp_path / "x"):
            break
    else:
        _keep_building(tmp_path / "x")
    _keep_building(tmp_path / "undisturbed")
    assert facts(tmp_path / "x") == facts(tmp_path / "undisturbed")
    hidden = [p.name for p in (tmp_path / "x").iterdir() if p.name.startswith(".listen")]
    assert not hidden, "what a kill left behind is swept"


def _is_complete(folder: Path) -> bool:
    from listen_embed.index.storage import Listing

    return (folder / "index.json").exists() and Listing.read(folder).is_complete


def _keep_adding(folder: Path, n: int) -> None:
    for i in range(n):
        build(folder, [rows(f"later-{i}", n=9)], is_new=False)


def test_searching_while_another_process_adds(tmp_path: Path) -> None:
    """Every look at the index is whole: the first sounds are always found, and it only grows."""
    folder = tmp_path / "x"
    build(folder, [rows(f"s{i}", n=9) for i in range(20)])
    opened = Index(folder)
    process = PROCESSES.Process(target=_keep_adding, args=(folder, 40))
    process.start()
    n_before = n_looks = 0
    while process.is_alive():
        index = Index(folder)
        assert len(index) >= n_before
        n_before, n_looks = len(index), n_looks + 1
        (hit,) = index.search(rows("s7", n=9).vectors[3], k=1)
        assert (hit.path, hit.start) == ("s7", 3.0)
    process.join()
    assert process.exitcode == 0 and n_looks > 1
    assert len(Index(folder)) == (20 + 40) * 9
    assert len(opened) == 180 and opened.search(rows("s7", n=9).vectors[3], k=1)[0].path == "s7"


def test_other_folders_and_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(IndexFileError, match="holds other files"):
        build(tmp_path, [rows("a")])
    with pytest.raises(IndexFileError, match="is a file"):
        build(tmp_path / "notes.txt", [rows("a")])
    with pytest.raises(IndexFileError, match="no index to add to"):
        build(tmp_path / "none", [rows("a")], is_new=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_zeros_are_like_nothing(tmp_path: Path) -> None:
    silent = rows("silent", n=2)
    silent.vectors[:] = 0
    build(tmp_path / "x", [silent, rows("a")])
    hits = Index(tmp_path / "x").search(rows("a").vectors[0], k=7)
    assert hits[0].path == "a"
    assert [hit.score for hit in hits if hit.path == "silent"] == [0, 0]
