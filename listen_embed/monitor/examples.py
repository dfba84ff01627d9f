"""Labelled embeddings: what a machine is learnt from, kept in its file so that more can be added.

In: labelled clips. Out: `Examples`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed.embedder import Embedder
from listen_embed.errors import AudioFileError, ListenEmbedError, ListenEmbedWarning
from listen_embed.monitor.block import level_db, to_mono

# Frames of one stretch overlap: they are held out together.
_STRETCH_S = 4.0
_N_FOLDS = 5
_MAX_CLIP_S = 3600.0


@dataclass(frozen=True)
class Examples:
    """Labelled embeddings.

    Attributes
    ----------
    embeddings : ndarray, float32 (N, D)
    labels : list of str (N,)
    stretches : ndarray, int64 (N,)
        Rows with the same number come from the same stretch of sound.
    recordings : ndarray, int64 (N,)
        Rows with the same number come from the same recording.
    levels_db : ndarray, float32 (N,)
        RMS of the sound in each row's frame, dB of full scale.
    hop_s, frame_s : float
        Step between frames and their length, seconds.
    rate : int
        The lowest sample rate among the recordings, Hz.
    """

    embeddings: NDArray[np.float32]
    labels: list[str]
    stretches: NDArray[np.int64]
    recordings: NDArray[np.int64]
    levels_db: NDArray[np.float32]
    hop_s: float
    frame_s: float
    rate: int

    def __len__(self) -> int:
        return len(self.labels)

    def folds(self) -> NDArray[np.int64]:
        """Return each row's fold; every label's stretches are dealt out in turn."""
        return self._dealt(self.stretches)

    def units(self) -> NDArray[np.int64]:
        """Return what is held out together: recordings, or stretches where a label has only one."""
        return self.recordings if self.min_recordings() > 1 else self.stretches

    def min_recordings(self) -> int:
        """Return how many recordings the label with the fewest has."""
        return min(self.recordings_of(label) for label in set(self.labels))

    def recordings_of(self, label: str) -> int:
        """Return how many recordings a label has."""
        return len(np.unique(self.recordings[np.asarray(self.labels) == label]))

    def unit_folds(self) -> NDArray[np.int64]:
        """Return each row's fold; `units` stay together."""
        return self._dealt(self.units())

    def _dealt(self, together: NDArray[np.int64]) -> NDArray[np.int64]:
        fold = np.zeros(len(self), np.int64)
        names = np.asarray(self.labels)
        for name in sorted(set(self.labels)):
            rows = names == name
            _, order = np.unique(together[rows], return_inverse=True)
            fold[rows] = order % _N_FOLDS
        return fold

    def __add__(self, other: Examples) -> Examples:
        """Return both; their recordings stay apart."""
        return Examples(
            np.concatenate([self.embeddings, other.embeddings]),
            [*self.labels, *other.labels],
            np.concatenate([self.stretches, other.stretches + self.stretches.max() + 1]),
            np.concatenate([self.recordings, other.recordings + self.recordings.max() + 1]),
            np.concatenate([self.levels_db, other.levels_db]),
            self.hop_s,
            self.frame_s,
            min(self.rate, other.rate),
        )


def embed_clips(
    clips: Sequence[tuple[str, Path]], embedder: Embedder
) -> tuple[Examples, list[ListenEmbedError]]:
    """Embed labelled sound files; return the examples, and the errors of those that are bad.

    Raises
    ------
    ListenEmbedError
        Not one of them can be embedded.
    """
    bad: list[ListenEmbedError] = []
    examples = embed_sounds(_readable(clips, bad), embedder)
    return examples, bad


def _readable(
    clips: Sequence[tuple[str, Path]], bad: list[ListenEmbedError]
) -> Iterator[tuple[str, NDArray[np.float32], int]]:
    """Yield clips one at a time, so that memory holds one; add errors to `bad`."""
    n_good = 0
    for label, path in clips:
        try:
            sound = read_clip(path)
        except ListenEmbedError as error:
            bad.append(error)
            continue
        n_good += 1
        yield (label, *sound)
    if not n_good:
        raise bad[0]


def read_clip(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return a sound file as mono float32 (n,) and its rate, or raise `AudioFileError`."""
    import soundfile

    try:
        if (seconds := soundfile.info(path).duration) > _MAX_CLIP_S:
            raise AudioFileError(
                f"{path}: lasts {seconds:g} s; clips last {_MAX_CLIP_S:g} s at most"
            )
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioFileError(f"{path}: cannot be read as audio ({error})") from error
    if not len(samples) or not np.isfinite(samples).all():
        raise AudioFileError(f"{path}: is empty, or holds NaN or infinity")
    return to_mono(samples), int(rate)


def embed_sounds(
    sounds: Iterable[tuple[str, NDArray[np.float32], int]], embedder: Embedder
) -> Examples:
    """Embed labelled sound; only frames that lie whole within a clip count, one at least."""
    rows, labels, stretches, recordings, levels, rates = [], [], [], [], [], []
    frame_s = embedder.spec.front_end.frame_seconds
    per_stretch = max(1, round(_STRETCH_S / embedder.hop_size))
    n_stretches = 0
    for number, (label, samples, rate) in enumerate(sounds):
        embedding, timestamps = _embed(samples, rate, embedder)
        whole = embedding[timestamps + frame_s <= len(samples) / rate + 1e-6]
        kept = whole if len(whole) else embedding[:1]
        numbers = n_stretches + np.arange(len(kept)) // per_stretch
        n_stretches = int(numbers[-1]) + 1
        rows.append(kept)
        labels += [label] * len(kept)
        stretches.append(numbers)
        recordings.append(np.full(len(kept), number))
        levels.append(_levels(samples, timestamps[: len(kept)], rate, frame_s))
        rates.append(rate)
    return Examples(
        np.concatenate(rows),
        labels,
        np.concatenate(stretches),
        np.concatenate(recordings),
        np.concatenate(levels),
        float(embedder.hop_size),
        frame_s,
        min(rates),
    )


def _embed(
    samples: NDArray[np.float32], rate: int, embedder: Embedder
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    with warnings.catch_warnings():
        # A machine that is off may well be silent, and clips may be short: both are meant.
        warnings.simplefilter("ignore", ListenEmbedWarning)
        return embedder.embed(samples, rate)


def _levels(
    samples: NDArray[np.float32], starts_s: NDArray[np.float64], rate: int, frame_s: float
) -> NDArray[np.float32]:
    """Return the RMS of each frame in dB of full scale, float32 (frames,)."""
    size = max(1, round(frame_s * rate))
    frames = [samples[s : s + size] for s in np.round(starts_s * rate).astype(int)]
    return np.array([level_db(frame) for frame in frames], np.float32)
