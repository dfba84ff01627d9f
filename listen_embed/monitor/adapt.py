"""Learn a machine from labelled clips.

In: a folder with one folder of sound files per label, as `collect` writes it. Out: a `Machine`, and
how well it tells sounds apart that it has not heard (cross-validation).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed.embedder import Embedder
from listen_embed.errors import InputError, ListenEmbedWarning
from listen_embed.heads import Anomaly, Classifier
from listen_embed.monitor.confusion import Confusion
from listen_embed.monitor.machine import UNKNOWN, Machine
from listen_embed.monitor.sources import sound_files

_N_FOLDS = 5
# Frames of one stretch overlap: they are held out together.
_STRETCH_S = 4.0


@dataclass(frozen=True)
class Examples:
    """Labelled embeddings.

    Attributes
    ----------
    embeddings : ndarray, float32 (N, D)
    labels : list of str (N,)
    stretches : ndarray, int64 (N,)
        Rows with the same number come from the same stretch of sound.
    """

    embeddings: NDArray[np.float32]
    labels: list[str]
    stretches: NDArray[np.int64]

    def folds(self) -> NDArray[np.int64]:
        """Return each row's fold; every label's stretches are dealt out in turn."""
        fold = np.zeros(len(self.labels), np.int64)
        names = np.asarray(self.labels)
        for name in sorted(set(self.labels)):
            rows = names == name
            _, order = np.unique(self.stretches[rows], return_inverse=True)
            fold[rows] = order % _N_FOLDS
        return fold


@dataclass(frozen=True)
class Adapted:
    """A machine and its cross-validation."""

    machine: Machine
    confusion: Confusion
    n_clips: int
    n_embeddings: int


def adapt(folder: Path, embedder: Embedder, *, reject: float = 0.0) -> Adapted:
    """Learn a machine from a folder of labelled clips.

    Parameters
    ----------
    folder : Path
        Holds one folder per label with sound files in it.
    embedder : Embedder
        Not centred; its hop is the step between training frames.
    reject : float
        Share of known sound that may be called "unknown", 0 to 0.5.

    Raises
    ------
    InputError
        There are fewer than two labels.
    """
    clips = find_clips(folder)
    examples = embed_clips(clips, embedder)
    every = np.ones(len(examples.labels), bool)
    machine = Machine(
        _classifier(examples, every, Classifier(embedder, reject=reject)),
        # A machine has several states: nearness to any of them is normal.
        Anomaly(embedder, kind="knn").learn(examples.embeddings, examples.stretches.tolist()),
    )
    confusion = Confusion.of(examples.labels, cross_validate(examples, reject))
    return Adapted(machine, confusion, len(clips), len(examples.labels))


def find_clips(folder: Path) -> list[tuple[str, Path]]:
    """Return (label, sound file) pairs; raise `InputError` where there are fewer than 2 labels."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; record clips with listen-embed monitor collect"
        )
    clips = [
        (labelled.name, path)
        for labelled in sorted(folder.iterdir())
        if labelled.is_dir() and not labelled.name.startswith(".") and labelled.name != UNKNOWN
        for path in sound_files(labelled)
    ]
    if len({label for label, _ in clips}) < 2:
        raise InputError(
            f"{folder}: {len(clips)} clips of fewer than two labels; "
            "give a folder that has a folder of sound files for each of two labels or more"
        )
    return clips


def embed_clips(clips: Sequence[tuple[str, Path]], embedder: Embedder) -> Examples:
    """Embed labelled clips; only frames that lie whole within a clip count, one at least."""
    rows, labels, stretches = [], [], []
    n_stretches = 0
    front_end = embedder.spec.front_end
    frame_s = front_end.frame_samples / front_end.sample_rate
    per_stretch = max(1, round(_STRETCH_S / embedder.hop_size))
    for label, path in clips:
        embedding, timestamps = _embed(path, embedder)
        seconds = _duration(path)
        whole = embedding[timestamps + frame_s <= seconds + 1e-6]
        kept = whole if len(whole) else embedding[:1]
        numbers = n_stretches + np.arange(len(kept)) // per_stretch
        n_stretches = int(numbers[-1]) + 1
        rows.append(kept)
        labels += [label] * len(kept)
        stretches.append(numbers)
    return Examples(np.concatenate(rows), labels, np.concatenate(stretches))


def _embed(path: Path, embedder: Embedder) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    with warnings.catch_warnings():
        # A machine that is off may well be silent, and clips may be short: both are meant.
        warnings.simplefilter("ignore", ListenEmbedWarning)
        return embedder.embed_file(path)


def _duration(path: Path) -> float:
    from listen_embed.audio import duration

    return duration(path)


def cross_validate(examples: Examples, reject: float) -> list[str]:
    """Return the label that each row is given by a classifier that did not learn its stretch."""
    folds, names = examples.folds(), np.asarray(examples.labels)
    given = np.full(len(names), UNKNOWN, dtype=object)
    for fold in range(_N_FOLDS):
        held, learnt = folds == fold, folds != fold
        if held.any() and len(set(names[learnt])) >= 2:
            classifier = _classifier(examples, learnt, Classifier(reject=reject))
            given[held] = classifier.predict(examples.embeddings[held])
    return [str(label) for label in given]


def _classifier(examples: Examples, rows: NDArray[np.bool_], classifier: Classifier) -> Classifier:
    labels = [label for label, wanted in zip(examples.labels, rows, strict=True) if wanted]
    return classifier.learn(examples.embeddings[rows], labels, examples.stretches[rows].tolist())
