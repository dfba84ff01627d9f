"""The front ends and the framing once more: plain float64, written from the papers' side.

Nothing here reads `FrontEnd` or calls the package. Constants stand where they are used, the Fourier
transform is a matrix, filters are built triangle by triangle, every column is cut on its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


# ---- framing ---------------------------------------------------------------------------------


def upstream_frames(signal: Array, frame: int, hop: int, center: bool) -> list[Array]:
    """Return the frames of edgel3 and openl3: half a frame of zeros before, enough behind."""
    if center:
        signal = np.concatenate([np.zeros(frame // 2), signal])
    n = len(signal)
    padded_length = frame if n < frame else frame + math.ceil((n - frame) / hop) * hop
    padded = np.concatenate([signal, np.zeros(padded_length - n)])
    return [padded[start : start + frame] for start in range(0, padded_length - frame + 1, hop)]


# ---- windows, transforms, filters ------------------------------------------------------------


def periodic_hann(n: int) -> Array:
    """Return one period of a raised cosine, whose end is the next period's start."""
    return np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / n) for i in range(n)])


def symmetric_hann(n: int) -> Array:
    """Return a raised cosine that reaches zero at both ends."""
    return np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / (n - 1)) for i in range(n)])


def spectra(
    signal: Array, window: Array, n_fft: int, hop: int, n_columns: int
) -> NDArray[np.complex128]:
    """Return (n_fft // 2 + 1, n_columns) of windows that start at 0, hop, 2 hop, ..."""
    time, frequency = np.arange(len(window)), np.arange(n_fft // 2 + 1)
    fourier = np.exp(-2j * np.pi * np.outer(frequency, time) / n_fft)
    columns = [signal[i * hop : i * hop + len(window)] * window for i in range(n_columns)]
    return fourier @ np.array(columns).T


def htk(hz: float) -> float:
    """HTK's mel formula."""
    return 2595 * math.log10(1 + hz / 700)


def htk_inverse(mel: float) -> float:
    """Its inverse."""
    return 700 * (10 ** (mel / 2595) - 1)


def slaney(hz: float) -> float:
    """Slaney's: straight up to 1 kHz, logarithmic above."""
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def slaney_inverse(mel: float) -> float:
    """Its inverse."""
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def triangles(
    sr: int,
    n_fft: int,
    n_mels: int,
    low: float,
    high: float,
    *,
    scale: tuple[Callable[[float], float], Callable[[float], float]] = (htk, htk_inverse),
    equal_area: bool = False,
) -> Array:
    """Return (n_mels, n_fft // 2 + 1) triangles whose corners are equally spaced in mel."""
    to_mel, to_hz = scale
    corners = [to_hz(mel) for mel in np.linspace(to_mel(low), to_mel(high), n_mels + 2)]
    bank = np.zeros((n_mels, n_fft // 2 + 1))
    for band in range(n_mels):
        left, middle, right = corners[band : band + 3]
        for k in range(n_fft // 2 + 1):
            hz = k * sr / n_fft
            if left < hz <= middle:
                bank[band, k] = (hz - left) / (middle - left)
            elif middle < hz < right:
                bank[band, k] = (right - hz) / (right - middle)
        if equal_area:
            bank[band] *= 2 / (right - left)
    return bank


def kaldi_triangles(sr: int, n_fft: int, n_mels: int, low: float, high: float) -> Array:
    """Return Kaldi's bank: straight in mel, without the Nyquist bin."""

    def mel(hz: float) -> float:
        return 1127 * math.log(1 + hz / 700)

    step = (mel(high) - mel(low)) / (n_mels + 1)
    bank = np.zeros((n_mels, n_fft // 2 + 1))
    for band in range(n_mels):
        middle = mel(low) + (band + 1) * step
        for k in range(n_fft // 2):
            bank[band, k] = max(0, 1 - abs(mel(k * sr / n_fft) - middle) / step)
    return bank


def below_peak(values: Array) -> Array:
    """Return kapre's decibels: 10 log10, below the largest, floored at -80."""
    db = 10 * np.log10(np.maximum(values, 1e-10))
    return np.maximum(db - db.max(), -80)


# ---- the published front ends ----------------------------------------------------------------


def edgel3(frame: Array, sr: int, n_fft: int, hop: int, n_mels: int) -> Array:
    """EdgeL3 (kapre 0.1): SAME padding, power, mel, root."""
    n_columns = math.ceil(len(frame) / hop)
    missing = max(0, (n_columns - 1) * hop + n_fft - len(frame))
    padded = np.concatenate([np.zeros(missing // 2), frame, np.zeros(missing - missing // 2)])
    power = np.abs(spectra(padded, periodic_hann(n_fft), n_fft, hop, n_columns)) ** 2
    return below_peak(np.sqrt(triangles(sr, n_fft, n_mels, 0, sr / 2, equal_area=True) @ power))


def openl3_mel(frame: Array, n_mels: int) -> Array:
    """OpenL3 (kapre 0.3), mel: magnitude, zeros behind, Slaney's scale."""
    padded = np.concatenate([frame, np.zeros(2048)])
    magnitude = np.abs(spectra(padded, periodic_hann(2048), 2048, 242, math.ceil(48000 / 242)))
    scale = (slaney, slaney_inverse)
    return below_peak(
        triangles(48000, 2048, n_mels, 0, 24000, scale=scale, equal_area=True) @ magnitude
    )


def openl3_linear(frame: Array) -> Array:
    """OpenL3, linear: 257 bins, no padding."""
    return below_peak(
        np.abs(spectra(frame, periodic_hann(512), 512, 242, 1 + (48000 - 512) // 242))
    )


def efficientat(frame: Array) -> Array:
    """EfficientAT: pre-emphasis, reflected ends, a short symmetric window, Kaldi's mels, ln."""
    emphasised = frame[1:] - 0.97 * frame[:-1]
    padded = np.pad(emphasised, 512, mode="reflect")
    window = np.concatenate([np.zeros(112), symmetric_hann(800), np.zeros(112)])
    n_columns = 1 + (len(padded) - 1024) // 320
    power = np.abs(spectra(padded, window, 1024, 320, n_columns)) ** 2
    return (np.log(kaldi_triangles(32000, 1024, 128, 0, 15000) @ power + 1e-5) + 4.5) / 5


def listen(frame: Array) -> Array:
    """LISTEN: scaled by its level, reflected ends, 128 HTK mels from 128 Hz, 128 columns."""
    level = math.sqrt(np.mean(frame**2))
    scaled = (frame / (level + 1e-6) - frame.mean()) / (frame.std(ddof=1) + 1e-6)
    padded = np.pad(scaled, 1024, mode="reflect")
    power = np.abs(spectra(padded, periodic_hann(2048), 2048, 376, 128)) ** 2
    mel = triangles(48000, 2048, 128, 128, 24000) @ power
    db = 10 * np.log10(np.maximum(mel, 1e-10))
    return (np.maximum(db, db.max() - 80) + 80) / 160


def log_mel(frame: Array, sr: int, n_fft: int, hop: int, n_mels: int) -> Array:
    """Ours: whole columns only, power, HTK mels up to Nyquist, decibels."""
    n_columns = 1 + (len(frame) - n_fft) // hop
    power = np.abs(spectra(frame, periodic_hann(n_fft), n_fft, hop, n_columns)) ** 2
    return 10 * np.log10(np.maximum(triangles(sr, n_fft, n_mels, 0, sr / 2) @ power, 1e-10))


# A model that uses the front end -> (sample rate, frame length, the front end).
FRONT_ENDS: dict[str, tuple[int, int, Callable[[Array], Array]]] = {
    "sea/64/sonyc-ust": (8000, 8000, lambda frame: edgel3(frame, 8000, 1024, 160, 64)),
    "pruned/512/ft-95.45": (48000, 48000, lambda frame: edgel3(frame, 48000, 2048, 242, 256)),
    "teacher/512/l3-env-mel256": (48000, 48000, lambda frame: openl3_mel(frame, 256)),
    "teacher/512/l3-env-mel128": (48000, 48000, lambda frame: openl3_mel(frame, 128)),
    "teacher/512/l3-env-linear": (48000, 48000, openl3_linear),
    "teacher/384/mn04": (32000, 32000, efficientat),
    "listen/64/cnc": (48000, 48000, listen),
    "logmel/128/16k": (16000, 16000, lambda frame: log_mel(frame, 16000, 1024, 320, 64)),
    "logmel/256/48k": (48000, 48000, lambda frame: log_mel(frame, 48000, 2048, 480, 128)),
}
