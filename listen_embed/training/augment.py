"""Random but realistic changes to a crop, drawn afresh whenever one is needed.

The teacher hears the changed crop too, so its embedding is a true target, whatever was done: mixing
with another crop, filtering by a room and a microphone, speed, coloured noise, gain, silence. Real
audio is scarce; what happens to it on the way to a microphone is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How often, and how far, crops are changed; all ranges are uniform.

    Parameters
    ----------
    mix, speed, equalise, reverb, band_limit, noise, gain, silence : float
        Probabilities in [0, 1].
    mix_snr_db, noise_snr_db, gain_db : (float, float)
        Decibels of the first sound over the second, over noise, and of the level.
    speed_range : (float, float)
        Factors of tempo and pitch together.
    equalise_db : float
        Largest gain or cut of the random equaliser.
    """

    mix: float = 0.6
    mix_snr_db: tuple[float, float] = (-5.0, 20.0)
    speed: float = 0.3
    speed_range: tuple[float, float] = (0.8, 1.25)
    equalise: float = 0.5
    equalise_db: float = 12.0
    reverb: float = 0.2
    band_limit: float = 0.15
    noise: float = 0.2
    noise_snr_db: tuple[float, float] = (0.0, 40.0)
    gain: float = 0.8
    gain_db: tuple[float, float] = (-25.0, 10.0)
    silence: float = 0.08

    @property
    def stretch(self) -> float:
        """How much longer than the result a crop must be."""
        return max(1.0, self.speed_range[1])


NONE = Augmentation(mix=0, speed=0, equalise=0, reverb=0, band_limit=0, noise=0, gain=0, silence=0)


def augment(
    crop: Array, other: Array, sr: int, n_samples: int, rng: np.random.Generator, how: Augmentation
) -> Array:
    """Return `n_samples` of a crop, changed at random.

    Parameters
    ----------
    crop, other : ndarray, float32 (m,), m >= n_samples * how.stretch
        The sound, and the one it may be mixed with.
    sr : int
        Rate in Hz.
    n_samples : int
        Length of the result.
    rng : Generator
        Decides everything.
    how : Augmentation
    """
    sound = _at_speed(crop, n_samples, rng, how)
    if rng.random() < how.mix:
        sound = add_at_snr(sound, other[:n_samples], rng.uniform(*how.mix_snr_db))
    sound = _filtered(sound, sr, rng, how)
    if rng.random() < how.noise:
        noise = coloured_noise(n_samples, rng.uniform(-1.0, 2.0), rng)
        sound = add_at_snr(sound, noise, rng.uniform(*how.noise_snr_db))
    if rng.random() < how.gain:
        sound = sound * np.float32(10 ** (rng.uniform(*how.gain_db) / 20))
    if rng.random() < how.silence:
        sound = _partly_silent(sound, rng)
    return np.clip(sound, -1, 1)


def add_at_snr(sound: Array, noise: Array, snr_db: float) -> Array:
    """Return sound + noise, the noise scaled to `snr_db` below the sound; silence adds nothing."""
    power, noise_power = float(np.mean(sound**2)), float(np.mean(noise**2))
    if power == 0 or noise_power == 0:
        return sound
    scale = np.sqrt(power / noise_power) * 10 ** (-snr_db / 20)
    return sound + np.float32(scale) * noise


def coloured_noise(n_samples: int, slope: float, rng: np.random.Generator) -> Array:
    """Return noise whose power falls as ``frequency ** -slope``: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples, dtype=np.float32))
    shape = np.arange(1, len(spectrum) + 1, dtype=np.float32) ** np.float32(-slope / 2)
    noise = np.fft.irfft(spectrum * shape, n_samples)
    noise -= noise.mean()  # an offset cannot be heard, but would count as level
    return (noise / (np.std(noise) + 1e-12)).astype(np.float32)


def _at_speed(crop: Array, n_samples: int, rng: np.random.Generator, how: Augmentation) -> Array:
    if rng.random() >= how.speed:
        return crop[:n_samples]
    positions = np.arange(n_samples) * rng.uniform(*how.speed_range)
    changed: Array = np.interp(positions, np.arange(len(crop)), crop).astype(np.float32)
    return changed


def _filtered(sound: Array, sr: int, rng: np.random.Generator, how: Augmentation) -> Array:
    """Apply the equaliser, the room and the band limits in one pass through the spectrum."""
    n = len(sound)
    response = np.ones(n // 2 + 1, np.complex64)
    frequencies = np.linspace(0, sr / 2, len(response))
    if rng.random() < how.equalise:
        response *= _equaliser(frequencies, rng, how.equalise_db)
    if rng.random() < how.band_limit:
        response *= _band_limits(frequencies, rng)
    if rng.random() < how.reverb:
        response *= _room(n, sr, rng)
    if np.all(response == 1):
        return sound
    return np.fft.irfft(np.fft.rfft(sound) * response, n).astype(np.float32)


def _equaliser(
    frequencies: NDArray[np.float64], rng: np.random.Generator, most_db: float
) -> NDArray[np.float32]:
    """Return a smooth random gain curve with six corners, even on the ear's scale."""
    octaves = np.log2(1 + frequencies / 100)
    corners = np.linspace(0, octaves[-1], 6)
    gains_db = np.interp(octaves, corners, rng.uniform(-most_db, most_db, len(corners)))
    return (10 ** (gains_db / 20)).astype(np.float32)


def _band_limits(frequencies: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a second-order low cut and a high cut, as small loudspeakers and phones have them."""
    low = 10 ** rng.uniform(1.3, 2.7)
    high = frequencies[-1] * 10 ** rng.uniform(-0.8, 0.0)
    low_cut = frequencies**2 / (frequencies**2 + low**2)
    high_cut = 1 / np.sqrt(1 + (frequencies / high) ** 8)
    gains: NDArray[np.float32] = (low_cut * high_cut).astype(np.float32)
    return gains


def _room(n_samples: int, sr: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """Return the response of a direct sound and an exponentially fading noise tail."""
    decay_seconds = 10 ** rng.uniform(-1.2, 0.0)
    time = np.arange(n_samples, dtype=np.float32) / sr
    tail = rng.standard_normal(n_samples, dtype=np.float32) * np.exp(-6.9 * time / decay_seconds)
    tail *= np.float32(10 ** (rng.uniform(-15, 0) / 20) / (np.linalg.norm(tail) + 1e-12))
    tail[0] += 1
    response: NDArray[np.complex64] = np.fft.rfft(tail).astype(np.complex64)
    return response


def _partly_silent(sound: Array, rng: np.random.Generator) -> Array:
    """Return the sound with its head or tail replaced by digital silence, as cut clips have it."""
    edge = int(rng.uniform(0.1, 0.95) * len(sound))
    silenced = sound.copy()
    if rng.random() < 0.5:
        silenced[:edge] = 0
    else:
        silenced[edge:] = 0
    return silenced
