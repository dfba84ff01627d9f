"""Archives of made-up recordings, good and bad, and what a job makes of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import soundfile

from listen_embed import Embedder
from listen_embed.bulk import inspection, listing
from listen_embed.bulk.job import settings_of
from listen_embed.bulk.manifest import Job, Settings, freeze
from listen_embed.bulk.place import place

SR = 16_000
MODEL = "logmel/128/16k"
SLOW_MODEL = "sea/32/nano"
BAD = {
    "text.wav": b"this is no sound at all, whatever its name says",
    "empty.wav": b"",
    "header.wav": b"RIFF\x00\x00\x00\x00WAVE",
}


def write_sounds(folder: Path, n: int, seconds: float = 1.0) -> None:
    """Write `n` short recordings in two folders, and four bad ones among them."""
    rng = np.random.default_rng(7)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        samples = rng.normal(0, 0.1, int(seconds * SR * (1 + i % 3))).astype(np.float32)
        soundfile.write(folder / "ab"[i % 2] / f"{i:04d}.wav", samples, SR)
    for name, content in BAD.items():
        (folder / "a" / name).write_bytes(content)
    whole = (folder / "a" / "0000.wav").read_bytes()
    (folder / "b" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "b" / "notes.txt").write_text("not looked at")


def settings(model: str = MODEL, hop_size: float = 0.5, **options: object) -> Settings:
    embedder = Embedder(model, hop_size=hop_size, center=False)
    return settings_of(embedder, model, **options)  # type: ignore[arg-type]


def planned(sounds: str, out: str, **options: object) -> Job:
    job, _, _ = freeze(out, settings(**options), listing.find([sounds]))  # type: ignore[arg-type]
    return job


def rows(job: Job) -> list[tuple[str, float, float, bytes]]:
    """Return every row of every part that is there, in an order of its own."""
    found = []
    for name in place(job.url).names("parts"):
        with place(job.url).open(f"parts/{name}") as file:
            for row in pyarrow.parquet.read_table(file).to_pylist():
                value = np.asarray(row["embedding"]).tobytes()
                found.append((row["path"], row["start"], row["end"], value))
    return sorted(found)


def row_hash(job: Job) -> str:
    """Return one hash over all rows and failures, which must be there once each."""
    found = rows(job)
    keys = Counter(row[:2] for row in found)
    assert set(keys.values()) <= {1}, "a row is doubled"
    failed = sorted((failure.path, failure.message) for failure in inspection.failures(job))
    return hashlib.sha256(repr([found, failed]).encode()).hexdigest()


def hidden(folder: Path) -> list[str]:
    """Return what was left unfinished."""
    return [str(path) for path in folder.rglob(".*") if path.is_file()]
