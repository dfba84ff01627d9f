"""What frozen parts hear in windows, computed once: the base's frames, the wave encoder's steps.

Training windows are heard in several versions, all but the first with a second window mixed in;
waveforms add, and log-mels as their powers do, so nothing is decoded twice.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from listen_embed.classify.bases import Base
from listen_embed.classify.mixing import companded, mixed_log_mels
from listen_embed.classify.network import WaveEncoder
from listen_embed.classify.windows import Windows
from listen_embed.frontend import HEADROOM, LEAST_RMS
from listen_embed.training.precision import autocast

Array = NDArray[np.float32]
_BATCH = 16
_GAIN_DB = (-12.0, 6.0)  # of the second sound, over the first
_FULL = 32767


@dataclass(frozen=True, slots=True)
class Heard:
    """Versions of windows, as frozen parts hear them.

    Attributes
    ----------
    frames, steps : ndarray, float16 (V * M, T, D)
        Of base and wave encoder; None for what there is not.
    targets : ndarray, float32 (V * M, C)
    waves : ndarray, int16 (V * M, n)
        What there is to hear at 16 kHz, at one level; None where it was not kept.
    """

    frames: NDArray[np.float16] | None
    steps: NDArray[np.float16] | None
    targets: Array
    waves: NDArray[np.int16] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def part(self, rows: NDArray[np.intp]) -> tuple[Tensor | None, Tensor | None]:
        """Return frames and steps of rows, float32."""
        return _taken(self.frames, rows), _taken(self.steps, rows)

    def sound(self, rows: NDArray[np.intp]) -> tuple[Tensor | None, Tensor]:
        """Return frames and waveforms of rows, float32."""
        assert self.waves is not None
        waves = torch.from_numpy(self.waves[rows].astype(np.float32) / _FULL)
        return _taken(self.frames, rows), companded(waves)

    def steps_of(self, epoch: int, batch: int, seed: int) -> list[NDArray[np.intp]]:
        """Return a pass's batches of rows."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        n = max(1, len(order) // batch)
        return [np.sort(part) for part in np.array_split(order, n)]


def _taken(values: NDArray[np.float16] | None, rows: NDArray[np.intp]) -> Tensor | None:
    return None if values is None else torch.from_numpy(values[rows].astype(np.float32))


@dataclass(frozen=True, slots=True)
class HeardLessons:
    """`Heard` as lessons: frames and steps, or frames and waveforms."""

    heard: Heard
    seed: int
    with_waves: bool = False

    def steps(self, epoch: int, batch: int) -> list[NDArray[np.intp]]:
        """Return a pass's batches of rows."""
        return self.heard.steps_of(epoch, batch, self.seed)

    def lesson(self, step: Any) -> tuple[tuple[Tensor | None, Tensor | None], Tensor]:
        """Return frames and steps, or waveforms, of rows, and their targets."""
        given = self.heard.sound(step) if self.with_waves else self.heard.part(step)
        return given, torch.from_numpy(self.heard.targets[step])


def heard(
    windows: Windows,
    rows: NDArray[np.intp],
    targets: Array,
    base: Base | None,
    wave: WaveEncoder | None,
    *,
    versions: int = 1,
    is_multi: bool = False,
    among: NDArray[np.intp] | None = None,
    keep_waves: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Heard:
    """Return what frozen parts hear in windows.

    Parameters
    ----------
    windows : Windows
    rows : ndarray, intp (M,)
        Which of them.
    targets : ndarray, float32 (M, C)
        Of these windows.
    base, wave
        None leaves one out.
    versions : int
        The first is as it is; in all others every window has a second one mixed in.
    among : ndarray, intp (M,), optional
        Windows are mixed with such as have the same number here, a fold for instance.
    keep_waves : bool
        Keep the waveforms, too, for a wave encoder that learns.
    is_multi : bool
        Mixed targets are all labels of both; else they share one by their powers.
    """
    rng = np.random.default_rng(seed)
    found: list[tuple[Any, Any, Array, Any]] = []
    n_batches = -(-len(rows) // _BATCH)
    bar = tqdm(total=versions * n_batches, desc="hearing", unit="batch", delay=2,
               disable=not progress, file=sys.stderr)  # fmt: skip
    for version in range(versions):
        partners = _partners(len(rows), among, rng) if version else None
        for begin in range(0, len(rows), _BATCH):
            part = np.arange(begin, min(begin + _BATCH, len(rows)))
            one = _Sounds.of(windows, rows[part], targets[part])
            if partners is not None:
                assert base is not None or wave is not None
                other = _Sounds.of(windows, rows[partners[part]], targets[partners[part]])
                one = one.with_other(other, base, rng, is_multi)
            found.append((*one.heard_by(base, wave), one.as_int16() if keep_waves else None))
            bar.update()
    bar.close()
    frames, steps, wanted, waves = zip(*found, strict=True)
    return Heard(
        None if base is None else np.concatenate(frames),
        None if wave is None else np.concatenate(steps),
        np.concatenate(wanted),
        np.concatenate(waves) if keep_waves else None,
    )


def _partners(
    n_rows: int, among: NDArray[np.intp] | None, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return for each row another, drawn from those that it may be mixed with."""
    partners = np.arange(n_rows)
    numbers = np.zeros(n_rows) if among is None else among
    for number in np.unique(numbers):
        same = np.flatnonzero(numbers == number)
        partners[same] = rng.permutation(same)
    return partners


@dataclass(frozen=True, slots=True)
class _Sounds:
    """A batch of windows."""

    waves: Tensor
    log_mels: Tensor
    targets: Array

    @classmethod
    def of(cls, windows: Windows, rows: NDArray[np.intp], targets: Array) -> _Sounds:
        waves = torch.from_numpy(windows.waves[rows].astype(np.float32) / 32768)
        return cls(waves, torch.from_numpy(windows.log_mels[rows].astype(np.float32)), targets)

    def with_other(
        self, other: _Sounds, base: Base | None, rng: np.random.Generator, is_multi: bool
    ) -> _Sounds:
        """Return these sounds with others beside them, at random levels."""
        gain_db = rng.uniform(*_GAIN_DB, len(self.targets)).astype(np.float32)
        levels = [s.waves.pow(2).mean(1).sqrt().clamp(min=LEAST_RMS) for s in (self, other)]
        gain = 10 ** (torch.from_numpy(gain_db) / 20) * levels[0] / levels[1]
        mels = self.log_mels
        if base is not None:
            mels = mixed_log_mels(mels, other.log_mels, gain, base.front_end)
        share = 1 / (1 + 10 ** (gain_db[:, None] / 10))
        both = share * self.targets + (1 - share) * other.targets
        targets = np.maximum(self.targets, other.targets) if is_multi else both
        waves = self.waves + gain[:, None] * other.waves
        return _Sounds(waves, mels, targets.astype(np.float32))

    def as_int16(self) -> NDArray[np.int16]:
        """Return the waveforms at one level, clipped where they are far above it."""
        rms = self.waves.pow(2).mean(1, keepdim=True).sqrt().clamp(min=LEAST_RMS)
        level = (self.waves / (rms * HEADROOM)).clamp(-1, 1) * _FULL
        return level.to(torch.int16).numpy()

    @torch.no_grad()
    def heard_by(self, base: Base | None, wave: WaveEncoder | None) -> tuple[Any, Any, Array]:
        """Return frames and steps as float16, and the targets."""
        with autocast():
            frames = None if base is None else _run(base.network, self.log_mels[:, None])
            steps = None if wave is None else _run(wave, companded(self.waves))
        return frames, steps, self.targets


def _run(network: nn.Module, given: Tensor) -> NDArray[np.float16]:
    found = network.eval()(
        given.to(memory_format=torch.channels_last) if given.ndim == 4 else given
    )
    return found.float().numpy().astype(np.float16)  # type: ignore[no-any-return]
