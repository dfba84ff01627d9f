"""Labelled stretches of sound, as the tools of bioacoustics and editors of sound read them.

=================  ==============================================================================
``raven``          Raven's selection table: tabs; times run on from file to file, as in Raven's
                   own file sequences, and ``File Offset (s)`` counts from the file's start
``audacity``       a label track: start, end and label, tabs, no header; of one file only
``kaleidoscope``   Kaleidoscope's columns and none beyond them
``csv``            plain columns whose names are names in R, too: path, start, end, label, score
=================  ==============================================================================
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from listen_embed import audio
from listen_embed.embedder import Embedder, PathLike
from listen_embed.errors import InputError
from listen_embed.heads import Classifier
from listen_embed.output import replacing

Format = Literal["raven", "audacity", "kaleidoscope", "csv", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)

_RAVEN = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)",
    "High Freq (Hz)", "Begin Path", "File Offset (s)", "Annotation", "Score",
)  # fmt: skip
_KALEIDOSCOPE = ("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH", "TOP1DIST")
_CSV = ("path", "start", "end", "label", "score")


@dataclass(frozen=True)
class Stretch:
    """A part of a sound with one label.

    Attributes
    ----------
    start, end : float
        Seconds from the beginning of the file.
    label : str
    score : float
        How likely the label is, from 0 to 1: the mean over its frames.
    """

    start: float
    end: float
    label: str
    score: float


@dataclass(frozen=True)
class Labelled:
    """A sound file with its stretches.

    Attributes
    ----------
    path : Path
    seconds : float
        Length of the file; Raven's running times need it.
    sr : int
        Its rate in Hz.
    stretches : tuple of Stretch
    """

    path: Path
    seconds: float
    sr: int
    stretches: tuple[Stretch, ...]


def label_file(
    embedder: Embedder, classifier: Classifier, path: PathLike, *, omit: Iterable[str] = ()
) -> Labelled:
    """Return what a classifier hears in a file; neighbours with one label are one stretch.

    Parameters
    ----------
    embedder : Embedder
        Of the classifier's model. A frame stands for one hop around its centre. With
        ``center=False`` no frame needs zeros before the sound, which a classifier has never heard.
    classifier : Classifier
    path : str or path
    omit : iterable of str
        Labels that are left out, such as ``"unknown"`` or the background.

    Raises
    ------
    HeadError
        The classifier was taught with another model, or nothing.
    AudioFileError
        The file cannot be read as audio.
    """
    classifier.check_model(embedder)
    seconds, sr = length(path)
    pieces = [_judged(classifier, *piece) for piece in embedder.iter_file(path) if len(piece[1])]
    labels = [label for labels, _, _ in pieces for label in labels]
    scores, times = (np.concatenate([piece[i] for piece in pieces]) for i in (1, 2))
    starts, ends = extents(embedder, times, seconds, sr)
    stretches = _merged(labels[: len(starts)], scores, starts, ends, frozenset(omit))
    return Labelled(Path(path), seconds, sr, tuple(stretches))


def write(sounds: Sequence[Labelled], target: Path, format: Format) -> None:
    """Write stretches of sounds to a file, replacing it at once when all is written.

    Parameters
    ----------
    sounds : sequence of Labelled
    target : Path
    format : {"raven", "audacity", "kaleidoscope", "csv", "jsonl"}

    Raises
    ------
    InputError
        No such format; several sounds into a label track of Audacity's.
    OutputError
        The file cannot be written.
    """
    content = as_text(sounds, format).encode()
    with replacing(target) as file:
        file.write(content)


def as_text(sounds: Sequence[Labelled], format: Format) -> str:
    """Return the same as text."""
    if format not in FORMATS:
        raise InputError(f"format is {format!r}; allowed are {', '.join(FORMATS)}")
    text = io.StringIO()
    _WRITERS[format](text, sounds)
    return text.getvalue()


def length(path: PathLike) -> tuple[float, int]:
    """Return seconds and rate, counted: headers may state the length only roughly."""
    lengths = [(len(block), sr) for block, sr in audio.read_blocks(path)]
    sr = lengths[0][1]
    return sum(n for n, _ in lengths) / sr, sr


def extents(
    embedder: Embedder, times: NDArray[np.float64], seconds: float, sr: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return starts and ends, in seconds, of what frames stand for in a sound of some seconds.

    A frame stands for one hop around its centre. Frames that zeros fill up after the sound's end
    are not heard, if there are others, and get none.
    """
    frame = embedder.spec.front_end.frame_seconds
    centres = times + (0 if embedder.center else frame / 2)
    n_heard = max(1, int(np.sum(centres + frame / 2 <= seconds + 1 / sr)))
    starts = np.clip(centres[:n_heard] - embedder.hop_size / 2, 0, seconds)
    starts[0] = 0.0
    return starts, np.append(starts[1:], seconds)


def _judged(
    classifier: Classifier, embedding: NDArray[np.float32], timestamps: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    shares = classifier.predict_proba(embedding)
    labels = [str(label) for label in classifier.predict(embedding)]
    known = {str(label): column for column, label in enumerate(classifier.labels)}
    # What is called unknown is as likely as the best label is not.
    scores = [
        row[known[label]] if label in known else 1 - row.max()
        for label, row in zip(labels, shares, strict=True)
    ]
    return labels, np.asarray(scores), timestamps


def _merged(
    labels: Sequence[str],
    scores: NDArray[np.float64],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    omit: frozenset[str],
) -> Iterator[Stretch]:
    begin = 0
    for i in range(1, len(labels) + 1):
        if i < len(labels) and labels[i] == labels[begin]:
            continue
        start, end = float(starts[begin]), float(ends[i - 1])
        if labels[begin] not in omit and end > start:
            yield Stretch(start, end, labels[begin], float(scores[begin:i].mean()))
        begin = i


def _write_raven(text: IO[str], sounds: Sequence[Labelled]) -> None:
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(_RAVEN)
    number, elapsed = 0, 0.0
    for sound in sounds:
        for stretch in sound.stretches:
            number += 1
            begin, end = _seconds(elapsed + stretch.start), _seconds(elapsed + stretch.end)
            offset, score = _seconds(stretch.start), f"{stretch.score:.4f}"
            where = (begin, end, "0.0", f"{sound.sr / 2:.1f}", sound.path, offset)
            writer.writerow((number, "Spectrogram 1", 1, *where, stretch.label, score))
        elapsed += sound.seconds


def _write_audacity(text: IO[str], sounds: Sequence[Labelled]) -> None:
    if len(sounds) != 1:
        raise InputError(f"{len(sounds)} sounds; a label track belongs to one sound, so give each "
                         "sound a file of its own")  # fmt: skip
    for stretch in sounds[0].stretches:
        label = " ".join(stretch.label.split())
        text.write(f"{_seconds(stretch.start)}\t{_seconds(stretch.end)}\t{label}\n")


def _write_kaleidoscope(text: IO[str], sounds: Sequence[Labelled]) -> None:
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_KALEIDOSCOPE)
    for sound in sounds:
        folder = sound.path.absolute().parent
        for stretch in sound.stretches:
            duration = _seconds(stretch.end - stretch.start)
            place = (folder.parent, folder.name, sound.path.name, _seconds(stretch.start))
            writer.writerow((*place, duration, stretch.label, f"{1 - stretch.score:.4f}"))


def _write_csv(text: IO[str], sounds: Sequence[Labelled]) -> None:
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV)
    for sound in sounds:
        writer.writerows(_plain(sound))


def _write_jsonl(text: IO[str], sounds: Sequence[Labelled]) -> None:
    for sound in sounds:
        for row in _plain(sound):
            text.write(json.dumps(dict(zip(_CSV, row, strict=True))) + "\n")


def _plain(sound: Labelled) -> Iterator[tuple[str | float, ...]]:
    for stretch in sound.stretches:
        times = round(stretch.start, 6), round(stretch.end, 6)
        yield (str(sound.path), *times, stretch.label, round(stretch.score, 6))


def _seconds(value: float) -> str:
    return f"{value:.6f}"


_WRITERS: dict[Format, Callable[[IO[str], Sequence[Labelled]], None]] = {
    "raven": _write_raven,
    "audacity": _write_audacity,
    "kaleidoscope": _write_kaleidoscope,
    "csv": _write_csv,
    "jsonl": _write_jsonl,
}
