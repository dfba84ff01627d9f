"""How good are the embeddings? Frozen features, a linear probe, real recordings, log-mel statistics beside.

    python benchmarks/probe.py DATA [--models NAME ...] [--out docs] [--cache FOLDER]

DATA is a folder with ``esc50-16k``, ``us8k-part``, ``cnc-onsite`` and ``uav-propeller`` (docs/DATA.md says where
they come from, and their licences). No shipped model was trained on any of them. A clip's embedding is the
mean (or the mean and the standard deviation) of its one-second frames; the probe is logistic regression on
standardised features, its regularisation chosen inside the training folds.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

import listen_embed
from listen_embed import audio

Array = NDArray[np.float32]
STRENGTHS = (0.003, 0.03, 0.3, 3.0)
MACHINE_NOISE = ("air_conditioner", "drilling", "engine_idling", "jackhammer")
N_DRAWS = 5


@dataclass(frozen=True)
class Clips:
    """Embedded clips: one row each, and what the data set says about them."""

    mean: Array
    mean_std: Array
    rows: list[dict[str, str]]

    def column(self, name: str) -> NDArray[np.str_]:
        """Return one column of meta.csv."""
        return np.array([row[name] for row in self.rows])


class Embeddings:
    """A model's embeddings of data sets, computed once and kept on disk."""

    def __init__(self, data: Path, model: str, cache: Path) -> None:
        self.data = data
        self.embedder = listen_embed.Embedder(model, hop_size=1.0, center=False)
        self.name = self.embedder.spec.name
        self._cache = cache

    def of(self, dataset: str, prepare: Callable[..., Array] | None = None, tag: str = "") -> Clips:
        """Return a data set's clips; `prepare` changes the sound first and `tag` names that change."""
        rows = read_meta(self.data / dataset)
        key = hashlib.sha256(f"{self.embedder.digest} {dataset} {tag}".encode()).hexdigest()[:24]
        path = self._cache / f"{key}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, self._compute(dataset, rows, prepare, tag))
        both = np.load(path)
        return Clips(both[:, : both.shape[1] // 2], both, rows)

    def _compute(
        self, dataset: str, rows: list[dict[str, str]], prepare: Callable[..., Array] | None, tag: str
    ) -> Array:
        pooled = []
        for index, row in enumerate(tqdm(rows, f"{self.name} {dataset} {tag}", leave=False)):
            sound, sr = load(self.data / dataset / row["path"])
            frames, _ = self.embedder.embed(prepare(sound, sr, index) if prepare else sound, sr)
            n_whole = max(1, int(len(sound) / sr / self.embedder.spec.front_end.frame_seconds))
            frames = frames[:n_whole]  # the last, mostly padded frame would blur steady sounds
            pooled.append(np.concatenate([frames.mean(0), frames.std(0)]))
        return np.stack(pooled)


def read_meta(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a data set's meta.csv."""
    with open(folder / "meta.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(path: Path) -> tuple[Array, int]:
    """Return a clip as mono float32, and its rate."""
    blocks = list(audio.read_blocks(path))
    return np.concatenate([block for block, _ in blocks]), blocks[0][1]


def probe(strength: float) -> Pipeline:
    """Return the linear probe."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200, tol=1e-3))


def best_strength(x: Array, y: NDArray[np.str_], groups: NDArray[np.str_]) -> float:
    """Choose the regularisation on one group held out of the training data."""
    inner = groups == np.unique(groups)[0]
    scores = {c: probe(c).fit(x[~inner], y[~inner]).score(x[inner], y[inner]) for c in STRENGTHS}
    return max(scores, key=lambda c: (scores[c], -c))


def across_folds(x: Array, y: NDArray[np.str_], folds: NDArray[np.str_]) -> float:
    """Return the mean accuracy over official folds."""
    scores = []
    for fold in np.unique(folds):
        test = folds == fold
        strength = 0.03
        if len(np.unique(folds[~test])) > 1:
            strength = best_strength(x[~test], y[~test], folds[~test])
        scores.append(probe(strength).fit(x[~test], y[~test]).score(x[test], y[test]))
    return float(np.mean(scores))


def few_shot(clips: Clips, n_clips: int) -> float:
    """Return the macro-F1 on cnc-onsite's test clips from `n_clips` a class, mean of five draws."""
    y, is_train = clips.column("label"), clips.column("split") == "train"
    test = ~is_train
    scores = []
    for draw in range(1 if n_clips == 20 else N_DRAWS):
        rng = np.random.default_rng(draw)
        chosen = np.concatenate(
            [rng.permutation(np.flatnonzero(is_train & (y == label)))[:n_clips] for label in np.unique(y)]
        )
        fitted = probe(1.0).fit(clips.mean[chosen], y[chosen])
        scores.append(f1_score(y[test], fitted.predict(clips.mean[test]), average="macro"))
    return float(np.mean(scores))


def anomaly_auc(clips: Clips) -> float:
    """Return the AUC of the distance to the nearest normal training clip (1-NN, standardised)."""
    is_train = clips.column("split") == "train"
    scaler = StandardScaler().fit(clips.mean[is_train])
    normal, test = scaler.transform(clips.mean[is_train]), scaler.transform(clips.mean[~is_train])
    distance = np.linalg.norm(test[:, None] - normal[None], axis=2).min(axis=1)
    return float(roc_auc_score(clips.column("label")[~is_train] == "anomaly", distance))


class Noise:
    """Machine noise of us8k-part, mixed into a level-normalised clip at a signal-to-noise ratio."""

    def __init__(self, data: Path, snr_db: float | None) -> None:
        self._folder = data / "us8k-part"
        self._paths = sorted(
            row["path"] for row in read_meta(self._folder) if row["label"] in MACHINE_NOISE
        )
        self._snr_db = snr_db

    def __call__(self, sound: Array, sr: int, index: int) -> Array:
        """Return the clip, its RMS set to 0.1, with the noise that its index draws."""
        level = sound * np.float32(0.1 / (np.sqrt(np.mean(sound**2)) + 1e-9))
        if self._snr_db is None:
            return level
        rng = np.random.default_rng(index)
        noise, noise_sr = load(self._folder / self._paths[rng.integers(len(self._paths))])
        assert noise_sr == sr, "both sets are at 16 kHz"
        noise = np.roll(np.resize(noise, len(sound)), int(rng.integers(len(sound))))
        noise *= np.float32(0.1 / (np.sqrt(np.mean(noise**2)) + 1e-9))
        return level + noise * np.float32(10 ** (-self._snr_db / 20))


def general_scores(model: Embeddings) -> dict[str, float]:
    """Return the scores on everyday sounds."""
    esc = model.of("esc50-16k")
    label, fold = esc.column("label"), esc.column("fold")
    in_esc10 = esc.column("esc10") == "1"
    us8k = model.of("us8k-part")
    return {
        "ESC-50": across_folds(esc.mean, label, fold),
        "ESC-50 mean+std": across_folds(esc.mean_std, label, fold),
        "ESC-10": across_folds(esc.mean[in_esc10], label[in_esc10], fold[in_esc10]),
        "US8K 1<->3": across_folds(us8k.mean, us8k.column("label"), us8k.column("fold")),
    }


def machine_scores(model: Embeddings) -> dict[str, float]:
    """Return the scores on machines."""
    cnc = model.of("cnc-onsite")
    scores = {f"CNC {k} clips": few_shot(cnc, k) for k in (1, 5, 20)}
    for name, snr_db in (("clean", None), ("0 dB", 0.0), ("-10 dB", -10.0)):
        uav = model.of("uav-propeller", Noise(model.data, snr_db), f"noise {name}")
        config = across_folds(uav.mean, uav.column("config"), uav.column("fold"))
        scores[f"UAV config {name}"] = config
        scores[f"UAV AUC {name}"] = anomaly_auc(uav)
    return scores
