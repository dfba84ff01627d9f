"""One vector for a whole clip or file: the mean over the frames that lie wholly inside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from listen_embed.audio import read_blocks, to_mono
from listen_embed.embedder import Embedder, PathLike
from listen_embed.errors import InputError

Vector = NDArray[np.float32]

_BLOCK_SECONDS = 10


def clip_vector(embedder: Embedder, audio: ArrayLike, sr: int) -> Vector:
    """Return the embedding of a clip as one vector.

    Parameters
    ----------
    embedder : Embedder
        Its hop counts; frames start at their timestamps, whatever its ``center`` says.
    audio : array_like, (n,) or (n, channels)
        As for `Embedder.embed`.
    sr : int
        Its rate in Hz.

    Returns
    -------
    ndarray, float32 (emb_dim,)
        A clip shorter than one frame is filled up with zeros.

    Raises
    ------
    InputError
        Audio or rate outside what `Embedder.embed` allows.
    """
    mono = to_mono(audio)
    if not len(mono):
        raise InputError("audio is empty; at least one sample is needed")
    n_block = _BLOCK_SECONDS * sr
    return _mean(embedder, sr, (mono[i : i + n_block] for i in range(0, len(mono), n_block)))


def file_vector(embedder: Embedder, path: PathLike) -> Vector:
    """Return the embedding of a sound file as one vector; see `clip_vector`.

    Raises
    ------
    AudioFileError
        The file cannot be read as audio.
    """
    blocks = read_blocks(path, _BLOCK_SECONDS)
    first, sr = next(blocks)
    return _mean(embedder, sr, itertools.chain([first], (block for block, _ in blocks)))


def _mean(embedder: Embedder, sr: int, blocks: Iterable[Vector]) -> Vector:
    stream = embedder.stream(sr, center=False)
    n_samples = 0

    def counted() -> Iterator[tuple[Vector, NDArray[np.float64]]]:
        nonlocal n_samples
        for block in blocks:
            n_samples += len(block)
            yield stream.push(block)
        yield stream.push(np.zeros(0, np.float32), last=True)

    embeddings, starts = map(np.concatenate, zip(*counted(), strict=True))
    front_end = embedder.spec.front_end
    half_a_sample = 0.5 / front_end.sample_rate
    is_inside = starts + front_end.frame_seconds <= n_samples / sr + half_a_sample
    inside = embeddings[is_inside] if is_inside.any() else embeddings
    mean: Vector = inside.mean(axis=0)
    return mean
