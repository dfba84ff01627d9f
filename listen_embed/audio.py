"""Files, arrays and blocks -> mono float32 at a model's rate; whole clips and streams alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from listen_embed.errors import AudioFileError, InputError
from listen_embed.kaiser import KaiserBest
from listen_embed.spec import Resampler

if TYPE_CHECKING:
    import soundfile

Samples = NDArray[np.float32]

MIN_RATE, MAX_RATE = 1_000, 768_000
_FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}
# Far above unscaled 32-bit samples, and far below where a float32 power spectrum overflows.
_MAX_LEVEL = 1e12

# libsndfile shortens a cut-off file to what is there, and tells so in its log only.
_SHORTENED = re.compile(r"(\d+) \(should be (\d+)\)")
# What a program that writes to a pipe announces, because it cannot know yet.
_UNKNOWN_BYTES = 0x7FFF_0000
# Some writers count headers or padding in.
_TOLERATED_BYTES = 64
# A header without an index (some MP3) states the length only roughly.
_TOLERATED_SECONDS = 1.0


def check_rate(sr: Any) -> int:
    """Return a sample rate as int, or raise `InputError`: whole Hz from 1,000 to 768,000."""
    is_number = isinstance(sr, int | float | np.integer | np.floating) and not isinstance(sr, bool)
    if not is_number or not MIN_RATE <= sr <= MAX_RATE or int(sr) != sr:
        raise InputError(
            f"sr is {sr!r}; a sample rate is a whole number of Hz "
            f"from {MIN_RATE} to {MAX_RATE}, for example 48000"
        )
    return int(sr)


def check_hop(hop_size: Any) -> float:
    """Return a hop as float seconds, or raise `InputError`: from 0.001 to 3600 s."""
    is_number = isinstance(hop_size, int | float | np.integer | np.floating)
    if isinstance(hop_size, bool) or not is_number or not 1e-3 <= hop_size <= 3600:
        raise InputError(
            f"hop_size is {hop_size!r}; a hop is a number of seconds from 0.001 to 3600, "
            "for example 0.1"
        )
    return float(hop_size)


def to_mono(audio: ArrayLike) -> Samples:
    """Return samples as mono float32.

    Parameters
    ----------
    audio : array_like, (n,) or (n, channels)
        float16, float32 or float64, nominally in [-1, 1]; int16 and int32 are divided by full
        scale. Channels are averaged.

    Returns
    -------
    ndarray, float32 (n,)

    Raises
    ------
    InputError
        Another shape or dtype, channels before samples, NaN, infinity or values beyond 1e12.
    """
    samples = _as_array(audio)
    _check_array(samples)
    with np.errstate(over="ignore"):
        scaled = samples.astype(np.float32)
        mono = scaled if scaled.ndim == 1 else scaled.mean(axis=1)
    if full_scale := _FULL_SCALE.get(samples.dtype.newbyteorder("=")):
        mono /= np.float32(full_scale)
    is_sound = np.abs(mono) <= _MAX_LEVEL
    if not is_sound.all():
        raise InputError(
            f"audio has NaN, infinity or values beyond {_MAX_LEVEL:g} "
            f"(first at sample {int(np.argmin(is_sound))}); allowed are finite numbers, nominally "
            "in [-1, 1]: replace the others, for example with numpy.nan_to_num"
        )
    return mono


def _as_array(audio: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(audio)
    except ValueError as error:
        raise InputError(
            f"audio is no array ({error}); allowed are (samples,) and (samples, channels)"
        ) from error


def _check_array(samples: NDArray[Any]) -> None:
    if samples.dtype.newbyteorder("=") not in _FULL_SCALE and samples.dtype.kind != "f":
        raise InputError(
            f"audio has dtype {samples.dtype}; allowed are float16, float32, float64 in [-1, 1], "
            "int16 and int32"
        )
    if samples.ndim not in (1, 2):
        raise InputError(
            f"audio has shape {samples.shape}; allowed are (samples,) and (samples, channels)"
        )
    if samples.ndim == 2 and (samples.shape[1] == 0 or samples.shape[1] > max(64, len(samples))):
        raise InputError(
            f"audio has shape {samples.shape}; channels come second, (samples, channels): "
            "transpose it"
        )


class RateConverter(Protocol):
    """Blocks at one rate in, blocks at another rate out."""

    @property
    def latency(self) -> float:
        """The longest that a sample is held back, in seconds."""

    def push(self, block: Samples, last: bool = False) -> Samples:
        """Return what the block lets be known; everything left when `last`."""


def rate_converter(sr_in: int, sr_out: int, resampler: Resampler) -> RateConverter:
    """Return a streaming converter; its output over a clip is that of the one-shot resampler."""
    if sr_in == sr_out:
        return _Identity()
    return _Soxr(sr_in, sr_out) if resampler == "soxr" else KaiserBest(sr_in, sr_out)


class _Identity:
    latency = 0.0

    def push(self, block: Samples, last: bool = False) -> Samples:
        return block


class _Soxr:
    """soxr HQ, whose streaming output equals its one-shot output bit for bit."""

    def __init__(self, sr_in: int, sr_out: int) -> None:
        import soxr

        self._stream = soxr.ResampleStream(sr_in, sr_out, 1, dtype="float32", quality="HQ")
        self._rates = (sr_in, sr_out)

    @property
    def latency(self) -> float:
        """Measured once for each pair of rates."""
        return _soxr_latency(*self._rates)

    def push(self, block: Samples, last: bool = False) -> Samples:
        resampled: Samples = self._stream.resample_chunk(block, last=last)
        return resampled


@lru_cache(maxsize=64)
def _soxr_latency(sr_in: int, sr_out: int) -> float:
    """Return the longest that soxr holds a sample back, in seconds, measured on silence.

    It works in blocks of its own, so its delay swings; ``delay()`` tells only the current one.
    """
    import soxr

    stream = soxr.ResampleStream(sr_in, sr_out, 1, dtype="float32", quality="HQ")
    block = np.zeros(max(1, sr_in // 1000), np.float32)
    n_in, n_out, worst = 0, 0, 0.0
    while n_in < 3 * sr_in:
        n_in += len(block)
        n_out += len(stream.resample_chunk(block))
        worst = max(worst, n_in / sr_in - n_out / sr_out)
    return worst + len(block) / sr_in


def read_blocks(
    path: str | os.PathLike[str], seconds: float = 10.0
) -> Iterator[tuple[Samples, int]]:
    """Yield a sound file as (mono float32 block, sr), in constant memory.

    Raises
    ------
    AudioFileError
        The file is missing, a directory, not readable, not audio, damaged, or has no samples.
    InputError
        It holds NaN or infinity, or its rate is out of range.
    """
    with _open(path) as file:
        sr = check_rate(file.samplerate)
        is_empty = True
        for block in _decoded(file, path, max(1, int(seconds * sr))):
            is_empty = False
            yield to_mono(block), sr
    if is_empty:
        raise AudioFileError(f"{path}: holds no samples")


def duration(path: str | os.PathLike[str]) -> float:
    """Return a sound file's length in seconds, as its header states it."""
    with _open(path) as file:
        return float(file.frames / file.samplerate)


def sample_rate(path: str | os.PathLike[str]) -> int:
    """Return a sound file's rate in Hz."""
    with _open(path) as file:
        return check_rate(file.samplerate)


def _open(path: str | os.PathLike[str]) -> soundfile.SoundFile:
    import soundfile

    if problem := _why_unreadable(Path(path)):
        raise AudioFileError(f"{path}: {problem}")
    try:
        return soundfile.SoundFile(os.fspath(path))
    except (soundfile.SoundFileError, TypeError) as error:
        reason = getattr(error, "error_string", error)
        raise AudioFileError(
            f"{path}: not readable as audio ({reason}); formats are libsndfile's: "
            "WAV, FLAC, Ogg, MP3, AIFF and others"
        ) from error


def _why_unreadable(path: Path) -> str:
    if path.is_dir():
        return "is a folder; give a sound file, or the folder to the command line"
    if not path.exists():
        return "does not exist"
    return "" if os.access(path, os.R_OK) else "no permission to read it"


def _decoded(
    file: soundfile.SoundFile, path: str | os.PathLike[str], n_samples: int
) -> Iterator[Samples]:
    """Yield (n, channels) blocks; a file that ends before its header says so is an error."""
    import soundfile

    _check_complete(file, path)
    n_read = 0
    while True:
        try:
            block = file.read(n_samples, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioFileError(f"{path}: damaged after sample {n_read} ({error})") from error
        if not len(block):
            break
        n_read += len(block)
        yield block
    if file.frames - n_read > _TOLERATED_SECONDS * file.samplerate:
        raise AudioFileError(f"{path}: cut off, {n_read} of {file.frames} samples are there")


def _check_complete(file: soundfile.SoundFile, path: str | os.PathLike[str]) -> None:
    for announced, present in _SHORTENED.findall(file.extra_info):
        is_known = int(announced) < _UNKNOWN_BYTES
        if is_known and int(announced) - int(present) > _TOLERATED_BYTES:
            raise AudioFileError(
                f"{path}: cut off, {present} of {announced} bytes are there; fetch it again"
            )
