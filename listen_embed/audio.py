"""Files, arrays and blocks -> mono float32 at a model's rate; whole clips and streams alike."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from listen_embed.errors import AudioFileError, InputError
from listen_embed.spec import Resampler

if TYPE_CHECKING:
    import soundfile

Samples = NDArray[np.float32]

MIN_RATE, MAX_RATE = 1_000, 768_000
_FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}


def check_rate(sr: Any) -> int:
    """Return a sample rate as int, or raise `InputError`: whole Hz from 1,000 to 768,000."""
    is_number = isinstance(sr, int | float | np.integer | np.floating) and not isinstance(sr, bool)
    if not is_number or not math.isfinite(sr) or int(sr) != sr or not MIN_RATE <= sr <= MAX_RATE:
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
        float16, float32 or float64, nominally in [-1, 1]; int16 and int32 are divided by full scale.
        Channels are averaged.

    Returns
    -------
    ndarray, float32 (n,)

    Raises
    ------
    InputError
        Another shape or dtype, channels before samples, NaN or infinity.
    """
    samples = np.asarray(audio)
    _check_array(samples)
    scaled = samples.astype(np.float32)
    if samples.dtype in _FULL_SCALE:
        scaled /= np.float32(_FULL_SCALE[samples.dtype])
    mono = scaled if scaled.ndim == 1 else scaled.mean(axis=1)
    if not np.isfinite(mono).all():
        bad = int(np.argmax(~np.isfinite(mono)))
        raise InputError(
            f"audio has NaN or infinity (first at sample {bad}); replace it, "
            "for example with numpy.nan_to_num"
        )
    return mono


def _check_array(samples: NDArray[Any]) -> None:
    if samples.dtype not in _FULL_SCALE and samples.dtype.kind != "f":
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

    latency: float
    """Seconds by which the output lags behind the input."""

    def push(self, block: Samples, last: bool = False) -> Samples:
        """Return what the block lets be known; everything left when `last`."""


def rate_converter(sr_in: int, sr_out: int, resampler: Resampler) -> RateConverter:
    """Return a streaming converter; its output over a clip is that of the one-shot resampler."""
    if sr_in == sr_out:
        return _Identity()
    return _Soxr(sr_in, sr_out) if resampler == "soxr" else _KaiserBest(sr_in, sr_out)


class _Identity:
    latency = 0.0

    def push(self, block: Samples, last: bool = False) -> Samples:
        return block


class _Soxr:
    """soxr HQ, whose streaming output equals its one-shot output bit for bit."""

    def __init__(self, sr_in: int, sr_out: int) -> None:
        import soxr

        self._stream = soxr.ResampleStream(sr_in, sr_out, 1, dtype="float32", quality="HQ")
        # soxr reports no delay before data has passed: measure it once, on silence.
        probe = soxr.ResampleStream(sr_in, sr_out, 1, dtype="float32", quality="HQ")
        probe.resample_chunk(np.zeros(sr_in, np.float32))
        self.latency = probe.delay() / sr_out

    def push(self, block: Samples, last: bool = False) -> Samples:
        resampled: Samples = self._stream.resample_chunk(block, last=last)
        return resampled


class _KaiserBest:
    """resampy's kaiser_best, block by block.

    The filter is finite, so output samples depend on `_reach` input samples on either side; blocks
    are cut where an input and an output sample coincide, and overlap by that reach.
    """

    # Zero crossings of resampy's kaiser_best on either side of the centre.
    _N_ZEROS = 50

    def __init__(self, sr_in: int, sr_out: int) -> None:
        common = math.gcd(sr_in, sr_out)
        self._in_step, self._out_step = sr_in // common, sr_out // common
        self._rates = (sr_in, sr_out)
        widest = self._N_ZEROS * max(1.0, sr_in / sr_out) + 1
        self._reach = math.ceil(widest / self._in_step) * self._in_step
        self._buffer = np.zeros(0, np.float32)
        self._n_context = 0
        self.latency = (self._reach + self._in_step) / sr_in

    def push(self, block: Samples, last: bool = False) -> Samples:
        self._buffer = np.concatenate([self._buffer, block])
        n_new = len(self._buffer) - self._n_context
        n_done = n_new if last else (n_new - self._reach) // self._in_step * self._in_step
        if n_done <= 0:
            return np.zeros(0, np.float32)
        resampled = self._resample(n_done)
        self._forget(n_done)
        return resampled

    def _resample(self, n_done: int) -> Samples:
        import resampy

        sr_in, sr_out = self._rates
        # resampy refuses clips that would give no sample, so zeros stand in for the silence after.
        padded = np.concatenate([self._buffer, np.zeros(self._in_step, np.float32)])
        whole = resampy.resample(padded, sr_in, sr_out, filter="kaiser_best")
        first = self._n_context // self._in_step * self._out_step
        kept: Samples = whole[first : first + n_done * sr_out // sr_in]
        return kept.astype(np.float32, copy=False)

    def _forget(self, n_done: int) -> None:
        consumed = self._n_context + n_done
        self._n_context = min(self._reach, consumed)
        self._buffer = self._buffer[consumed - self._n_context :]


def read_blocks(path: str | os.PathLike[str], seconds: float = 10.0) -> Iterator[tuple[Samples, int]]:
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

    n_read = 0
    while True:
        try:
            block = file.read(n_samples, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioFileError(f"{path}: damaged after sample {n_read} ({error})") from error
        if not len(block):
            return
        n_read += len(block)
        yield block
