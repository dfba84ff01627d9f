"""Three kinds of made-up sound that any base tells apart, as labelled folders and CSVs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

SR = 16_000
KINDS = ("hum", "hiss", "beeps")


def sound(kind: str, seed: int, seconds: float = 1.2) -> NDArray[np.float32]:
    """Return one example of a kind, like no other."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    time = np.arange(round(seconds * SR)) / SR
    faint = 0.003 * rng.standard_normal(len(time))
    if kind == "hum":
        tones = sum(np.sin(2 * np.pi * k * rng.uniform(90, 130) * time) / k for k in range(1, 6))
        return (0.1 * tones + faint).astype(np.float32)
    if kind == "hiss":
        return (rng.uniform(0.05, 0.15) * rng.standard_normal(len(time))).astype(np.float32)
    beep = np.sin(2 * np.pi * rng.uniform(1500, 2500) * time) * (time % 0.25 < 0.1)
    return (0.2 * beep + faint).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32]) -> Path:
    """Write a sound file, its folders with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SR)
    return path


def folder_of(place: Path, n: int = 6, seconds: float = 1.2) -> Path:
    """Write a folder with a folder for each kind, `n` clips in each."""
    for kind in KINDS:
        for i in range(n):
            write(place / kind / f"{i}.wav", sound(kind, i, seconds))
    return place


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write a CSV of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def mixed_table(place: Path, n: int = 12) -> Path:
    """Write clips with one or two kinds in each, and their CSV with labels by ``;``."""
    rows: list[dict[str, object]] = []
    for i in range(n):
        for j, pair in enumerate((KINDS[:2], KINDS[1:], KINDS[:1], KINDS[2:])):
            both = sum(sound(kind, 10 * i + j) for kind in pair)
            write(place / f"{i}-{j}.wav", np.asarray(both, np.float32))
            rows.append({"path": f"{i}-{j}.wav", "label": ";".join(pair)})
    return table(place / "labels.csv", rows)
