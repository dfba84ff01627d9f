"""A trained classifier: sound in, labels with their probabilities out. No torch, no scipy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.audio import Layout, to_mono
from listen_embed.classify.card import CLASSES, Card
from listen_embed.classify.layer import Layer, activated
from listen_embed.embedder import Embedder, PathLike, Stream
from listen_embed.errors import HeadError

Probabilities = NDArray[np.float32]
Timestamps = NDArray[np.float64]


class SoundClassifier:
    """Names sounds: a folder that ``listen-embed classify train`` wrote.

    Parameters
    ----------
    folder : str or path
    hop_size : float, optional
        Seconds between answers, 0.001 to 3600; None takes what it was made with.
    center : bool
        Centre frame ``i`` on ``i * hop_size``, half a frame of zeros going before the sound; False,
        the default, starts it there, so that no frame hears zeros at the beginning.
    threads : int, optional
        Threads of the interpreter; None takes two where there are two cores.

    Attributes
    ----------
    labels : tuple of str
        Columns of all probabilities.
    thresholds : ndarray, float32 (C,)
        Probabilities from which on a label of a multi-label classifier is given.
    is_multi : bool
        Whether several labels may hold at once; else probabilities add up to 1.
    embedder : Embedder
        What gives the layer before the classes; ``get_embedding(model_type=folder)`` is the same.

    Raises
    ------
    HeadError
        The folder is no classifier's, or its parts do not belong together.
    ModelNotFoundError, InputError, StoreError
        As `Embedder`.

    Examples
    --------
    ``SoundClassifier("my-classifier/").predict(audio, sr)``
    """

    def __init__(
        self,
        folder: PathLike,
        *,
        hop_size: float | None = None,
        center: bool = False,
        threads: int | None = None,
    ) -> None:
        path = Path(os.path.expanduser(folder))
        self.card = Card.read(path)
        hop = self.card.hop if hop_size is None else hop_size
        self.embedder = Embedder(path, hop_size=hop, center=center, threads=threads)
        self.layer = Layer.read(path / CLASSES, self.card.kind)
        self._check(path)

    def _check(self, folder: Path) -> None:
        if self.embedder.digest != self.card.model:
            raise HeadError(
                f"{folder}: its model is not the one that its classes were learned on; copy the "
                "whole folder again"
            )
        shape = (len(self.card.labels), self.embedder.spec.emb_dim)
        if self.layer.weight.shape != shape:
            raise HeadError(f"{folder}: its classes are {self.layer.weight.shape}, not {shape}")

    def __repr__(self) -> str:
        return f"SoundClassifier({self.card.base}, {self.card.method}, {len(self.labels)} labels)"

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of all probabilities."""
        return self.card.labels

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """Probabilities from which on a label of a multi-label classifier is given."""
        return self.layer.thresholds

    @property
    def is_multi(self) -> bool:
        """Whether several labels may hold at once."""
        return self.layer.kind == "sigmoid"

    def predict(
        self, audio: Any, sr: int, *, layout: Layout | None = None
    ) -> tuple[tuple[str, ...], Probabilities, Timestamps]:
        """Return how likely each label is, frame by frame.

        Parameters
        ----------
        audio : array_like (n,) or (n, channels)
            float in [-1, 1], uint8, int16 or int32, at least one sample.
        sr : int
            Sample rate in Hz.
        layout : {"channels-last", "channels-first"}, optional
            What a two-dimensional array means, where its shape leaves that open.

        Returns
        -------
        labels : tuple of str (C,)
        probabilities : ndarray, float32 (T, C)
            In [0, 1]; each row adds up to 1 where one label holds of all.
        timestamps : ndarray, float64 (T,)
            Seconds: starts of the frames, or their centres with ``center=True``.

        Raises
        ------
        InputError
            Audio or rate outside what is allowed above.
        """
        embedding, timestamps = self.embedder.embed(audio, sr, layout=layout)
        return self.labels, self.layer.probabilities(embedding), timestamps

    def predict_clip(self, audio: Any, sr: int, *, layout: Layout | None = None) -> Probabilities:
        """Return how likely each label is in a whole clip, float32 (C,).

        Frames side by side are heard, as in the training's figures, and their logits averaged.
        """
        front_end = self.embedder.spec.front_end
        apart = self.embedder.at(hop_size=front_end.frame_seconds, center=False)
        mono = to_mono(audio, layout)
        embedding, timestamps = apart.embed(mono, sr)
        is_whole = timestamps + front_end.frame_seconds <= len(mono) / sr + 1e-6
        logits = self.layer.logits(embedding[is_whole] if is_whole.any() else embedding[:1])
        clip: Probabilities = activated(logits.mean(axis=0, keepdims=True), self.layer.kind)[0]
        return clip

    def predict_file(self, path: PathLike) -> tuple[tuple[str, ...], Probabilities, Timestamps]:
        """Return the same for a sound file, in memory that grows with the answers only.

        Raises
        ------
        AudioFileError
            The file cannot be read as audio.
        """
        pieces = list(self.iter_file(path))
        probabilities, timestamps = (np.concatenate([piece[i] for piece in pieces]) for i in (0, 1))
        return self.labels, probabilities, timestamps

    def iter_file(self, path: PathLike) -> Iterator[tuple[Probabilities, Timestamps]]:
        """Yield probabilities and timestamps of a sound file piece by piece."""
        for embedding, timestamps in self.embedder.iter_file(path):
            yield self.layer.probabilities(embedding), timestamps

    def stream(self, sr: int) -> ClassifierStream:
        """Return answers to sound as it arrives at `sr` Hz: the same as for one clip."""
        return ClassifierStream(self.embedder.stream(sr), self.layer)

    def given(self, probabilities: Probabilities) -> list[tuple[str, ...]]:
        """Return the labels that probabilities (T, C) mean, the likeliest first.

        One of a single-label classifier; of a multi-label one all from their thresholds on.
        """
        return [
            tuple(self.labels[c] for c in np.argsort(-row, kind="stable") if is_given[c])
            for row, is_given in zip(probabilities, self.layer.given(probabilities), strict=True)
        ]


class ClassifierStream:
    """Probabilities of sound as it arrives; made by :meth:`SoundClassifier.stream`."""

    def __init__(self, stream: Stream, layer: Layer) -> None:
        self._stream = stream
        self._layer = layer

    @property
    def latency(self) -> float:
        """Seconds from a timestamp until enough sound has arrived for its answer."""
        return self._stream.latency

    def push(self, block: Any, last: bool = False) -> tuple[Probabilities, Timestamps]:
        """Add a block and return what it completes, possibly nothing; see `Stream.push`.

        Returns
        -------
        probabilities : ndarray, float32 (T, C), T >= 0
        timestamps : ndarray, float64 (T,)
        """
        embedding, timestamps = self._stream.push(block, last)
        return self._layer.probabilities(embedding), timestamps

    def reset(self) -> None:
        """Forget the sound so far and start at time 0."""
        self._stream.reset()
