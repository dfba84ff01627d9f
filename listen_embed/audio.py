"""Files, arrays and blocks -> mono float32 at a model's rate; whole clips and streams alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import AudioFileError, InputError
from listen_embed.polyphase import KaiserBest
from listen_embed.spec import Resampler

if TYPE_CHECKING:
    import soundfile

Samples = NDArray[np.float32]
# How a two-dimensional array is meant.
Layout = Literal["channels-last", "channels-first", "batch"]

MIN_RATE, MAX_RATE = 1_000, 768_000
# What stands for zero, and full scale above it.
_INTEGERS = {
    np.dtype(np.uint8): (128.0, 2.0**7),
    np.dtype(np.int16): (0.0, 2.0**15),
    np.dtype(np.int32): (0.0, 2.0**31),
}
# More rows than this, and more than columns, are samples; else the shape does not tell.
_MAX_CHANNELS = 64
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


def to_mono(audio: Any, layout: Layout | None = None, *, copy: bool = True) -> Samples:
    """Return one clip's samples as mono float32.

    Parameters
    ----------
    audio : array_like, (n,) or (n, channels)
        An array, a list of numbers, a torch tensor, or a column of numbers of pandas or pyarrow;
        float16, float32 or float64, nominally in [-1, 1]; uint8 (128 is zero), int16 and int32 are
        divided by full scale. Channels are averaged.
    layout : {"channels-last", "channels-first"}, optional
        Which axis holds the channels; None takes the shape's word for it where that is plain.
    copy : bool
        Whether the result must not share the memory of `audio`, as where it is kept.

    Returns
    -------
    ndarray, float32 (n,)

    Raises
    ------
    InputError
        Another shape or dtype, a shape that can be read in two ways, NaN, infinity or values beyond
        1e12.
    """
    samples = _as_array(audio)
    _check_dtype(samples)
    samples = _channels_last(samples, layout)
    with np.errstate(over="ignore"):
        scaled = samples.astype(np.float32, copy=copy)
        mono = scaled if scaled.ndim == 1 else scaled.mean(axis=1)
    zero, full_scale = _INTEGERS.get(samples.dtype.newbyteorder("="), (0.0, 0.0))
    if full_scale:
        mono = (mono - np.float32(zero)) / np.float32(full_scale)
    _check_levels(mono)
    return mono


def to_clips(audio: Any, layout: Layout | None = None) -> list[Any] | None:
    """Return the clips of a batch, each as it was given, or None if `audio` is a single clip.

    A batch is a list, or a column of pandas or pyarrow, whose items are arrays; or an array
    (clips, samples) that `layout` calls a batch.
    """
    if layout not in (None, *get_args(Layout)):
        raise InputError(f"layout is {layout!r}; allowed are None, {', '.join(get_args(Layout))}")
    clips = _listed(audio)
    if clips is not None:
        return clips
    if layout != "batch":
        return None
    samples = _as_array(audio)
    if samples.ndim != 2:
        raise InputError(f"audio has shape {samples.shape}; a batch is (clips, samples)")
    return list(samples)


def _listed(audio: Any) -> list[Any] | None:
    """Return the items of a list or column if they are arrays, None if they are numbers."""
    if hasattr(audio, "to_pylist"):  # pyarrow
        is_nested = hasattr(audio.type, "value_type")
        return [np.asarray(item.values) for item in audio] if is_nested else None
    if hasattr(audio, "to_list") and getattr(audio, "dtype", None) == np.object_:  # pandas
        audio = audio.to_list()
    if not isinstance(audio, list | tuple) or not audio:
        return None
    is_array = [hasattr(item, "__array__") and np.ndim(item) > 0 for item in audio]
    return list(audio) if all(is_array) else None


def _as_array(audio: Any) -> NDArray[Any]:
    if isinstance(audio, str | bytes | os.PathLike):
        raise InputError(
            f"audio is {audio!r}; allowed are arrays of samples: for a sound file use "
            "Embedder.embed_file, or listen_embed.embed_files for many"
        )
    if hasattr(audio, "detach"):  # torch: perhaps with a gradient, perhaps on a GPU
        audio = audio.detach().cpu()
    try:
        return np.asarray(audio)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"audio is no array ({error}); allowed are (samples,) and (samples, channels), and "
            "lists of such arrays"
        ) from error


def _check_dtype(samples: NDArray[Any]) -> None:
    if samples.dtype.newbyteorder("=") not in _INTEGERS and samples.dtype.kind != "f":
        raise InputError(
            f"audio has dtype {samples.dtype}; allowed are float16, float32, float64 in [-1, 1], "
            "uint8, int16 and int32"
        )


def _channels_last(samples: NDArray[Any], layout: Layout | None) -> NDArray[Any]:
    """Return (n,) or (n, channels)."""
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or 0 in samples.shape[1:]:
        raise InputError(
            f"audio has shape {samples.shape}; allowed are (samples,) and (samples, channels)"
        )
    rows, columns = samples.shape
    is_long = columns > max(_MAX_CHANNELS, rows)
    if layout == "channels-first" or (layout is None and is_long and rows == 1):
        return samples.T  # torchaudio's (1, n) is mono however it is read
    if layout is None and is_long:
        raise InputError(
            f"audio has shape {samples.shape}: is it {rows} clips of {columns} samples, or one "
            f'clip of {rows} channels? Say layout="batch" for the first, layout="channels-first" '
            "for the second; (samples, channels) needs no layout"
        )
    return samples


def _check_levels(mono: Samples) -> None:
    if not mono.size:
        return
    with np.errstate(invalid="ignore"):  # a NaN is the minimum and the maximum, and beyond both
        is_sound = mono.min() >= -_MAX_LEVEL and mono.max() <= _MAX_LEVEL
    if not is_sound:
        first = int(np.argmin(np.abs(mono) <= _MAX_LEVEL))
        raise InputError(
            f"audio has NaN, infinity or values beyond {_MAX_LEVEL:g} (first at sample {first}); "
            "allowed are finite numbers, nominally in [-1, 1]: replace the others, for example "
            "with numpy.nan_to_num"
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
    path: str | os.PathLike[str], seconds: float = 10.0, *, file: IO[bytes] | None = None
) -> Iterator[tuple[Samples, int]]:
    """Yield a sound file as (mono float32 block, sr), in constant memory.

    With `file`, an open file that can seek, `path` is only what errors call it.

    Raises
    ------
    AudioFileError
        The file is missing, a directory, not readable, not audio, damaged, or has no samples.
    InputError
        It holds NaN or infinity, or its rate is out of range.
    """
    with _open(path, file) as sound:
        sr = check_rate(sound.samplerate)
        is_empty = True
        for block in _decoded(sound, path, max(1, int(seconds * sr))):
            is_empty = False
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
            _check_levels(mono)
            yield mono, sr
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


def _open(path: str | os.PathLike[str], file: IO[bytes] | None = None) -> soundfile.SoundFile:
    import soundfile

    if file is None and (problem := _why_unreadable(Path(path))):
        raise AudioFileError(f"{path}: {problem}")
    try:
        return soundfile.SoundFile(os.fspath(path) if file is None else file)
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
    if not path.is_file():
        return "is no regular file (a pipe or a device); give a sound file, or - for stdin"
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
