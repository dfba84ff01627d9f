"""Recordings -> batches of log-mels and masks, each decided by a seed and the step's number.

Whoever makes a step's batch, or a part of it, makes the same: the process itself, a worker ahead of
it, or another machine of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed import pool
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.pretrain import masking
from listen_embed.pretrain.encoder import Architecture, front_end
from listen_embed.pretrain.masking import Mask
from listen_embed.pretrain.method import Method
from listen_embed.training import corpus
from listen_embed.training.corpus import Corpus

Array = NDArray[np.float32]

_GAIN_DB = 6.0
# Of what is put in the place of hidden patches; the rest is noise. More of another sound than is
# shown of the clip's own would leave nobody to tell which of the two is meant.
_BORROWED = 0.25
_NOISE_DEVIATION = 0.5  # that of log-mels
# Views of a clip begin at most so far apart, in frames.
_APART = 0.5


@dataclass(frozen=True, slots=True)
class Material:
    """What a run hears.

    Parameters
    ----------
    folder : Path
        A corpus, as `listen_embed.training.corpus.build` leaves it.
    method : type of Method
    architecture : Architecture
    batch : int
        Clips of a step, in all processes of a run together.
    seed : int
    part : (int, int)
        Which part of every batch this process takes, of how many.
    """

    folder: Path
    method: type[Method]
    architecture: Architecture
    batch: int
    seed: int = 0
    part: tuple[int, int] = (0, 1)

    @property
    def rows(self) -> range:
        """Clips of a step's batch that this process takes."""
        number, n_parts = self.part
        size = self.batch // n_parts
        return range(number * size, (number + 1) * size)


@dataclass(frozen=True, slots=True)
class Clips:
    """A batch before it goes to the network.

    Attributes
    ----------
    log_mels : ndarray, float32 (B, V, F, T)
    masks : ndarray, bool (B, V, N)
    crops : ndarray, int64 (B,)
        Where in the corpus each clip was cut.
    """

    log_mels: Array
    masks: Mask
    crops: NDArray[np.int64]


def batches(material: Material, first: int, last: int, workers: int = 0) -> Iterator[Clips]:
    """Yield the batches of steps `first` up to but not including `last`.

    Parameters
    ----------
    material : Material
    first, last : int
    workers : int
        Processes that make them ahead of need; 0 makes them here.
    """
    steps = range(first, last)
    if not workers:
        yield from (clips_of(material, step) for step in steps)
        return
    made = pool.in_order(partial(clips_of, material), steps, workers, begin=pool.use_one_thread)
    yield from (clips for _, clips in made)


def clips_of(material: Material, step: int) -> Clips:
    """Return this process's part of a step's batch."""
    heard = _open(material.folder)
    made = [_clip(material, heard, step, row) for row in material.rows]
    sounds = np.stack([sound for sounds, _, _, _ in made for sound in sounds])
    log_mels = log_mels_of(sounds, material.architecture.n_steps)
    pictures = log_mels.reshape(len(made), -1, *log_mels.shape[1:])
    for picture, (_, gain, noise, _) in zip(pictures, made, strict=True):
        picture += gain
        if noise is not None:
            picture[-1] = np.where(np.isnan(noise), picture[-1], noise)
    masks = np.stack([mask for *_, (mask, _) in made])
    return Clips(pictures, masks, np.array([crop for *_, (_, crop) in made]))


def log_mels_of(sounds: Array, n_steps: int) -> Array:
    """Return log-mels (n, F, T) of crops (n, n_samples)."""
    extract = _extractor(n_steps)
    extract.reset()
    return np.concatenate([extract(frames) for frames in Frames.in_a_row(sounds).batches(8)])


def _clip(
    material: Material, heard: Corpus, step: int, row: int
) -> tuple[list[Array], np.float32, Array | None, tuple[Mask, int]]:
    """Return a clip's sounds, what is added to log-mels, its noise, and its mask and place."""
    rng = np.random.default_rng([material.seed, step, row])
    method, architecture = material.method, material.architecture
    n_samples = front_end(architecture.n_steps).frame_samples
    crop = int(rng.integers(len(heard)))
    furthest = round(_APART * n_samples) if method.n_views > 1 else heard.sr // 2
    shifts = rng.integers(-furthest, furthest + 1, method.n_views)
    sounds = [heard.crop(crop, n_samples, int(shift)) for shift in shifts]
    noise = None
    if method.borrows:
        sounds.append(heard.crop(int(rng.integers(len(heard))), n_samples))
        noise = _noise(architecture, rng)
    return sounds, _gain(architecture, rng), noise, (method.masks(architecture, rng), crop)


def _noise(architecture: Architecture, rng: np.random.Generator) -> Array:
    """Return noise (F, T) for the place of hidden patches, nan where another sound shall be."""
    high, long = architecture.grid
    bands, columns = architecture.patch
    borrowed = masking.groups(architecture.grid, _BORROWED, rng).reshape(high, 1, long, 1)
    noise = rng.standard_normal((high, bands, long, columns), np.float32)
    noise *= np.float32(_NOISE_DEVIATION)
    return np.where(borrowed, np.float32(np.nan), noise).reshape(high * bands, long * columns)


def _gain(architecture: Architecture, rng: np.random.Generator) -> np.float32:
    """Return what a random gain adds to log-mels.

    All views of a clip have one: what agrees in spite of gains has forgotten the level, and
    machines are told apart by level and spectrum.
    """
    decibels = rng.uniform(-_GAIN_DB, _GAIN_DB)
    return np.float32(decibels * front_end(architecture.n_steps).scale * np.log(10) / 10)


@lru_cache(maxsize=2)
def _open(folder: Path) -> Corpus:
    return corpus.open_corpus(folder)


@lru_cache(maxsize=4)
def _extractor(n_steps: int) -> FeatureExtractor:
    return FeatureExtractor(front_end(n_steps))
