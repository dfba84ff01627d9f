"""The method ``head``: frozen embeddings, and a layer of classes learned in seconds.

All clips are learned from; the figures, and the thresholds, come from clips that were held out in
their turn.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from listen_embed.classify import linear, parts
from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.layer import Layer, activated
from listen_embed.embedder import Embedder

Way = Literal["nearest mean", "ridge"]
N_FOLDS = 5
_ENOUGH = 8  # clips of each label, from which on a ridge regression is tried
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frames:
    """Embeddings of clips, frame by frame.

    Attributes
    ----------
    values : ndarray, float32 (M, D)
    clip : ndarray, intp (M,)
        Row of each frame's clip.
    """

    values: Array
    clip: NDArray[np.intp]

    def of(self, clips: NDArray[np.intp]) -> Frames:
        """Return the frames of some clips, which keep their numbers."""
        kept = np.isin(self.clip, clips)
        return Frames(self.values[kept], self.clip[kept])

    def means(self, n_clips: int, values: Array | None = None) -> Array:
        """Return the mean of each clip's frames, or of other values of them, (n_clips, ...)."""
        rows = self.values if values is None else values
        found = np.zeros((n_clips, rows.shape[1]), np.float64)
        np.add.at(found, self.clip, rows)
        counts = np.maximum(np.bincount(self.clip, minlength=n_clips), 1)
        return (found / counts[:, None]).astype(np.float32)


def embedded(embedder: Embedder, labelled: LabelledClips, *, progress: bool = True) -> Frames:
    """Return the embeddings of all clips: whole frames side by side, at least one of each."""
    frame = embedder.spec.front_end.frame_seconds
    apart = embedder.at(hop_size=frame, center=False)
    values, numbers = [], []
    bar = tqdm(labelled.clips, "embedding", unit="clip", delay=2, disable=not progress,
               file=sys.stderr)  # fmt: skip
    for number, clip in enumerate(bar):
        sound, sr = clip.load()
        found, _ = apart.embed(sound, sr)
        n_whole = max(1, int(len(sound) / sr / frame + 1e-9))
        values.append(found[:n_whole])
        numbers.append(np.full(len(values[-1]), number))
    return Frames(np.concatenate(values), np.concatenate(numbers))


def ways_for(labelled: LabelledClips) -> tuple[Way, ...]:
    """Return the ways that a set can be learned in: which is better, held-out clips tell."""
    if labelled.is_multi:
        return ("ridge",)
    enough = labelled.targets.sum(0).min() >= _ENOUGH
    return ("nearest mean", "ridge") if enough else ("nearest mean",)


def learn(frames: Frames, labelled: LabelledClips, clips: NDArray[np.intp], way: Way) -> Layer:
    """Return a layer that some of the clips taught: their frames, or their means."""
    targets = labelled.targets
    if way == "nearest mean":
        some = frames.of(clips)
        codes, names = targets.argmax(1), labelled.groups[some.clip].tolist()
        return linear.one_of(some.values, codes[some.clip], names, targets.shape[1])
    folds = parts.folds_of(labelled, N_FOLDS)[clips]
    if len(np.unique(folds)) < 2:  # one given fold teaches, and has to be divided itself
        folds = parts.drawn_folds(labelled, N_FOLDS)[clips]
    means = frames.means(len(labelled))[clips]
    layer = linear.several_of(means, targets[clips], folds)
    return layer if labelled.is_multi else dataclasses.replace(layer, kind="softmax")


def held_out(frames: Frames, labelled: LabelledClips, way: Way, seed: int = 0) -> Array:
    """Return probabilities of all clips (N, C), each by a layer that its group did not teach."""
    folds = parts.folds_of(labelled, N_FOLDS, seed)
    found = np.zeros((len(labelled), len(labelled.labels)), np.float32)
    for fold in np.unique(folds):
        taught, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        layer = learn(frames, labelled, taught, way)
        found[asked] = of_clips(layer, frames.of(asked), len(labelled))[asked]
    return found


def of_clips(layer: Layer, frames: Frames, n_clips: int) -> Array:
    """Return a layer's probabilities of clips (n_clips, C): those of the mean of its logits."""
    logits = layer.logits(frames.values).astype(np.float32)
    return activated(frames.means(n_clips, logits).astype(np.float64), layer.kind)
