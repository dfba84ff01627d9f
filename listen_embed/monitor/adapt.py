"""Learn a machine from labelled clips.

In: a folder with one folder of sound files per label, as `collect` writes it. Out: a `Machine`, how
well it tells sounds apart that it has not heard (cross-validation), and how often normal sound of
another recording would raise an alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.heads import Anomaly, Classifier
from listen_embed.monitor.calibration import MIN_RECORDINGS, Tail, furthest
from listen_embed.monitor.confusion import Confusion
from listen_embed.monitor.debounce import DebounceRules
from listen_embed.monitor.examples import Examples, embed_clips
from listen_embed.monitor.machine import UNKNOWN, Machine
from listen_embed.monitor.profile import EmbeddingMap, Level, Profile
from listen_embed.monitor.sources import sound_files

_N_FOLDS = 5
_DEBOUNCE_S = 1.0
# So much normal sound must be held out before the limit is believed without a warning.
_ENOUGH_H = 10 / 60


@dataclass(frozen=True)
class Adapted:
    """A machine, its cross-validation, and what should be known about it."""

    machine: Machine
    confusion: Confusion
    n_clips: int
    n_embeddings: int
    warnings: tuple[str, ...]


def adapt(folder: Path, embedder: Embedder, *, reject: float = 0.0) -> Adapted:
    """Learn a machine from a folder of labelled clips; a bad clip is named and left out.

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
    examples, bad = embed_clips(clips, embedder)
    if len(set(examples.labels)) < 2:
        raise InputError(f"{folder}: fewer than two labels have clips that can be read: {bad[0]}")
    adapted = learn(examples, embedder, reject=reject)
    said = tuple(f"left out: {error}" for error in bad) + adapted.warnings
    n_clips = len(clips) - len(bad)
    return Adapted(adapted.machine, adapted.confusion, n_clips, len(examples), said)


def learn(
    examples: Examples,
    embedder: Embedder,
    *,
    reject: float = 0.0,
    drawn: EmbeddingMap | None = None,
) -> Adapted:
    """Learn a machine from embeddings of an embedder; `drawn` is a map whose plane shall stay."""
    every = np.ones(len(examples), bool)
    tail = calibrate(examples)
    profile = Profile(
        rate=examples.rate,
        limit=tail.distance() if tail else 0.0,
        tail=tail,
        levels=_levels(examples),
        embedding_map=_draw(examples, drawn),
    )
    machine = Machine(
        _teach_classifier(examples, every, Classifier(embedder, reject=reject)),
        # A machine has several states: nearness to any of them is normal.
        _teach_anomaly(examples, every, Anomaly(embedder, kind="knn")),
        profile,
        examples,
    )
    confusion = Confusion.of(examples.labels, cross_validate(examples, reject))
    said = tuple(_warnings(examples, tail))
    n_clips = len(np.unique(examples.recordings))
    return Adapted(machine, confusion, n_clips, len(examples), said)


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


def cross_validate(examples: Examples, reject: float) -> list[str]:
    """Return the label that each row is given by a classifier that did not learn its stretch."""
    folds, names = examples.folds(), np.asarray(examples.labels)
    given = np.full(len(names), UNKNOWN, dtype=object)
    for held, learnt in _held_out(folds):
        if len(set(names[learnt])) >= 2:
            classifier = _teach_classifier(examples, learnt, Classifier(reject=reject))
            given[held] = classifier.predict(examples.embeddings[held])
    return [str(label) for label in given]


def calibrate(examples: Examples) -> Tail | None:
    """Return how far sound gets that was not learnt, None where too little can be held out.

    Whole recordings are held out; where a label has only one, stretches of it are.
    """
    units, reached, seconds = examples.units(), [], 0.0
    rules = DebounceRules.over(_DEBOUNCE_S, examples.frame_s, examples.hop_s, 1.0)
    for held, learnt in _held_out(examples.unit_folds()):
        if learnt.sum() < _MIN_ROWS or len(np.unique(units[learnt])) < 2:
            return None
        head = _teach_anomaly(examples, learnt, Anomaly(kind="knn"))
        scores = head.score(examples.embeddings)
        for unit in np.unique(units[held]):
            rows = scores[units == unit]
            reached.append(furthest(rows, rules.window, rules.votes))
            seconds += examples.frame_s + (len(rows) - 1) * examples.hop_s
    return Tail.fit(reached, seconds / 3600) if len(reached) >= MIN_RECORDINGS else None


# What an anomaly head needs before it scores, `Anomaly`'s min_count.
_MIN_ROWS = 20


def _held_out(folds: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield which rows are held out and which are learnt, fold by fold."""
    for fold in range(_N_FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            yield held, ~held


def _teach_classifier(
    examples: Examples, rows: NDArray[np.bool_], classifier: Classifier
) -> Classifier:
    labels = [label for label, wanted in zip(examples.labels, rows, strict=True) if wanted]
    return classifier.learn(examples.embeddings[rows], labels, examples.stretches[rows].tolist())


def _teach_anomaly(examples: Examples, rows: NDArray[np.bool_], head: Anomaly) -> Anomaly:
    return head.learn(examples.embeddings[rows], examples.units()[rows].tolist())


def _draw(examples: Examples, drawn: EmbeddingMap | None) -> EmbeddingMap:
    if drawn is None:
        return EmbeddingMap.fit(examples.embeddings, examples.labels)
    return drawn.with_places(examples.embeddings, examples.labels)


def _levels(examples: Examples) -> dict[str, Level]:
    names = np.asarray(examples.labels)
    ranges = {
        name: np.percentile(examples.levels_db[names == name], [5, 95])
        for name in sorted(set(examples.labels))
    }
    return {name: Level(float(low), float(high)) for name, (low, high) in ranges.items()}


def _warnings(examples: Examples, tail: Tail | None) -> Iterator[str]:
    for label in sorted(set(examples.labels)):
        if (n := examples.recordings_of(label)) < 2:
            yield (
                f"{label} has {n} recording: nobody can tell how it sounds another time; "
                "record it again, on another day at best"
            )
    if tail is None:
        yield (
            "too little can be held out to know how often normal sound raises an alarm; "
            f"record {MIN_RECORDINGS} clips or more"
        )
    elif tail.hours < _ENOUGH_H:
        yield (
            f"only {60 * tail.hours:.1f} minutes of normal sound were held out: alone they prove "
            f"no less than {tail.proven_per_hour:.0f} false alarms an hour; "
            f"the limit rests on an extrapolation. {60 * _ENOUGH_H:.0f} minutes are better"
        )
