"""resampy's ``kaiser_best`` as a bank of filters: block by block, nothing to compile first.

resampy interpolates its filter anew for every output sample, in a loop that numba compiles for a
second at first use. Between two given rates the same few interpolations come back in cycles, so
they are made once, from the formula of resampy's table, and applied to whole cycles. The result is
resampy's, to rounding; neither resampy nor numba is needed for it.

Source: resampy 0.4.3, ``core.py`` and ``interpn.py``; J. O. Smith, "Digital audio resampling",
2002.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Reals = NDArray[np.float64]

# resampy's kaiser_best: zero crossings on a side, table entries between two of them, the window's
# shape, and where the pass band ends as a share of the lower rate's half.
_N_ZEROS, _PER_CROSSING = 50, 8192
_BETA, _ROLL_OFF = 12.984585247040012, 0.9173473712608761

_MAX_PRODUCTS = 1 << 20  # at once: what stays in the cache is faster


class KaiserBest:
    """Stream samples from one rate to another.

    Parameters
    ----------
    sr_in, sr_out : int
        Rates in Hz.
    """

    def __init__(self, sr_in: int, sr_out: int) -> None:
        common = math.gcd(sr_in, sr_out)
        self._in_step, self._out_step = sr_in // common, sr_out // common
        self._bank = _bank(self._in_step, self._out_step)
        self._buffer = np.zeros(self._bank.n_before)
        self._n_in = self._n_out = 0
        self.latency = (self._bank.n_after + self._in_step) / sr_in

    def push(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Return the whole cycles that a block completes; when `last`, all that is left."""
        self._n_in += len(block)
        self._buffer = np.concatenate([self._buffer, block.astype(np.float64)])
        # One sample at least comes out of a clip, however short.
        n_left = max(1, self._n_in * self._out_step // self._in_step) - self._n_out
        n_cycles = -(-n_left // self._out_step) if last else self._n_complete()
        if n_cycles <= 0 or self._n_in == 0:
            return np.zeros(0, np.float32)
        self._fill(n_cycles)
        resampled = self._convolve(n_cycles)[: n_left if last else None]
        self._n_out += len(resampled)
        self._buffer = self._buffer[n_cycles * self._in_step :]
        return resampled.astype(np.float32)

    def _n_complete(self) -> int:
        reach = self._bank.n_before + self._bank.n_after
        return max(0, (len(self._buffer) - reach) // self._in_step + 1)

    def _fill(self, n_cycles: int) -> None:
        """Put the silence after the clip behind it, as far as the last cycle looks."""
        reach = self._bank.n_before + self._bank.n_after
        missing = (n_cycles - 1) * self._in_step + reach - len(self._buffer)
        if missing > 0:
            self._buffer = np.concatenate([self._buffer, np.zeros(missing)])

    def _convolve(self, n_cycles: int) -> Reals:
        """Return ``n_cycles * out_step`` samples from the buffer's start on."""
        taps = self._bank.taps
        windows = sliding_window_view(self._buffer, taps.shape[1])
        first = self._bank.first + self._bank.n_before
        resampled = np.empty((n_cycles, self._out_step))
        step = max(1, _MAX_PRODUCTS // taps.size)
        for begin in range(0, n_cycles, step):
            cycles = np.arange(begin, min(begin + step, n_cycles))
            segments = windows[cycles[:, None] * self._in_step + first]
            resampled[cycles] = np.einsum("cpt,pt->cp", segments, taps)
        return resampled.ravel()


@dataclass(frozen=True, slots=True)
class _Bank:
    """The filters of one cycle.

    Attributes
    ----------
    taps : ndarray, float64 (out_step, n_taps)
    first : ndarray, int (out_step,)
        First input sample of each filter, counted from the cycle's first.
    """

    taps: Reals
    first: NDArray[np.intp]

    @property
    def n_before(self) -> int:
        """Inputs before a cycle's first that it looks at."""
        return -int(self.first[0])

    @property
    def n_after(self) -> int:
        """Inputs from a cycle's first on that it looks at."""
        return int(self.first[-1]) + int(self.taps.shape[1])


@lru_cache(maxsize=8)
def _bank(in_step: int, out_step: int) -> _Bank:
    half, per_crossing = _table()
    scale = min(1.0, out_step / in_step)
    whole, part = np.divmod(np.arange(out_step) * in_step, out_step)
    fraction = scale * part / out_step
    stride = int(scale * per_crossing)  # rounded as resampy rounds it
    left = _wing(half * scale, fraction, per_crossing, stride)[:, ::-1]
    right = _wing(half * scale, scale - fraction, per_crossing, stride)
    return _Bank(np.concatenate([left, right], axis=1), whole - (left.shape[1] - 1))


def _wing(half: Reals, fraction: Reals, per_crossing: int, stride: int) -> Reals:
    """Return one side of every filter: the table read every `stride` entries from `fraction` on."""
    slope = np.diff(half, append=half[-1])
    place = fraction * per_crossing
    offset = place.astype(np.intp)
    n_taps = (len(half) - offset) // stride
    index = offset[:, None] + np.arange(n_taps.max()) * stride
    is_inside = np.arange(n_taps.max()) < n_taps[:, None]
    index = np.where(is_inside, index, 0)
    return np.where(is_inside, half[index] + (place - offset)[:, None] * slope[index], 0.0)


@lru_cache(maxsize=1)
def _table() -> tuple[Reals, int]:
    """Return half of the filter, and its entries per zero crossing: a sinc under a Kaiser window.

    Source: resampy 0.4.3, ``kaiser_best`` as stored, to 4e-16.
    """
    place = np.linspace(0, _N_ZEROS, _N_ZEROS * _PER_CROSSING + 1)
    window = np.i0(_BETA * np.sqrt(1 - (place / _N_ZEROS) ** 2)) / np.i0(_BETA)
    return _ROLL_OFF * np.sinc(_ROLL_OFF * place) * window, _PER_CROSSING
