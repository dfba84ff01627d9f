"""Frames of samples -> what a network takes, by a :class:`~listen_embed.spec.FrontEnd`.

numpy does it all; scipy's Fourier transform is taken where it is installed (extra ``fast``).

A log-mel column depends on its own samples alone, except near the ends of a frame, where padding
begins. So where the front end does not rescale each frame first and hops are whole columns,
overlapping frames share their inner columns, within a call and from call to call; the result is the
same, the work a fraction.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from listen_embed.framing import Frames
from listen_embed.spec import WAVE_RATE, FrontEnd

Array = NDArray[np.float32]
Transform = tuple[Callable[[NDArray[Any]], NDArray[Any]], type[np.floating[Any]]]

# OpenBLAS uses one thread up to 2 ** 18 multiplications. Source: its interface/gemm.c.
_COLUMNS_AT_ONCE = 128
_WEIGHTS_AT_ONCE = (1 << 18) // _COLUMNS_AT_ONCE
# Under the Fourier transform: what stays in the cache is faster.
_SAMPLES_AT_ONCE = 1 << 16


# A frame's samples for a wave encoder: of unit RMS, 18 dB of headroom, then the mu-law of telephony
# (ITU-T G.711), so that what is faint is heard beside what is loud, in eight bits too.
HEADROOM, MU, LEAST_RMS = 8.0, 255.0, 1e-4


class FeatureExtractor:
    """Turn frames into network inputs.

    Stateful only for speed: the columns that the next frames may share are kept, and the memory
    under the Fourier transform is used again. So an extractor serves one thread at a time.

    Parameters
    ----------
    front_end : FrontEnd
        All constants.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end
        self._rfft, kind = _transform_of(front_end)
        n_rows = max(1, min(_COLUMNS_AT_ONCE, _SAMPLES_AT_ONCE // max(1, front_end.n_fft)))
        self._scratch = np.zeros((n_rows, front_end.n_fft), kind)
        self._energy = np.empty((n_rows, front_end.n_fft // 2 + 1), np.float32)
        # Looking them up by a front end of two dozen constants takes longer than using them.
        self._window = window_of(front_end) if front_end.n_fft else np.zeros(0, np.float32)
        self._groups = _mel_groups(front_end) if front_end.n_mels else []
        self.reset()

    def reset(self) -> None:
        """Forget the columns of the signal so far."""
        self._kept: Array = np.zeros((self.front_end.n_bands, 0), np.float32)
        self._kept_position = 0

    def __call__(self, frames: Frames) -> Array:
        """Return float32 (T, ...) of the front end's `input_shape`."""
        features = self.front_end.features
        if features == "waveform":
            return _cut(frames)
        pictures = self._pictures(frames)
        if features == "log-mel":
            return pictures
        waves = companded(wave_of(_cut(frames), self.front_end))
        return np.concatenate([pictures.reshape(len(pictures), -1), waves], axis=1)

    def _pictures(self, frames: Frames) -> Array:
        """Return log-mels, float32 (T, n_bands, n_steps)."""
        if self._can_share(frames.starts):
            pictures = self._pictures_shared(frames)
        else:
            pictures = self._columns_of_frames(frames, self._all_steps)
        return _finish(pictures, self.front_end)

    def _can_share(self, starts: list[int]) -> bool:
        """Whether frames lie whole columns apart, not too far, and none is rescaled on its own."""
        if self.front_end.normalise != "none" or not len(self._inner_steps):
            return False
        # Between distant frames lie columns that none of them needs.
        if starts[-1] - starts[0] > len(starts) * self.front_end.frame_samples:
            return False
        return all((start - starts[0]) % self.front_end.hop_samples == 0 for start in starts)

    @cached_property
    def _all_steps(self) -> NDArray[np.intp]:
        return np.arange(self.front_end.n_steps)

    @cached_property
    def _segment_offset(self) -> int:
        """Position of column 0's first windowed sample, from the frame's first sample."""
        front_end = self.front_end
        return (front_end.n_fft - front_end.window_samples) // 2 - front_end.pad_left

    @cached_property
    def _inner_steps(self) -> NDArray[np.intp]:
        """Columns whose window lies wholly inside the frame: no padding, so frames share them."""
        front_end = self.front_end
        begin = self._all_steps * front_end.hop_samples + self._segment_offset
        inside = (begin >= 0) & (begin + front_end.window_samples <= front_end.signal_samples)
        return self._all_steps[inside]

    @cached_property
    def _edges(self) -> list[NDArray[np.intp]]:
        """The columns before the inner ones, and those behind, as far as there are any."""
        before, behind = np.split(
            np.setdiff1d(self._all_steps, self._inner_steps), [int(self._inner_steps[0])]
        )
        return [steps for steps in (before, behind) if len(steps)]

    @cached_property
    def _inner_offset(self) -> int:
        return int(self._inner_steps[0]) * self.front_end.hop_samples + self._segment_offset

    def _pictures_shared(self, frames: Frames) -> Array:
        """Return (T, n_bands, n_steps), every inner column computed once."""
        hop, n_inner = self.front_end.hop_samples, len(self._inner_steps)
        starts = np.asarray(frames.starts)
        first = int(starts[0]) + self._inner_offset
        run = self._run_of_columns(frames, first, int(starts[-1] - starts[0]) // hop + n_inner)
        shape = (len(starts), self.front_end.n_bands, self.front_end.n_steps)
        pictures = np.empty(shape, np.float32)
        inner = slice(int(self._inner_steps[0]), int(self._inner_steps[-1]) + 1)
        for picture, begin in zip(pictures, (starts - starts[0]) // hop, strict=True):
            picture[:, inner] = run[:, begin : begin + n_inner]
        for steps in self._edges:
            pictures[:, :, steps[0] : steps[-1] + 1] = self._columns_of_frames(frames, steps)
        self._kept = run[:, -n_inner:].copy()
        self._kept_position = int(starts[-1]) + self._inner_offset
        return pictures

    def _run_of_columns(self, frames: Frames, first: int, n_run: int) -> Array:
        """Return (n_bands, n_run) from position `first` on, reusing columns of the last call."""
        hop = self.front_end.hop_samples
        skipped, misaligned = divmod(first - self._kept_position, hop)
        usable = skipped >= 0 and not misaligned
        reused = self._kept[:, skipped:] if usable else self._kept[:, :0]
        signal = _preemphasised(frames.signal, self.front_end.preemphasis)
        begin = first + reused.shape[1] * hop - frames.origin
        (segments,) = self._segments(signal[None], begin, n_run - reused.shape[1])
        fresh = self._columns(segments)
        return np.concatenate([reused, fresh], axis=1) if reused.size else fresh

    def _segments(self, signals: Array, begin: int, n: int) -> Array:
        """Return a view (T, n, window_samples) of signals (T, ...), a hop from row to row.

        numpy's own sliding windows take as long to make as a few columns to compute.
        """
        signals = np.ascontiguousarray(signals)
        row, size = signals.strides
        shape = len(signals), n, self.front_end.window_samples
        strides = row, self.front_end.hop_samples * size, size
        return np.ndarray(shape, signals.dtype, signals.data, begin * size, strides)

    def _columns_of_frames(self, frames: Frames, steps: NDArray[np.intp]) -> Array:
        """Return (T, n_bands, len(steps)), columns in a row of each frame, padded by itself."""
        front_end = self.front_end
        begin = int(steps[0]) * front_end.hop_samples + self._segment_offset
        end = int(steps[-1]) * front_end.hop_samples + self._segment_offset
        stretch, origin = _padded_stretch(frames, front_end, begin, end + front_end.window_samples)
        segments = self._segments(stretch, begin - origin, len(steps))
        columns = np.empty((len(segments), front_end.n_bands, len(steps)), np.float32)
        # The few columns at the edges of many frames are faster together than frame by frame.
        n_together = max(1, len(self._scratch) // len(steps))
        for first in range(0, len(segments), n_together):
            some = segments[first : first + n_together]
            bands = self._columns(some.reshape(-1, front_end.window_samples))
            columns[first : first + n_together] = bands.reshape(
                front_end.n_bands, len(some), len(steps)
            ).transpose(1, 0, 2)
        return columns

    def _columns(self, segments: Array) -> Array:
        """Return the log band energies (n_bands, n) of windowless segments (n, window_samples)."""
        front_end = self.front_end
        bands = np.empty((front_end.n_bands, len(segments)), np.float32)
        window, width = self._window, front_end.window_samples
        # As much at once as stays in the processor's cache from the window to the bands.
        for begin in range(0, len(segments), len(self._scratch)):
            some = segments[begin : begin + len(self._scratch)]
            # Behind the window the rows of the scratch memory stay zero.
            np.multiply(some, window, out=self._scratch[: len(some), :width])
            energy = self._energy[: len(some)]
            _set_energy(energy, self._rfft(self._scratch[: len(some)]))
            if front_end.power == 1:
                np.sqrt(energy, out=energy)
            _set_bands(bands[:, begin : begin + len(some)], energy, self._groups)
        if front_end.mel_root:
            np.sqrt(bands, out=bands)
        return _logarithm(bands, front_end)


@lru_cache(maxsize=1)
def fastest_transform() -> Transform:
    """Return the fastest Fourier transform here, and the type that it is fastest in.

    scipy's in float32 takes half the time of numpy's, and its rounding is that of float32; numpy's
    works in float64 whatever it is given.
    """
    if importlib.util.find_spec("scipy") is None:
        return np.fft.rfft, np.float64
    import scipy.fft

    return scipy.fft.rfft, np.float32


def _transform_of(front_end: FrontEnd) -> Transform:
    """Return the Fourier transform that a front end takes, and its type.

    The published L3 family looks 80 dB down, where on pure tones the rounding of float32 shows in
    its embeddings; it is held to upstream's own numbers.
    """
    is_l3 = front_end.resampler == "kaiser_best"
    return (np.fft.rfft, np.float64) if is_l3 else fastest_transform()


def _set_energy(energy: Array, spectrum: NDArray[Any]) -> None:
    np.square(spectrum.real, out=energy, casting="same_kind")
    energy += np.square(spectrum.imag, dtype=np.float32, casting="same_kind")


def statistics(log_mels: Array) -> Array:
    """Return mean and standard deviation over time of every band.

    Parameters
    ----------
    log_mels : ndarray, float32 (T, n_bands, n_steps)

    Returns
    -------
    ndarray, float32 (T, 2 * n_bands)
        Means first.
    """
    return np.concatenate([log_mels.mean(axis=2), log_mels.std(axis=2)], axis=1)


@lru_cache(maxsize=16)
def window_of(front_end: FrontEnd) -> Array:
    """Return the analysis window, float32 (window_samples,)."""
    n = front_end.window_samples
    if front_end.window == "hann-symmetric":
        return np.hanning(n).astype(np.float32)
    return np.hanning(n + 1)[:-1].astype(np.float32)


@lru_cache(maxsize=16)
def mel_matrix(front_end: FrontEnd) -> Array:
    """Return the filter bank, float32 (n_fft // 2 + 1, n_mels).

    ``"htk"`` and ``"slaney"`` triangles are straight in Hz (librosa.filters.mel); ``"kaldi"`` ones
    are straight in mel and leave the Nyquist bin out (torchaudio.compliance.kaldi.get_mel_banks).
    """
    hz_of_bin = front_end.sample_rate / front_end.n_fft
    bins: NDArray[np.float64] = np.arange(front_end.n_fft // 2 + 1, dtype=np.float64) * hz_of_bin
    edges = np.linspace(
        _to_mel(np.array(front_end.f_min), front_end.mel_scale),
        _to_mel(np.array(front_end.f_max), front_end.mel_scale),
        front_end.n_mels + 2,
    )
    if front_end.mel_scale == "kaldi":
        weights = _triangles(_to_mel(bins, "kaldi"), edges)
        weights[-1] = 0
    else:
        edges = _to_hz(edges, front_end.mel_scale)
        weights = _triangles(bins, edges)
    if front_end.mel_norm == "slaney":
        weights *= 2 / (edges[2:] - edges[:-2])
    return weights.astype(np.float32)


def _set_bands(bands: Array, energy: Array, groups: list[tuple[slice, slice, Array]]) -> None:
    """Fill bands (n_bands, n) from energies (n, n_bins); without groups each bin is a band."""
    if not groups:
        bands[:] = energy.T
        return
    for group, bins, weights in groups:
        np.matmul(weights, energy[:, bins].T, out=bands[group])


@lru_cache(maxsize=16)
def _mel_groups(front_end: FrontEnd) -> list[tuple[slice, slice, Array]]:
    """Return the filter bank cut into (bands, bins, weights (n bands, n bins)).

    Neighbouring bands need few bins, so most of the whole product would be with zeros. And groups
    are so small that OpenBLAS does them at once: for larger ones it wakes a pool of threads, which
    on a busy machine costs far more than the product.
    """
    weights = mel_matrix(front_end).T
    used = [np.flatnonzero(row) for row in weights]
    ends = [(bins[0], bins[-1] + 1) if len(bins) else (0, 0) for bins in used]
    groups, first = [], 0
    for end in range(1, len(weights) + 1):
        is_last = end == len(weights)
        if is_last or (end + 1 - first) * _width(ends[first : end + 1]) > _WEIGHTS_AT_ONCE:
            low, high = _span(ends[first:end])
            rows = np.ascontiguousarray(weights[first:end, low:high])
            groups.append((slice(first, end), slice(low, high), rows))
            first = end
    return groups


def _span(ends: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the first bin, and that after the last, of bands that have any."""
    filled = [(low, high) for low, high in ends if high > low] or [(0, 1)]
    return min(low for low, _ in filled), max(high for _, high in filled)


def _width(ends: list[tuple[int, int]]) -> int:
    low, high = _span(ends)
    return high - low


def _triangles(bins: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    width = np.diff(edges)
    rising = (bins[:, None] - edges[:-2]) / width[:-1]
    falling = (edges[2:] - bins[:, None]) / width[1:]
    return np.maximum(0, np.minimum(rising, falling))


# Slaney's Auditory Toolbox: linear below 1 kHz (200/3 Hz a mel), 27 mels a factor of 6.4 above.
_LINEAR_HZ, _BREAK_HZ = 200 / 3, 1000.0
_BREAK_MEL, _LOG_STEP = _BREAK_HZ / _LINEAR_HZ, np.log(6.4) / 27


def _to_mel(hz: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    if scale == "kaldi":
        return 1127 * np.log1p(hz / 700)
    if scale == "htk":
        return 2595 * np.log10(1 + hz / 700)
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, above)


def _to_hz(mel: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    if scale == "kaldi":
        return 700 * np.expm1(mel / 1127)
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, above)


def _cut(frames: Frames) -> Array:
    """Return the frames themselves, float32 (T, frame_samples)."""
    windows = sliding_window_view(frames.signal, frames.frame_samples)
    cut: Array = windows[np.asarray(frames.starts) - frames.origin]
    return cut


_TAPS = 33  # of the low pass before samples are left out


def wave_of(frames: Array, front_end: FrontEnd) -> Array:
    """Return frames (T, frame_samples) at 16 kHz, float32 (T, wave_samples)."""
    factor = front_end.sample_rate // WAVE_RATE
    if factor == 1:
        return frames
    padded = np.pad(frames, ((0, 0), (_TAPS // 2, _TAPS // 2)))
    heard = sliding_window_view(padded, _TAPS, axis=1)[:, ::factor][:, : front_end.wave_samples]
    wave: Array = heard @ low_pass(factor)
    return wave


@lru_cache(maxsize=4)
def low_pass(factor: int) -> Array:
    """Return a windowed sinc that keeps what a factor less samples can carry, float32 (taps,)."""
    if factor == 1:
        return np.ones(1, np.float32)
    at = np.arange(_TAPS) - _TAPS // 2
    taps = np.sinc(0.9 * at / factor) * np.hamming(_TAPS)
    weights: Array = (taps / taps.sum()).astype(np.float32)
    return weights


def companded(frames: Array) -> Array:
    """Return frames (T, n) of samples as a wave encoder hears them, float32 in [-1, 1]."""
    rms = np.sqrt(np.mean(frames**2, axis=1, keepdims=True, dtype=np.float32))
    loud = np.clip(frames / (np.maximum(rms, np.float32(LEAST_RMS)) * np.float32(HEADROOM)), -1, 1)
    levels = np.log1p(np.float32(MU) * np.abs(loud)) / np.float32(math.log1p(MU))
    signed: Array = np.copysign(levels, loud).astype(np.float32)
    return signed


def _normalised(frames: Array) -> Array:
    """Scale each frame as LISTEN does. Source: hanprd/LISTEN, README and test script."""
    rms = np.sqrt(np.mean(frames**2, axis=1, keepdims=True))
    mean = frames.mean(axis=1, keepdims=True)
    std = frames.std(axis=1, ddof=1, keepdims=True)
    normalised: Array = (frames / (rms + 1e-6) - mean) / (std + 1e-6)
    return normalised


def _preemphasised(signal: Array, factor: float) -> Array:
    if not factor:
        return signal
    emphasised: Array = np.float32(-factor) * signal[..., :-1]
    emphasised += signal[..., 1:]
    return emphasised


def _padded_stretch(frames: Frames, front_end: FrontEnd, begin: int, end: int) -> tuple[Array, int]:
    """Return each frame's padded signal from `begin` on to at least `end`, and where it begins.

    Positions count from the frame's first sample; those outside the frame are padding.
    """
    n = front_end.signal_samples
    left, right = max(0, -begin), max(0, end - n)
    mirrors = front_end.padding == "reflect"
    # What is mirrored must be there.
    low = max(0, min(begin, n - right - 1 if mirrors else begin))
    high = min(n, max(end, left + 1 if mirrors else end))
    inside = _signal_between(frames, front_end, low, high)
    if mirrors:
        before = inside[:, left:0:-1]
        behind = inside[:, -2 : -2 - right : -1]
    else:
        before, behind = (np.zeros((len(inside), k), np.float32) for k in (left, right))
    return np.concatenate([before, inside, behind], axis=1), low - left


def _signal_between(frames: Frames, front_end: FrontEnd, low: int, high: int) -> Array:
    """Return (T, high - low) samples of every frame as the Fourier transform takes them."""
    if front_end.normalise == "rms-std":
        whole = _preemphasised(_normalised(_cut(frames)), front_end.preemphasis)
        return whole[:, low:high]
    more = 1 if front_end.preemphasis else 0
    offsets = [start - frames.origin for start in frames.starts]
    raw = np.stack([frames.signal[o + low : o + high + more] for o in offsets])
    return _preemphasised(raw, front_end.preemphasis)


def _logarithm(bands: Array, front_end: FrontEnd) -> Array:
    """Take the logarithm in place; decibels are a multiple of the natural one, which is faster."""
    if front_end.log_floor:
        np.maximum(bands, np.float32(front_end.log_floor), out=bands)
    if front_end.log_offset:
        bands += np.float32(front_end.log_offset)
    np.log(bands, out=bands)
    if front_end.log == "db":
        bands *= np.float32(10 / math.log(10))
    return bands


def _finish(pictures: Array, front_end: FrontEnd) -> Array:
    """Apply what depends on the whole frame, in place, and the scale that the network takes."""
    if front_end.reference == "frame-max" or front_end.dynamic_range:
        peak = pictures.max(axis=(1, 2), keepdims=True)
        if front_end.dynamic_range:
            np.maximum(pictures, peak - np.float32(front_end.dynamic_range), out=pictures)
        if front_end.reference == "frame-max":
            pictures -= peak
    if front_end.shift:
        pictures += np.float32(front_end.shift)
    if front_end.scale != 1:
        pictures *= np.float32(front_end.scale)
    return np.ascontiguousarray(pictures)
