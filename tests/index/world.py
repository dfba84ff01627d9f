"""Indexes of made-up embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from listen_embed.index.build import Builder
from listen_embed.index.results import Rows

DIM = 16
MODEL, DIGEST = "made/16/up", "d" * 64


def rows(name: str, n: int = 5, *, seed: int | None = None, digest: str = DIGEST) -> Rows:
    """Return a sound of `n` rows, each its own second."""
    seeds = np.frombuffer(name.encode(), np.uint8) if seed is None else seed
    vectors = np.random.default_rng(seeds).normal(size=(n, DIM)).astype(np.float32)
    starts = np.arange(n, dtype=np.float64)
    return Rows(name, vectors, starts, starts + 1, MODEL, digest)


def build(folder: Path, sounds: list[Rows], *, is_new: bool = True, **options: int) -> None:
    with Builder(folder, is_new=is_new, **options).adding() as builder:
        for sound in sounds:
            builder.add(sound)
