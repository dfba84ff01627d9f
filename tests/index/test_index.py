"""What is found: exactly the nearest, wherever the segments end; and who is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from listen_embed.errors import IndexFileError, InputError
from listen_embed.index import Index
from listen_embed.index.index import _best

from .world import DIGEST, DIM, MODEL, build, rows


@pytest.fixture
def sounds() -> list:
    return [rows(f"sound-{i}", n=1 + i % 7) for i in range(60)]


@pytest.fixture
def folder(tmp_path: Path, sounds: list) -> Path:
    build(tmp_path / "a.idx", sounds, segment_rows=20)
    return tmp_path / "a.idx"


def truth(sounds: list, query: np.ndarray) -> list[tuple[str, float]]:
    """Every row by float32 cosine, the nearest first."""
    scored = [
        (sound.source, start, float(vector @ query / np.linalg.norm(vector)))
        for sound in sounds
        for vector, start in zip(sound.vectors, sound.starts, strict=True)
    ]
    scored.sort(key=lambda entry: -entry[2])
    return [(source, start) for source, start, _ in scored]


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_the_nearest_are_found(
    folder: Path, sounds: list, kept_bytes: int, rng: np.random.Generator
) -> None:
    index = Index(folder, kept_bytes=kept_bytes)
    assert len(index) == sum(len(sound.vectors) for sound in sounds)
    assert list(index.sources()) == [sound.source for sound in sounds]
    for _ in range(20):
        query = rng.normal(size=DIM)
        hits = index.search(3.5 * query, k=8, distinct=False)
        assert [(hit.path, hit.start) for hit in hits] == truth(sounds, query)[:8]
        assert all(a.score >= b.score for a, b in itertools.pairwise(hits))


def test_a_row_finds_itself(folder: Path, sounds: list) -> None:
    index = Index(folder)
    (hit,) = index.search(sounds[33].vectors[2], k=1)
    assert (hit.path, hit.start, hit.end) == ("sound-33", 2.0, 3.0)
    assert hit.score == pytest.approx(1, abs=1e-3)
    unit = sounds[33].vectors[2] / np.linalg.norm(sounds[33].vectors[2])
    np.testing.assert_allclose(index.vectors([hit.row])[0], unit, atol=1e-3)


def test_overlapping_hits_are_one(tmp_path: Path) -> None:
    sound = rows("a", n=9)
    near = sound.vectors[4] + 0.01 * sound.vectors
    build(tmp_path / "x", [type(sound)("a", near, sound.starts / 4, sound.starts / 4 + 1,
                                       MODEL, DIGEST), rows("b")])  # fmt: skip
    index = Index(tmp_path / "x")
    hits = index.search(sound.vectors[4], k=4)
    of_a = sorted(hit.start for hit in hits if hit.path == "a")
    assert np.all(np.diff(of_a) >= 1) and len(hits) == 4
    assert len([h for h in index.search(near[0], k=9, distinct=False) if h.path == "a"]) == 9
    assert len(index.search(near[0], k=500)) <= len(index)


@pytest.mark.parametrize("n", [3, 1_024, 5_000, 70_001])
def test_blocks_change_nothing(n: int, rng: np.random.Generator) -> None:
    scores = rng.normal(size=n).astype(np.float32)
    scores[rng.integers(n, size=n // 3)] = 2.5  # ties
    for k in (1, 2, 30):
        chosen, values = _best(scores, min(k, n))
        np.testing.assert_array_equal(values, np.sort(scores)[::-1][:k])
        np.testing.assert_array_equal(scores[chosen], values)


@pytest.mark.parametrize(
    ("vector", "why"),
    [(np.ones(3), "shape"), (np.zeros(DIM), "direction"), (np.full(DIM, np.nan), "direction")],
)
def test_what_is_no_query(folder: Path, vector: np.ndarray, why: str) -> None:
    with pytest.raises(InputError, match=why):
        Index(folder).search(vector)
    with pytest.raises(InputError, match="k is 0"):
        Index(folder).search(np.ones(DIM), k=0)


def test_another_models_embeddings_are_refused(folder: Path) -> None:
    index = Index(folder)
    index.check(MODEL, DIGEST)
    with pytest.raises(IndexFileError, match=r"made/16/up .*not of sea/64.*Use --model"):
        index.check("sea/64/general", "e" * 64)


def test_the_graph_finds_nearly_all_and_what_came_after_it(
    folder: Path, sounds: list, rng: np.random.Generator
) -> None:
    from listen_embed.index.build import Builder

    with pytest.raises(IndexFileError, match="index add --approximate"):
        Index(folder).search(np.ones(DIM), approximate=True)
    with Builder(folder, is_new=False).adding() as builder:
        builder.approximate()
    build(folder, [rows("late", n=3)], is_new=False)
    index = Index(folder)
    found = [
        {hit.row for hit in index.search(query, distinct=False, approximate=True)}
        & {hit.row for hit in index.search(query, distinct=False)}
        for query in rng.normal(size=(30, DIM))
    ]
    assert np.mean([len(rows) for rows in found]) > 9.5
    (hit,) = index.search(rows("late", n=3).vectors[1], k=1, approximate=True)
    assert (hit.path, hit.start) == ("late", 1.0)
