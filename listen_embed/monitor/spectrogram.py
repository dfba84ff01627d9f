"""Samples of one hop -> one column of the page's spectrogram. For the eye only, not for models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_BANDS = 48
_N_FFT = 2048
_LOWEST_HZ = 60.0
_FLOOR_DB = -100.0


class SpectrogramColumn:
    """Mean power in bands that are evenly spaced in log frequency, as bytes.

    Parameters
    ----------
    rate : int
        Samples per second.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        edges_hz = np.geomspace(_LOWEST_HZ, rate / 2, N_BANDS + 1)
        bins = np.round(edges_hz * _N_FFT / rate).astype(int)
        self._starts = np.minimum(bins[:-1], _N_FFT // 2)
        # Low bands are narrower than a bin: each has at least one.
        self._widths = np.maximum(np.append(bins[1:], 0)[:N_BANDS] - self._starts, 1)
        self._window = np.hanning(_N_FFT).astype(np.float32)

    def __call__(self, samples: NDArray[np.float32]) -> bytes:
        """Return a byte per band, low to high: 0 at -100 dB, 255 at 0 dB of full scale."""
        tail = samples[-_N_FFT:]
        padded = np.pad(tail, (_N_FFT - len(tail), 0)) * self._window
        power = np.abs(np.fft.rfft(padded)) ** 2 / (_N_FFT / 4) ** 2
        sums = np.concatenate([[0.0], np.cumsum(power)])
        ends = np.minimum(self._starts + self._widths, len(power))
        bands = (sums[ends] - sums[self._starts]) / self._widths
        decibels = 10.0 * np.log10(np.maximum(bands, 1e-12))
        scaled = (decibels - _FLOOR_DB) * (255.0 / -_FLOOR_DB)
        return bytes(np.clip(scaled, 0, 255).astype(np.uint8))
