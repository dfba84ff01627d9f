"""Labelled clips: a folder with a folder for each class, or a CSV.

=========  ========================================================================================
folder     ``LABELLED/dog/a.wav``: the folder below LABELLED is the label, at any depth
CSV        columns ``path`` (beside the CSV, or absolute) and ``label``, several labels by ``;``;
           optionally ``start`` and ``end`` in seconds, ``fold`` or ``split`` (train, valid, test),
           and ``group``: clips of one recording, which are never torn apart
=========  ========================================================================================
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed import audio
from listen_embed.errors import AudioFileError, InputError, ListenEmbedError, blame, listed, warn
from listen_embed.finder import sounds_in

_COLUMNS = ("path", "label", "start", "end", "fold", "split", "group")
_SPLITS = ("train", "valid", "test")
_SEPARATOR = ";"
_MAX_LABEL = 200
_MAX_CSV_BYTES = 256_000_000


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A sound file, or a stretch of one, and what is heard in it.

    Attributes
    ----------
    path : Path
    labels : tuple of str
        Sorted; one in a single-label set, possibly none in a multi-label one.
    start, end : float
        Seconds in the file; infinite `end` is the file's own.
    fold, split, group : str
        As given; empty where they are not.
    """

    path: Path
    labels: tuple[str, ...]
    start: float = 0.0
    end: float = math.inf
    fold: str = ""
    split: str = ""
    group: str = ""

    def __str__(self) -> str:
        stretch = f" [{self.start:g}, {self.end:g}] s" if self.start or self.end < math.inf else ""
        return f"{self.path}{stretch}"

    @property
    def stretch(self) -> tuple[Path, float, float]:
        """What of which file is meant."""
        return self.path, self.start, self.end

    def load(self) -> tuple[NDArray[np.float32], int]:
        """Return the clip's samples, mono float32 (n,), and their rate.

        Raises
        ------
        AudioFileError
            It cannot be read, or the file ends before it starts.
        """
        blocks = list(audio.read_blocks(self.path))
        sr = blocks[0][1]
        mono = np.concatenate([block for block, _ in blocks])
        end = len(mono) if math.isinf(self.end) else round(self.end * sr)
        cut = mono[round(self.start * sr) : end]
        if not len(cut):
            raise AudioFileError(f"{self}: the file has {len(mono) / sr:.3f} s, nothing is left")
        return cut, sr


@dataclass(frozen=True, slots=True)
class LabelledClips:
    """A set of labelled clips, checked.

    Attributes
    ----------
    clips : tuple of LabelledClip
    labels : tuple of str
        All labels, sorted: the columns of `targets`.
    is_multi : bool
        Whether a clip may have several labels, or none.
    """

    clips: tuple[LabelledClip, ...]
    labels: tuple[str, ...]
    is_multi: bool

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def targets(self) -> NDArray[np.float32]:
        """1 where a clip (row) has a label (column), float32 (N, C)."""
        columns = {label: i for i, label in enumerate(self.labels)}
        found = np.zeros((len(self.clips), len(self.labels)), np.float32)
        for row, clip in zip(found, self.clips, strict=True):
            row[[columns[label] for label in clip.labels]] = 1
        return found

    @property
    def groups(self) -> NDArray[np.intp]:
        """Return a number for each clip; equal ones belong together."""
        names = [clip.group or str(clip.path) for clip in self.clips]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return np.array([numbers[name] for name in names], np.intp)

    def digest(self) -> str:
        """Return a name of this set: other clips, labels or parts give another."""
        text = repr([(str(c.path), c.labels, c.start, c.end, c.fold, c.split, c.group)
                     for c in self.clips])  # fmt: skip
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def read_labelled(
    source: str | os.PathLike[str] | Iterable[LabelledClip], *, multi: bool | None = None
) -> LabelledClips:
    """Return the labelled clips of a folder or a CSV; see the module's own text.

    Parameters
    ----------
    source : path, or iterable of LabelledClip
    multi : bool, optional
        Whether clips may have several labels; None: whether some clip has several, or none.

    Raises
    ------
    InputError
        Fewer than two labels, a label of one clip, the same sound under two labels, or a CSV that
        is not as above.
    AudioFileError
        Files that do not exist or cannot be read: all of them are named.

    Warns
    -----
    ListenEmbedWarning
        Groups that straddle folds or splits; they are named.
    """
    clips = _found(source)
    if multi is None:
        multi = any(len(clip.labels) != 1 for clip in clips)
    clips = _without_doubles(clips, multi)
    _check_labels(clips, multi)
    _check_readable(clips)
    clips = _grouped_by_content(clips, multi)
    _warn_of_leaks(clips)
    labels = sorted({label for clip in clips for label in clip.labels})
    return LabelledClips(tuple(clips), tuple(labels), multi)


def _found(source: str | os.PathLike[str] | Iterable[LabelledClip]) -> list[LabelledClip]:
    if not isinstance(source, str | os.PathLike):
        return [_checked(clip) for clip in source]
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return _in_csv(path)
    raise InputError(f"{path} does not exist; give a folder with a folder per class, or a CSV")


def _checked(clip: LabelledClip) -> LabelledClip:
    """Return a clip as a CSV would give it."""
    if not 0 <= clip.start < clip.end:
        raise InputError(f"{clip}: start {clip.start:g} and end {clip.end:g}; allowed is "
                         "0 <= start < end")  # fmt: skip
    labels = {as_label(label, str(clip)) for label in clip.labels}
    return dataclasses.replace(clip, labels=tuple(sorted(labels)))


def _in_folder(folder: Path) -> list[LabelledClip]:
    clips = [
        LabelledClip(sound.path, (as_label(sound.below.parts[0], str(sound.path)),))
        for sound in sounds_in(folder)
        if len(sound.below.parts) > 1
    ]
    if not clips:
        raise InputError(
            f"{folder}: holds no folders of sounds; give a folder with a folder per class, or a CSV"
        )
    return clips


def _in_csv(path: Path) -> list[LabelledClip]:
    if path.stat().st_size > _MAX_CSV_BYTES:
        raise InputError(f"{path}: larger than {_MAX_CSV_BYTES} bytes; split it")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames)
            clips = [_of_row(row, path.parent, f"{path}, line {reader.line_num}") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8 ({error})") from error
    if not clips:
        raise InputError(f"{path}: has no rows")
    return clips


def _check_columns(path: Path, names: Iterable[str] | None) -> None:
    given = set(names or ())
    if not {"path", "label"} <= given:
        found = ", ".join(sorted(given)) or "nothing"
        raise InputError(
            f"{path}: its first line must name the columns path and label (and may name "
            f"{', '.join(_COLUMNS[2:])}); it has: {found}"
        )


def _of_row(row: Mapping[str, str | None], folder: Path, where: str) -> LabelledClip:
    facts = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    if not facts["path"]:
        raise InputError(f"{where}: path is empty")
    parts = [part for part in facts["label"].split(_SEPARATOR) if part.strip()]
    start, end = _seconds(facts["start"], 0.0, where), _seconds(facts["end"], math.inf, where)
    if not 0 <= start < end:
        raise InputError(f"{where}: start {start:g} and end {end:g}; allowed is 0 <= start < end")
    split = facts["split"].lower()
    if split not in ("", *_SPLITS):
        raise InputError(f"{where}: split is {split!r}; allowed are {', '.join(_SPLITS)}")
    return LabelledClip(
        folder / facts["path"],
        tuple(sorted({as_label(part, where) for part in parts})),
        start, end, facts["fold"], split, facts["group"],
    )  # fmt: skip


def _seconds(text: str, default: float, where: str) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        raise InputError(f"{where}: {text!r} is no number of seconds") from None


def as_label(text: str, where: str) -> str:
    """Return a label with its spaces trimmed; letters of any script are welcome.

    Raises
    ------
    InputError
        It is empty, long, or has characters that are not printed.
    """
    label = unicodedata.normalize("NFC", text).strip()
    if not label or len(label) > _MAX_LABEL or not label.isprintable() or _SEPARATOR in label:
        raise InputError(
            f"{where}: the label {text!r} is not allowed: a label has 1 to {_MAX_LABEL} printable "
            f"characters and no {_SEPARATOR!r}; rename it"
        )
    return label


def _without_doubles(clips: list[LabelledClip], multi: bool) -> list[LabelledClip]:
    """Return clips with each stretch once: its labels joined, or refused where they differ."""
    by_stretch: dict[tuple[Path, float, float], list[LabelledClip]] = defaultdict(list)
    for clip in clips:
        by_stretch[clip.stretch].append(clip)
    joined = []
    for same in by_stretch.values():
        labels = tuple(sorted({label for clip in same for label in clip.labels}))
        if len(labels) > 1 and not multi:
            raise _two_labels([(str(same[0]), label) for label in labels])
        first = same[0]
        joined.append(LabelledClip(first.path, labels, first.start, first.end, first.fold,
                                   first.split, first.group))  # fmt: skip
    return joined


def _two_labels(found: list[tuple[str, str]]) -> InputError:
    places = "; ".join(f"{path} as {label!r}" for path, label in found)
    return InputError(
        f"the same sound stands under two labels: {places}. Keep one; if both are heard, give a "
        "CSV whose label is 'one;other'"
    )


def _check_labels(clips: list[LabelledClip], multi: bool) -> None:
    counts = Counter(label for clip in clips for label in clip.labels)
    if len(counts) < (1 if multi else 2):
        raise InputError(f"the labels are {sorted(counts)}; a classifier needs at least two")
    if single := sorted(label for label, n in counts.items() if n == 1):
        raise InputError(
            f"one clip each have: {listed(single)}. A class needs two at least, one to learn from "
            "and one to be measured by; record more, or leave these out"
        )


def _check_readable(clips: list[LabelledClip]) -> None:
    last = {clip.path: clip for clip in sorted(clips, key=lambda clip: clip.start)}
    problems = []
    for path in dict.fromkeys(clip.path for clip in clips):
        try:
            if (seconds := audio.duration(path)) <= last[path].start:
                problems.append(f"{last[path]}: the file has {seconds:.3f} s")
        except ListenEmbedError as error:
            problems.append(blame(path, error))
    if problems:
        raise AudioFileError(
            f"{len(problems)} files cannot be read; repair them or leave them out:\n  "
            + listed(problems).replace(", ", "\n  ")
        )


def _grouped_by_content(clips: list[LabelledClip], multi: bool) -> list[LabelledClip]:
    """Put copies of one file into one group; refuse them under two labels."""
    by_digest: dict[str, list[LabelledClip]] = defaultdict(list)
    for clip in clips:
        if math.isinf(clip.end) and not clip.start:
            by_digest[_content(clip.path)].append(clip)
    renamed: dict[LabelledClip, str] = {}
    for same in by_digest.values():
        if len({clip.labels for clip in same}) > 1 and not multi:
            raise _two_labels([(str(clip), clip.labels[0]) for clip in same])
        if len(same) > 1:
            renamed |= {
                clip: next((c.group for c in same if c.group), str(same[0].path)) for clip in same
            }
    return [
        clip if clip not in renamed else LabelledClip(
            clip.path, clip.labels, clip.start, clip.end, clip.fold, clip.split, renamed[clip]
        )
        for clip in clips
    ]  # fmt: skip


def _content(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _warn_of_leaks(clips: list[LabelledClip]) -> None:
    for what in ("fold", "split"):
        places: dict[str, set[str]] = defaultdict(set)
        for clip in clips:
            if clip.group and getattr(clip, what):
                places[clip.group].add(getattr(clip, what))
        if leaking := sorted(group for group, found in places.items() if len(found) > 1):
            warn(
                f"{len(leaking)} groups straddle {what}s: {listed(leaking)}. Each is kept whole, "
                "in the part that is learned from, and not measured on"
            )
