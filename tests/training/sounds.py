"""Short made-up recordings for the tests of the training room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

SR = 8000


def noise(seconds: float, seed: int = 0, level: float = 0.1, sr: int = SR) -> NDArray[np.float32]:
    """Return white noise of an RMS."""
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(round(seconds * sr))).clip(-1, 1).astype(np.float32)


def tone(hertz: float, seconds: float, level: float = 0.1, sr: int = SR) -> NDArray[np.float32]:
    """Return a sine of an RMS."""
    time = np.arange(round(seconds * sr)) / sr
    return (level * np.sqrt(2) * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def silence(seconds: float, sr: int = SR) -> NDArray[np.float32]:
    return np.zeros(round(seconds * sr), np.float32)


def write(path: Path, samples: Any, sr: int = SR) -> Path:
    """Write 16-bit audio and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sr, subtype="PCM_16")
    return path


def rms(samples: Any) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def decibels(ratio: float) -> float:
    return 20 * float(np.log10(ratio))
