"""A stretch of a sound file, read without the rest, and written as a file of its own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed.audio import read_blocks
from listen_embed.errors import InputError
from listen_embed.output import replacing

Samples = NDArray[np.float32]


def excerpt(
    path: str | os.PathLike[str], begin: float = 0.0, end: float | None = None
) -> tuple[Samples, int]:
    """Return mono samples from `begin` to `end` (None: the end of the sound), and their rate.

    Raises
    ------
    InputError
        The stretch is empty, or after the sound's end.
    AudioFileError
        The file cannot be read as audio.
    """
    if begin < 0 or (end is not None and end <= begin):
        raise InputError(f"{path}: {begin} to {end} s is no stretch of sound; begin comes first")
    kept: list[Samples] = []
    n_before = sr = 0
    for block, sr in read_blocks(path):
        last = len(block) if end is None else round(end * sr) - n_before
        kept.append(block[max(0, round(begin * sr) - n_before) : max(0, last)])
        n_before += len(block)
        if end is not None and n_before >= end * sr:
            break
    samples = np.concatenate(kept)
    if not len(samples):
        raise InputError(f"{path}: lasts {n_before / sr:.2f} s; there is nothing from {begin} s on")
    return samples, sr


def save(path: Path, samples: Samples, sr: int) -> None:
    """Write mono samples as FLAC of 16 bits; what is louder than full scale is cut off.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import soundfile

    with replacing(path) as file:
        soundfile.write(file, samples, sr, format="FLAC", subtype="PCM_16")
