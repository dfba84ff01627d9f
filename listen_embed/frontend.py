"""Frames of samples -> what a network takes, by a :class:`~listen_embed.spec.FrontEnd`; numpy only.

A log-mel column depends on its own samples alone, except near the ends of a frame, where padding
begins. So where the front end does not rescale each frame first and hops are whole columns,
overlapping frames share their inner columns, within a call and from call to call; the result is the
same, the work a fraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from listen_embed.framing import Frames
from listen_embed.spec import FrontEnd

Array = NDArray[np.float32]


class FeatureExtractor:
    """Turn frames into network inputs.

    Stateful only for speed: the columns that the next frames may share are kept.

    Parameters
    ----------
    front_end : FrontEnd
        All constants.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end
        self.reset()

    def reset(self) -> None:
        """Forget the columns of the signal so far."""
        self._kept: Array = np.zeros((0, self.front_end.n_bands), np.float32)
        self._kept_position = 0

    def __call__(self, frames: Frames) -> Array:
        """Return float32 (T, n_bands, n_steps), or (T, frame_samples) for a waveform front end."""
        front_end = self.front_end
        if front_end.features == "waveform":
            return _cut(frames)
        if self._can_share(frames.starts):
            columns = self._columns_shared(frames)
        else:
            columns = self._columns_of_frames(_cut(frames), self._all_steps)
        return _finish(columns, front_end)

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
    def _edge_steps(self) -> NDArray[np.intp]:
        return np.setdiff1d(self._all_steps, self._inner_steps)

    @cached_property
    def _inner_offset(self) -> int:
        return int(self._inner_steps[0]) * self.front_end.hop_samples + self._segment_offset

    def _columns_shared(self, frames: Frames) -> Array:
        """Return (T, n_steps, n_bands), every inner column computed once."""
        hop = self.front_end.hop_samples
        starts = np.asarray(frames.starts)
        first = int(starts[0]) + self._inner_offset
        n_run = int(starts[-1] - starts[0]) // hop + len(self._inner_steps)
        run = self._run_of_columns(frames, first, n_run)
        columns = np.empty((len(starts), self.front_end.n_steps, run.shape[1]), np.float32)
        views = sliding_window_view(run, len(self._inner_steps), axis=0)
        columns[:, self._inner_steps] = views[(starts - starts[0]) // hop].swapaxes(1, 2)
        if len(self._edge_steps):
            whole = _cut(frames)
            columns[:, self._edge_steps] = self._columns_of_frames(whole, self._edge_steps)
        self._kept = run[-len(self._inner_steps) :].copy()
        self._kept_position = int(starts[-1]) + self._inner_offset
        return columns

    def _run_of_columns(self, frames: Frames, first: int, n_run: int) -> Array:
        """Return `n_run` columns from position `first` on, reusing those of the last call."""
        hop = self.front_end.hop_samples
        skipped, misaligned = divmod(first - self._kept_position, hop)
        usable = skipped >= 0 and not misaligned
        reused = self._kept[skipped:] if usable else self._kept[:0]
        signal = _preemphasised(frames.signal, self.front_end.preemphasis)
        begin = first + len(reused) * hop - frames.origin
        segments = sliding_window_view(signal, self.front_end.window_samples)
        fresh = self._spectrum(segments[begin::hop][: n_run - len(reused)])
        return np.concatenate([reused, fresh])

    def _columns_of_frames(self, frames: Array, steps: NDArray[np.intp]) -> Array:
        """Return (T, len(steps), n_bands) of frames (T, frame_samples), each padded by itself."""
        front_end = self.front_end
        if front_end.normalise == "rms-std":
            frames = _normalised(frames)
        padded = np.pad(
            _preemphasised(frames, front_end.preemphasis),
            ((0, 0), (front_end.pad_left, front_end.pad_right)),
            mode="reflect" if front_end.padding == "reflect" else "constant",
        )
        begin = steps * front_end.hop_samples + self._segment_offset + front_end.pad_left
        segments = sliding_window_view(padded, front_end.window_samples, axis=1)[:, begin]
        return self._spectrum(segments)

    def _spectrum(self, segments: Array) -> Array:
        """Return the log band energies of windowless segments (..., window_samples)."""
        front_end = self.front_end
        windowed = segments * window_of(front_end)
        spectrum = np.fft.rfft(windowed, n=front_end.n_fft, axis=-1)
        energy = spectrum.real**2 + spectrum.imag**2
        if front_end.power == 1:
            energy = np.sqrt(energy)
        bands = energy.astype(np.float32, copy=False)
        if front_end.n_mels:
            bands = _mel_bands(bands, front_end)
        if front_end.mel_root:
            bands = np.sqrt(bands)
        return _logarithm(bands, front_end)


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


@dataclass(frozen=True)
class _Slopes:
    """A filter bank by its slopes: between two edges every bin is on one rise and one fall."""

    first_bins: NDArray[np.intp]
    """First bin of each of the n_mels + 1 gaps between edges."""
    is_empty: NDArray[np.bool_]
    end: int
    rise: Array
    fall: Array


@lru_cache(maxsize=16)
def _slopes(front_end: FrontEnd) -> _Slopes:
    weights = mel_matrix(front_end)
    n_bins, n_mels = weights.shape
    gap_of_bin = np.searchsorted(_edges_in_bins(front_end), np.arange(n_bins), side="right") - 1
    padded = np.pad(weights, ((0, 0), (1, 1)))
    inside = np.clip(gap_of_bin, 0, n_mels)
    bins = np.arange(n_bins)
    is_covered = (gap_of_bin >= 0) & (gap_of_bin <= n_mels)
    rise = np.where(is_covered, padded[bins, inside + 1], 0).astype(np.float32)
    fall = np.where(is_covered, padded[bins, inside], 0).astype(np.float32)
    first = np.searchsorted(gap_of_bin, np.arange(n_mels + 2))
    end = int(first[-1])
    return _Slopes(np.minimum(first[:-1], end - 1), np.diff(first) == 0, end, rise, fall)


def _edges_in_bins(front_end: FrontEnd) -> NDArray[np.float64]:
    """Return the n_mels + 2 edges of the triangles as (fractional) bins."""
    edges = np.linspace(
        _to_mel(np.array(front_end.f_min), front_end.mel_scale),
        _to_mel(np.array(front_end.f_max), front_end.mel_scale),
        front_end.n_mels + 2,
    )
    return _to_hz(edges, front_end.mel_scale) * (front_end.n_fft / front_end.sample_rate)


def _mel_bands(spectrum: Array, front_end: FrontEnd) -> Array:
    """Return ``spectrum @ mel_matrix(front_end)`` (..., n_mels), by the two slopes of each band.

    Each row's sum has the same order whatever rows stand beside it, so a stream equals its clip to
    the last bit, and no pool of BLAS threads wakes up for a product this small.
    """
    slopes = _slopes(front_end)
    rising = np.add.reduceat(spectrum * slopes.rise, slopes.first_bins, axis=-1)
    falling = np.add.reduceat(spectrum * slopes.fall, slopes.first_bins, axis=-1)
    rising[..., slopes.is_empty] = 0
    falling[..., slopes.is_empty] = 0
    return rising[..., :-1] + falling[..., 1:]


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
    return signal[..., 1:] - np.float32(factor) * signal[..., :-1]


def _logarithm(bands: Array, front_end: FrontEnd) -> Array:
    if front_end.log_floor:
        bands = np.maximum(bands, np.float32(front_end.log_floor))
    if front_end.log_offset:
        bands = bands + np.float32(front_end.log_offset)
    return 10 * np.log10(bands) if front_end.log == "db" else np.log(bands)


def _finish(columns: Array, front_end: FrontEnd) -> Array:
    """Apply what depends on the whole frame, and put bands before time."""
    if front_end.reference == "frame-max" or front_end.dynamic_range:
        peak = columns.max(axis=(1, 2), keepdims=True)
        if front_end.dynamic_range:
            columns = np.maximum(columns, peak - np.float32(front_end.dynamic_range))
        if front_end.reference == "frame-max":
            columns = columns - peak
    if front_end.shift or front_end.scale != 1:
        columns = (columns + np.float32(front_end.shift)) * np.float32(front_end.scale)
    return np.ascontiguousarray(columns.swapaxes(1, 2))
