"""How long training will take on this machine, tried on a few crops."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from listen_embed import audio
from listen_embed.embedder import Embedder
from listen_embed.errors import ListenEmbedError
from listen_embed.spec import FrontEnd
from listen_embed.training.augment import Augmentation, augment
from listen_embed.training.network import Student

# As found on several machines: crops whose steps take as long as pruning mn04, how much slower a
# step is with rounding in it, seconds of a conversion, and of a recording in the verdict.
PRUNING_CROPS, ROUNDING, CONVERSION, _JUDGING = 4000, 2.0, 30.0, 0.1
_DECODED_PER_SECOND = 300  # seconds of sound
_N_CROPS = 8


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds that one crop takes.

    Attributes
    ----------
    material : float
        To be drawn, changed, and heard by the teachers.
    step : float
        Of a training step.
    """

    material: float
    step: float

    def of_material(self, n_crops: int, workers: int) -> float:
        """Return the seconds that preparing crops adds to training on them."""
        hands = min(workers, (os.cpu_count() or 1) - 1)
        alone = n_crops * self.material / max(1, hands)
        return max(0.0, alone - n_crops * self.step) if hands > 0 else alone


def measure(front_end: FrontEnd, teachers: Sequence[str], network: Student) -> Speed:
    """Return the speed of material and training, tried on noise."""
    rng = np.random.default_rng(0)
    sr, n_samples = front_end.sample_rate, front_end.frame_samples
    embedders = [Embedder(name, hop_size=3600.0, center=False, threads=1) for name in teachers]
    how = Augmentation()

    def draw() -> None:
        noise = 0.1 * rng.standard_normal((2, 2 * n_samples), dtype=np.float32)
        sound = augment(noise[0], noise[1], sr, n_samples, rng, how)
        for embedder in embedders:
            embedder.embed(sound, sr)

    batch = torch.zeros(_N_CROPS, 1, *front_end.input_shape)

    def learn() -> None:
        network.train()(batch).sum().backward()

    return Speed(_seconds(draw), _seconds(learn) / _N_CROPS)


def _seconds(run: Callable[[], None]) -> float:
    """Return what a call takes once it is warm."""
    run()
    begin = time.perf_counter()
    for _ in range(_N_CROPS):
        run()
    return (time.perf_counter() - begin) / _N_CROPS


def decoding(recordings: Sequence[Path]) -> float:
    """Return the seconds that decoding takes; what cannot be read takes none."""
    return sum(map(_duration, recordings)) / _DECODED_PER_SECOND


def judging(n_recordings: int) -> float:
    """Return the seconds that the verdict takes."""
    return _JUDGING * n_recordings


def _duration(path: Path) -> float:
    try:
        return audio.duration(path)
    except ListenEmbedError:
        return 0.0
