"""Machines that never ran: rotating sounds with their faults, where recordings are scarce.

A machine is a shaft with harmonics, perhaps gears or blades with sidebands, bearings that click,
flow noise, a housing that resonates, and a speed that wanders. Ranges are wide on purpose: a
student should meet every spectrum that a real machine may have, not any particular one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from listen_embed.training.augment import coloured_noise

Samples = NDArray[np.float32]

_TURN = 1 << 14  # samples of one turn in a table: the error of reading it stays below -70 dB


def machine(n_samples: int, sr: int, rng: np.random.Generator) -> Samples:
    """Return one random machine, float32 (n_samples,), RMS 0.1.

    Parameters
    ----------
    n_samples : int
    sr : int
        Rate in Hz.
    rng : Generator
        Decides which machine.
    """
    phase = _shaft_phase(n_samples, sr, rng)
    parts = [coloured_noise(n_samples, rng.uniform(0, 2), rng) * _level(rng, -30, 0)]
    if rng.random() < 0.9:
        parts.append(_harmonics(phase, sr, rng) * _level(rng, -20, 6))
    if rng.random() < 0.5:
        parts.append(_gears(phase, rng) * _level(rng, -25, 3))
    if rng.random() < 0.4:
        parts.append(_impacts(phase, sr, rng) * _level(rng, -20, 3))
    if rng.random() < 0.5:
        flow = coloured_noise(n_samples, rng.uniform(-1, 1.5), rng)
        depth = rng.uniform(0, 1)
        parts.append(flow * (1 + depth * np.sin(phase * rng.integers(1, 8))) * _level(rng, -20, 3))
    for _ in range(rng.integers(0, 4)):
        parts.append(_whine(n_samples, sr, rng) * _level(rng, -35, 0))
    sound = _resonances(np.sum(parts, axis=0), sr, rng)
    return (0.1 * sound / (np.std(sound) + 1e-9)).astype(np.float32)


def _level(rng: np.random.Generator, low_db: float, high_db: float) -> np.float32:
    return np.float32(10 ** (rng.uniform(low_db, high_db) / 20))


def _shaft_phase(n_samples: int, sr: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the shaft's angle: 5 to 500 turns a second, wandering by up to 3 %."""
    turns = 10 ** rng.uniform(0.7, 2.7)
    time = np.arange(n_samples) / sr
    depth, pace, start = 0.03 * rng.random(), rng.uniform(0.1, 2), rng.uniform(0, 6)
    wander = 1 + depth * np.sin(2 * np.pi * pace * time + start)
    angle: NDArray[np.float64] = 2 * np.pi * np.cumsum(turns * wander) / sr
    return angle


def _harmonics(phase: NDArray[np.float64], sr: int, rng: np.random.Generator) -> Samples:
    """Return up to 60 harmonics whose levels fall off at a random rate, each a little off."""
    turns = (phase[-1] - phase[0]) / (2 * np.pi) * sr / len(phase)
    n = int(min(60, 0.45 * sr / max(turns, 1.0), rng.integers(3, 61)))
    orders = np.arange(1, max(2, n + 1))
    levels = orders ** -rng.uniform(0.2, 2.0) * 10 ** (rng.normal(0, 6, len(orders)) / 20)
    levels[rng.random(len(orders)) < 0.2] = 0
    # One turn as a table, read at the shaft's angle: a hundred times faster than as many sines.
    spectrum = np.zeros(_TURN // 2 + 1, np.complex64)
    spectrum[orders] = levels * np.exp(1j * rng.uniform(0, 2 * np.pi, len(orders)))
    turn = np.fft.irfft(spectrum, _TURN).astype(np.float32)
    sound = turn[(phase * (_TURN / (2 * np.pi))).astype(np.int64) % _TURN]
    return sound / (np.std(sound) + np.float32(1e-9))


def _gears(phase: NDArray[np.float64], rng: np.random.Generator) -> Samples:
    """Return a mesh or blade tone: `teeth` times the shaft, with sidebands of its turns."""
    teeth, depth = rng.integers(5, 60), rng.uniform(0, 0.8)
    tone = np.sin(teeth * phase) * (1 + depth * np.sin(phase + rng.uniform(0, 6)))
    return tone.astype(np.float32)


def _impacts(phase: NDArray[np.float64], sr: int, rng: np.random.Generator) -> Samples:
    """Return a damaged bearing or tooth: ringing clicks at an uneven multiple of the turns."""
    clicks = np.diff(np.floor(phase / (2 * np.pi) * rng.uniform(0.4, 12)), prepend=0) > 0
    strengths = clicks * rng.uniform(0.5, 1.5, len(phase))
    n_ring = int(0.02 * sr)
    time = np.arange(n_ring) / sr
    frequency, decay = 10 ** rng.uniform(2.7, np.log10(0.45 * sr)), rng.uniform(200, 2000)
    ring = np.sin(2 * np.pi * frequency * time) * np.exp(-decay * time)
    size = len(phase) + n_ring
    sound = np.fft.irfft(np.fft.rfft(strengths, size) * np.fft.rfft(ring, size), size)[: len(phase)]
    return (sound / (np.std(sound) + 1e-9)).astype(np.float32)


def _whine(n_samples: int, sr: int, rng: np.random.Generator) -> Samples:
    """Return a tone of an inverter, a coil or a nozzle, now and then warbling."""
    frequency = 10 ** rng.uniform(2, np.log10(0.48 * sr))
    time = np.arange(n_samples) / sr
    warble = rng.uniform(0, 20) * np.sin(2 * np.pi * rng.uniform(1, 30) * time)
    return np.sin(2 * np.pi * frequency * time + warble * (rng.random() < 0.3)).astype(np.float32)


def _resonances(sound: Samples, sr: int, rng: np.random.Generator) -> Samples:
    """Return the sound through a housing with up to six resonances."""
    frequencies = np.fft.rfftfreq(len(sound), 1 / sr)
    response = np.ones(len(frequencies), np.float32)
    for _ in range(rng.integers(0, 7)):
        centre, width = 10 ** rng.uniform(1.7, np.log10(sr / 2)), 10 ** rng.uniform(-2, -0.3)
        bump = 1 / (1 + ((frequencies / centre - centre / np.maximum(frequencies, 1)) / width) ** 2)
        response += (_level(rng, -10, 20) * bump).astype(np.float32)
    return np.fft.irfft(np.fft.rfft(sound) * response, len(sound)).astype(np.float32)
