"""Make the sounds of this folder: machines and chirps from arithmetic, speech from espeak-ng.

Every sound but speech comes from a seed and is the same wherever it is made. Speech is made where
espeak-ng is installed, and left as it is elsewhere.

Usage: python make_audio.py [FOLDER]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr

SR = 16_000
SPEECH = "The pump is running. The fan is off. Bearing four needs a look."


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in synthesised().items():
        soundfile.write(folder / f"{name}.flac", samples, SR, subtype="PCM_16")
    if shutil.which("espeak-ng"):
        soundfile.write(folder / "speech.flac", spoken(SPEECH), SR, subtype="PCM_16")


def synthesised() -> dict[str, np.ndarray]:
    """Return every sound made from arithmetic, int16 at `SR`."""
    sounds = {
        "motor": motor(4.0, seed=1),
        "motor-again": motor(4.0, seed=2),
        "motor-fault": motor(4.0, seed=3, fault=0.12),
        "fan": fan(4.0, seed=4),
        "pump": pump(seed=5),
        "chirps": chirps(),
    }
    return {name: in_16_bits(samples) for name, samples in sounds.items()}


def in_16_bits(samples: np.ndarray) -> np.ndarray:
    assert np.abs(samples).max() < 1, "too loud for 16 bits"
    return np.rint(32_767 * samples).astype(np.int16)


def motor(seconds: float, seed: int, fault: float = 0.0) -> np.ndarray:
    """Return an induction motor on 50 Hz; `fault` is how hard a damaged outer race rings."""
    rng = np.random.default_rng(seed)
    t = clock(seconds)
    turns = 24.6 * t + 0.02 * np.sin(2 * np.pi * 0.7 * t)
    hum = tones(100 * t, [1, 2, 3, 4], [0.05, 0.022, 0.008, 0.004], rng)
    shaft = tones(turns, [1, 2, 3, 6], [0.03, 0.02, 0.008, 0.006], rng)
    sound = hum + shaft + 0.012 * noise(len(t), 1.0, rng)
    # Rolling elements meet the damage 3.58 times a turn and ring the housing.
    hits = strikes(3.58 * turns, rng, jitter=0.02)
    return sound + fault * ring(hits, 3_100.0, 0.002) + fault * ring(hits, 1_850.0, 0.004)


def fan(seconds: float, seed: int) -> np.ndarray:
    """Return seven blades in turbulent air that comes in gusts."""
    rng = np.random.default_rng(seed)
    t = clock(seconds)
    blades = 7 * 19 * t + 0.05 * np.sin(2 * np.pi * 0.4 * t)
    gusts = 1 + 0.35 * np.sin(2 * np.pi * 0.9 * t + 1) * np.sin(2 * np.pi * 0.23 * t)
    air = 0.03 * gusts * noise(len(t), 1.3, rng)
    return tones(blades, [1, 2, 3, 4], [0.04, 0.02, 0.012, 0.006], rng) + air


def pump(seed: int) -> np.ndarray:
    """Return a pump that starts, runs, cavitates, recovers and coasts to a stop."""
    rng = np.random.default_rng(seed)
    t = clock(8.0)
    speed = np.interp(t, [0.3, 1.6, 6.4, 7.8], [0.0, 1.0, 1.0, 0.0]) ** 0.8
    turns = np.cumsum(29 * speed) / SR
    vanes = tones(5 * turns, [1, 2, 3, 5], [0.07, 0.04, 0.02, 0.015], rng)
    flow = 0.02 * speed**2 * noise(len(t), 0.8, rng)
    # Bubbles collapse at random, each a click that rings high.
    rate = 420 * np.interp(t, [3.0, 3.5, 4.7, 5.0], [0.0, 1.0, 1.0, 0.0])
    bubbles = (rng.random(len(t)) < rate / SR) * rng.exponential(0.035, len(t))
    crackle = ring(bubbles, 5_200.0, 0.0007) + ring(bubbles, 2_400.0, 0.0011)
    return speed * vanes + flow + crackle + 0.0015 * noise(len(t), 0.5, rng)


def chirps() -> np.ndarray:
    """Return three sweeps: a slow rise over six octaves, a fast fall, and a trill."""
    t = clock(1.6)
    rise = np.sin(2 * np.pi * 100 * 1.6 / np.log(64) * (64 ** (t / 1.6) - 1))
    fall = np.sin(2 * np.pi * (6_000 * t - 5_500 / (2 * 0.8) * t**2))[: int(0.8 * SR)]
    trill = np.sin(2 * np.pi * 1_500 * t + 60 * np.sin(2 * np.pi * 6 * t))[: int(1.2 * SR)]
    rest = np.zeros(SR // 5)
    return 0.3 * np.concatenate([rest, faded(rise), rest, faded(fall), rest, faded(trill), rest])


def clock(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * SR)) / SR


def tones(
    turns: np.ndarray, orders: list[int], levels: list[float], rng: np.random.Generator
) -> np.ndarray:
    """Return harmonics of something that has made so many turns."""
    phases = rng.uniform(0, 1, len(orders))
    return sum(
        level * np.sin(2 * np.pi * (order * turns + phase))
        for order, level, phase in zip(orders, levels, phases, strict=True)
    )


def noise(n: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise of deviation 1 whose amplitude falls with frequency to the power `slope`."""
    hz = np.fft.rfftfreq(n, 1 / SR)
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(hz, 60) ** slope
    shaped = np.fft.irfft(spectrum, n)
    return shaped / shaped.std()


def strikes(passes: np.ndarray, rng: np.random.Generator, jitter: float) -> np.ndarray:
    """Return an impulse for each time `passes` goes through a whole number, give or take."""
    times = np.flatnonzero(np.diff(np.floor(passes)) > 0)
    spread = jitter * np.median(np.diff(times))
    times = np.clip(times + rng.normal(0, spread, len(times)).astype(int), 0, len(passes) - 1)
    impulses = np.zeros(len(passes))
    impulses[times] = rng.uniform(0.7, 1.0, len(times))
    return impulses


def ring(impulses: np.ndarray, hz: float, decay_s: float) -> np.ndarray:
    """Let every impulse ring at `hz`, dying away in `decay_s`."""
    t = clock(8 * decay_s)
    return np.convolve(impulses, np.exp(-t / decay_s) * np.sin(2 * np.pi * hz * t))[: len(impulses)]


def faded(samples: np.ndarray) -> np.ndarray:
    ramp = np.minimum(1, np.arange(len(samples)) / 400)
    return samples * ramp * ramp[::-1]


def spoken(text: str) -> np.ndarray:
    """Return int16 samples at `SR`."""
    made = subprocess.run(
        ["espeak-ng", "-v", "en", "-s", "150", "--stdout", text], check=True, capture_output=True
    )
    # A header that espeak-ng could not go back to states no length: take all that follows it.
    samples = np.frombuffer(made.stdout[made.stdout.index(b"data") + 8 :], "<i2")
    return in_16_bits(soxr.resample(samples / 40_000, 22_050, SR))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "audio")
