"""Did a model of one's own pay? It is judged on recordings, beside what one would take without it.

With labels: how often a small head that was taught a few recordings of each class is right about
others. Without: how far the nearest neighbours of a clip are those that the teacher finds.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed import audio, registry
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.heads import Classifier
from listen_embed.training import timetable

OWN = "own model"
RIVAL = "sea/64/general"
_OTHERS = (RIVAL, "sea/32/nano", "logmel/128/16k")
_EXAMPLES, _DRAWS = 5, 20
_NEIGHBOURS = 5
_MOST_RECORDINGS, _CLIP_SECONDS = 600, 10.0

Floats = NDArray[np.float64]


class Known(NamedTuple):
    """What is known of a sound file: its class, and the recording that it was cut from."""

    label: str
    recording: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a model does beside others.

    Attributes
    ----------
    measure : str
        What the scores mean, in words.
    scores : mapping of str to float
        By model, the own one first; in [0, 1], larger is better.
    difference, error : float
        Own model minus `RIVAL`, and how much of that may be chance: with labels the spread from
        one draw of examples to the next, else the standard error.
    n_recordings : int
    heard : bool
        Whether the recordings were trained on; their labels never are.
    untaught : tuple of str
        Models among those beside it that it has not learnt from, where labels say which are better.
    """

    measure: str
    scores: Mapping[str, float]
    difference: float
    error: float
    n_recordings: int
    heard: bool
    untaught: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The plain conclusion."""
        if self.difference > self.error:
            return f"Your model is better than {RIVAL} here."
        if self.difference < -self.error:
            return f"Your model is no better than {RIVAL} here: {RIVAL} is ahead."
        return f"Your model is no better than {RIVAL} here: the two are level."

    @property
    def advice(self) -> str:
        """What to try next, empty where no other teacher is clearly ahead."""
        best = max(self.untaught, key=lambda name: self.scores[name], default=OWN)
        if self.scores[best] - self.scores[OWN] <= self.error:
            return ""
        return f"{best} is ahead of it and was not learnt from: add --teacher {best}."

    @property
    def basis(self) -> str:
        """What it stands on."""
        heard = "heard in training, without labels" if self.heard else "not trained on"
        return f"{self.measure}, on {self.n_recordings} recordings that were {heard}"


def judge(
    model: Path,
    teachers: Sequence[str],
    recordings: Sequence[Path],
    known: Mapping[Path, Known],
    *,
    heard: bool = True,
    progress: timetable.Shown = True,
) -> Verdict:
    """Return how a model does on recordings, beside its teachers and the shipped models.

    Parameters
    ----------
    model : Path
        A model folder.
    teachers : sequence of str
    recordings : sequence of Path
        At most 600 of them are taken, chosen evenly, and of each the first ten seconds.
    known : mapping of Path to Known
        May be empty, or hold some of them.
    heard : bool
        Whether the recordings were trained on.
    progress : bool or Timetable
        Whether to show progress bars.
    """
    names = {OWN: str(model)} | {name: name for name in (*_OTHERS, *teachers)}
    chosen = _evenly(recordings, _MOST_RECORDINGS)
    of_each = _embedded(names, chosen, progress)
    kept = [path for path in chosen if path in of_each[OWN]]
    rows = {name: np.stack([clips[path] for path in kept]) for name, clips in of_each.items()}
    picked = _usable([known.get(path) for path in kept])
    if picked:
        facts = [known[kept[i]] for i in picked]
        measured = {name: _few_shot(x[picked], facts)
                    for name, x in rows.items()}  # fmt: skip
        measure = f"balanced accuracy after up to {_EXAMPLES} recordings of each class"
        untaught = tuple(name for name in _OTHERS if name not in teachers)
        n_independent = 1  # draws share most of their recordings
    else:
        measured = {name: _agreement(x, rows[teachers[0]]) for name, x in rows.items()}
        measure = f"share of the {_NEIGHBOURS} nearest recordings that the teacher finds too"
        picked, untaught = list(range(len(kept))), ()
        n_independent = len(kept)
    ahead = measured[OWN] - measured[RIVAL]
    return Verdict(
        measure,
        {name: float(values.mean()) for name, values in measured.items()},
        float(ahead.mean()),
        float(ahead.std() / np.sqrt(n_independent)),
        len(picked),
        heard,
        untaught,
    )


def labels_of(
    recordings: Sequence[Path], file: str | os.PathLike[str] | None = None
) -> dict[Path, Known]:
    """Return what is known of recordings: from a file, else the names of their folders.

    Parameters
    ----------
    recordings : sequence of Path
    file : path, optional
        CSV with a header and the columns ``path`` and ``label``; paths as they stand, or relative
        to the file. A column ``recording`` says which files were cut from one: a model is never
        asked about a recording that it was taught a part of.

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, or names no recording.
    """
    if file is None:
        return {path: Known(path.parent.name, str(path)) for path in recordings}
    table = Path(file)
    try:
        with open(table, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        given = {
            _place(table, row["path"]): Known(row["label"], row.get("recording") or row["path"])
            for row in rows
        }
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as error:
        raise InputError(
            f"{table} cannot be read as labels ({error!r}); give a CSV whose header names the "
            "columns path and label"
        ) from error
    found = {path: given[path.resolve()] for path in recordings if path.resolve() in given}
    if not found:
        raise InputError(
            f"{table} names none of the {len(recordings)} recordings; its paths may be absolute, "
            "or relative to it"
        )
    return found


def _place(table: Path, path: str) -> Path:
    return (table.parent / path).resolve()


def _evenly(recordings: Sequence[Path], most: int) -> list[Path]:
    step = max(1.0, len(recordings) / most)
    return [recordings[int(i * step)] for i in range(min(most, len(recordings)))]


def _usable(known: Sequence[Known | None]) -> list[int]:
    """Return which rows can be judged by: of classes with two recordings, if there are two."""
    recordings: dict[str, set[str]] = {}
    for fact in known:
        if fact is not None:
            recordings.setdefault(fact.label, set()).add(fact.recording)
    classes = {label for label, found in recordings.items() if len(found) > 1}
    if len(classes) < 2:
        return []
    return [i for i, fact in enumerate(known) if fact is not None and fact.label in classes]


def _embedded(
    names: Mapping[str, str], recordings: Sequence[Path], progress: timetable.Shown
) -> dict[str, dict[Path, Floats]]:
    """Return a vector of each recording by each model: the mean of its whole frames."""
    hops = {name: registry.find(model).step_seconds or 1.0 for name, model in names.items()}
    embedders = {name: Embedder(model, hop_size=hops[name], center=False, threads=1)
                 for name, model in names.items()}  # fmt: skip
    found: dict[str, dict[Path, Floats]] = {name: {} for name in names}
    bar = timetable.bar(progress, "verdict", total=len(recordings), unit="recording")
    with bar:
        for path in recordings:
            bar.update()
            try:
                sound, sr = _beginning(path)
            except ListenEmbedError:
                continue  # decoding has told already
            for name, embedder in embedders.items():
                frames, _ = embedder.embed(sound, sr)
                spec = embedder.spec
                whole = int(len(sound) / sr / (spec.step_seconds or spec.front_end.frame_seconds))
                found[name][path] = frames[: max(1, whole)].mean(axis=0, dtype=np.float64)
    return found


def _beginning(path: Path) -> tuple[NDArray[np.float32], int]:
    blocks, rate = [], 0
    for block, rate in audio.read_blocks(path):
        blocks.append(block)
        if sum(map(len, blocks)) >= _CLIP_SECONDS * rate:
            break
    if not blocks:
        raise InputError(f"{path} is empty")
    return np.concatenate(blocks)[: int(_CLIP_SECONDS * rate)], rate


def _few_shot(x: Floats, known: Sequence[Known]) -> Floats:
    """Return the balanced accuracy of each of several draws of examples."""
    y, recordings = np.array([k.label for k in known]), np.array([k.recording for k in known])
    classes = np.unique(y)
    scores = []
    for seed in range(_DRAWS):
        rng = np.random.default_rng(seed)
        taught = np.concatenate([_examples(y == name, recordings, rng) for name in classes])
        asked = ~np.isin(recordings, recordings[taught])
        head = Classifier().learn(x[taught], y[taught].tolist())
        is_right = np.array(head.predict(x[asked])) == y[asked]
        scores.append(np.mean([is_right[y[asked] == name].mean() for name in np.unique(y[asked])]))
    return np.array(scores)


def _examples(
    is_member: NDArray[np.bool_], recordings: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return a row each of some recordings of a class; one recording is left to be asked about."""
    rows = rng.permutation(np.flatnonzero(is_member))
    _, first = np.unique(recordings[rows], return_index=True)
    chosen: NDArray[np.int64] = rows[np.sort(first)][: min(_EXAMPLES, len(first) - 1)]
    return chosen


def _agreement(x: Floats, teacher: Floats) -> Floats:
    """Return for each row the share of its nearest neighbours that are the teacher's too."""
    ours, theirs = _neighbours(x), _neighbours(teacher)
    return np.array([np.isin(a, b).mean() for a, b in zip(ours, theirs, strict=True)])


def _neighbours(x: Floats) -> NDArray[np.int64]:
    """Return the nearest other rows of each row, by the cosine around the mean."""
    centred = x - x.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    n = min(_NEIGHBOURS, len(x) - 1)
    nearest: NDArray[np.int64] = np.argsort(-cosine, axis=1, kind="stable")[:, :n]
    return nearest
