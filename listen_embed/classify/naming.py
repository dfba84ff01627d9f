"""What a classifier hears in sound files, as stretches for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed.classify.classifier import SoundClassifier
from listen_embed.embedder import PathLike
from listen_embed.labels import Labelled, Stretch, extents, length


def named(
    classifier: SoundClassifier, path: PathLike, *, least: float = 0.0, omit: Iterable[str] = ()
) -> Labelled:
    """Return the stretches of a sound file that a classifier names.

    Parameters
    ----------
    classifier : SoundClassifier
        Neighbouring frames of one label are one stretch; of a multi-label classifier stretches of
        different labels may overlap.
    path : str or path
    least : float
        Stretches whose mean probability is lower are left out.
    omit : iterable of str
        Labels that are left out, such as the background.

    Raises
    ------
    AudioFileError
        The file cannot be read as audio.
    """
    seconds, sr = length(path)
    _, probabilities, times = classifier.predict_file(path)
    starts, ends = extents(classifier.embedder, times, seconds, sr)
    heard = probabilities[: len(starts)]
    found = list(_stretches(classifier, heard, starts, ends))
    left_out = frozenset(omit)
    kept = [s for s in found if s.score >= least and s.label not in left_out and s.end > s.start]
    return Labelled(Path(path), seconds, sr, tuple(sorted(kept, key=lambda s: (s.start, s.label))))


def _stretches(
    classifier: SoundClassifier,
    probabilities: NDArray[np.float32],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
) -> Iterator[Stretch]:
    given = classifier.layer.given(probabilities)
    for column, label in enumerate(classifier.labels):
        edges = np.diff(np.pad(given[:, column].astype(np.int8), 1))
        for begin, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
            score = float(probabilities[begin:end, column].mean())
            yield Stretch(float(starts[begin]), float(ends[end - 1]), label, score)
