"""Whether a model does here what it did where it was made: the golden vectors of its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed import npz
from listen_embed.errors import VerificationError

FILE = "golden.npz"
HOP = 0.5  # seconds

_MAX_BYTES = 1 << 22
_MAX_SAMPLES = 1 << 18
# Of the embeddings' length. int8 kernels of other processors may round to the neighbouring step;
# one step off everywhere is up to 0.05 for our models.
_TOLERANCE = 0.1

Embed = Callable[[NDArray[Any], int], NDArray[np.float32]]

_met: set[str] = set()


def run(folder: Path, digest: str, embed: Embed) -> None:
    """Hold a model against its folder's golden vectors, where there are any; once a process.

    Parameters
    ----------
    folder : Path
        A model folder.
    digest : str
        Of the model; one that has met its vectors is not asked again.
    embed : callable
        ``(samples (n,), sr) -> embeddings``, centred, with a hop of `HOP` seconds.

    Raises
    ------
    VerificationError
        The model gives other embeddings than it did, or the vectors cannot be read.
    """
    path = folder / FILE
    if digest in _met or not path.is_file():
        return
    audio, sr, expected = _read(path)
    if not _agree(embed(audio, sr), expected):
        raise VerificationError(
            f"{folder}: the model does not give the embeddings that {FILE} promises. Another "
            "front end in its model.toml, another .tflite, or an interpreter that computes "
            "wrongly; copy the folder again, or make it anew"
        )
    _met.add(digest)


def _agree(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    if found.shape != expected.shape:
        return False
    gap = float(np.linalg.norm(found.astype(np.float64) - expected))
    return gap <= _TOLERANCE * float(np.linalg.norm(expected))


def _read(path: Path) -> tuple[NDArray[np.int16], int, NDArray[np.float32]]:
    try:
        arrays = npz.read(path, _MAX_BYTES)
        audio, sr, expected = arrays["audio"], int(arrays["sr"]), arrays["embedding"]
        if audio.dtype != np.int16 or not 0 < audio.size == len(audio) <= _MAX_SAMPLES:
            raise ValueError(f"its audio is {audio.dtype} of shape {audio.shape}")
        if expected.dtype != np.float32 or not np.isfinite(expected).all():
            raise ValueError("its embedding is not finite float32")
    except Exception as error:  # hostile bytes trip parsers in ways that no list would cover
        message = f"{path}: cannot be read ({error or type(error).__name__})"
        raise VerificationError(f"{message}; copy the folder again, or delete this file") from error
    return audio, sr, expected
