"""Training material as numbered shards: crops, changed at random, as student and teacher see them.

Shard ``k`` depends on the recipe and on ``k`` alone, so worker processes make shards ahead, a
resumed run gets the same ones, and several students can learn from one set. A shard is a folder of
.npy files that appears whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from listen_embed import registry
from listen_embed.atomic import folder_beside, replacing
from listen_embed.audio import rate_converter
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.pool import in_order, use_one_thread
from listen_embed.spec import FrontEnd, Resampler
from listen_embed.training import corpus as corpus_
from listen_embed.training.augment import Augmentation, add_at_snr, augment
from listen_embed.training.spectrum import steady_spectrum
from listen_embed.training.synthesis import machine

Samples = NDArray[np.float32]

_FIRST_TEACHER = "teacher/384/mn04"  # of all our students

_RECIPE = "recipe.json"  # beside the shards: what they were made by


class Sounds(Protocol):
    """Where training sound comes from: a dataclass, so that workers can have a copy each."""

    @property
    def sr(self) -> int:
        """Rate in Hz."""

    def draw(self, n_samples: int, rng: np.random.Generator) -> Samples:
        """Return a sound, float32 (n_samples,), that students and teachers hear."""


@dataclass(frozen=True, slots=True)
class CorpusSounds:
    """Crops of a corpus, augmented.

    Parameters
    ----------
    folder : Path
        What `corpus.build` made.
    chosen : ndarray, int64 (n,)
        The crops to draw from, as `sampling` chose them.
    sr : int
        Rate of the sounds in Hz.
    how : Augmentation
    relabel : float
        Share of crops whose rate is relabelled as `sr` instead of converted to it. A recording at
        16 kHz played as if it were at 32 kHz fills the band that resampling leaves empty.
    """

    folder: Path
    chosen: NDArray[np.int64]
    sr: int
    how: Augmentation
    relabel: float = 0.0

    def draw(self, n_samples: int, rng: np.random.Generator) -> Samples:
        """Return one augmented crop."""
        n_raw = int(np.ceil(n_samples * self.how.stretch)) + 1
        first, second = (self.crop(n_raw, rng) for _ in range(2))
        return augment(first, second, self.sr, n_samples, rng, self.how)

    def crop(self, n_samples: int, rng: np.random.Generator) -> Samples:
        """Return a chosen crop as it is, at the rate of the sounds."""
        index, corpus = int(rng.choice(self.chosen)), _open(self.folder)
        shift = int(rng.integers(-corpus.sr // 2, corpus.sr // 2))
        if corpus.sr == self.sr or rng.random() < self.relabel:
            return corpus.crop(index, n_samples, shift)
        n_raw = -(-n_samples * corpus.sr // self.sr)
        return _resampled(corpus.crop(index, n_raw, shift), corpus.sr, self.sr, n_samples)


@dataclass(frozen=True, slots=True)
class JoinedSounds:
    """Crops of several corpora, each as often as it has crops; augmented as the first says.

    Parameters
    ----------
    parts : tuple of CorpusSounds
        All at one rate.
    """

    parts: tuple[CorpusSounds, ...]

    @property
    def sr(self) -> int:
        """Rate in Hz."""
        return self.parts[0].sr

    def draw(self, n_samples: int, rng: np.random.Generator) -> Samples:
        """Return one augmented crop, mixed perhaps with one of another corpus."""
        how = self.parts[0].how
        n_raw = int(np.ceil(n_samples * how.stretch)) + 1
        sizes = np.array([len(part.chosen) for part in self.parts])
        first, second = (
            self.parts[i].crop(n_raw, rng)
            for i in rng.choice(len(self.parts), 2, p=sizes / sizes.sum())
        )
        return augment(first, second, self.sr, n_samples, rng, how)


@dataclass(frozen=True, slots=True)
class WorkshopSounds:
    """Machines, real and synthesised, in other sound, at any level.

    Parameters
    ----------
    background : Sounds
        Gives the noise, and a share of the machines.
    synthetic : float
        Share of synthesised machines, in [0, 1].
    noise : float
        Share of noisy crops, in [0, 1].
    snr_db : (float, float)
        Range of the machine's level over the noise.
    """

    background: Sounds
    synthetic: float = 0.5
    noise: float = 0.75
    snr_db: tuple[float, float] = (-15.0, 30.0)

    @property
    def sr(self) -> int:
        """Rate in Hz."""
        return self.background.sr

    def draw(self, n_samples: int, rng: np.random.Generator) -> Samples:
        """Return a machine, mostly in noise."""
        if rng.random() < self.synthetic:
            sound = machine(n_samples, self.sr, rng)
        else:
            sound = self.background.draw(n_samples, rng)
        level = np.sqrt(np.mean(sound**2)) + np.float32(1e-6)
        sound = (0.1 / level) * sound
        if rng.random() < self.noise:
            background = self.background.draw(n_samples, rng)
            sound = add_at_snr(sound, background, rng.uniform(*self.snr_db))
        return sound * np.float32(10 ** (rng.uniform(-30, 10) / 20))


_opened: dict[Path, tuple[int, corpus_.Corpus]] = {}


def _open(folder: Path) -> corpus_.Corpus:
    """Return a corpus, opened once, and again if it was built anew."""
    built_at = (folder / "index.npz").stat().st_mtime_ns
    if folder not in _opened or _opened[folder][0] != built_at:
        _opened[folder] = built_at, corpus_.open_corpus(folder)
    return _opened[folder][1]


@dataclass(frozen=True, slots=True)
class Trailing:
    """Times within a crop at which the teachers say what they heard lately.

    Parameters
    ----------
    seconds : float
        How far back they hear, as far as the crop goes back.
    every : float
        Seconds between such times; the last is the end of the crop.
    """

    seconds: float
    every: float

    def stretches(self, n_steps: int, columns_per_second: float) -> list[slice]:
        """Return the columns that each target heard, then the whole crop's."""
        stride, reach = (round(s * columns_per_second) for s in (self.every, self.seconds))
        ends = range(n_steps % stride or stride, n_steps + 1, stride)
        return [*(slice(max(0, end - reach), end) for end in ends), slice(0, n_steps)]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the shards of a folder hold.

    Parameters
    ----------
    sounds : Sounds
    front_ends : tuple of FrontEnd
        One for each kind of student input.
    teachers : tuple of str
        Models of the registry, or model folders; their embeddings stand side by side. With none,
        the steady spectra of the first front end's own features are the targets.
    size : int
        Crops in a shard.
    seed : int
        Decides all randomness, together with the shard's number.
    lengths : tuple of int
        Crops of shard ``k`` last ``lengths[k % len(lengths)]`` frames, and are as many times
        fewer: a student that hears clips whole must learn from sounds of any length.
    trailing : Trailing, optional
        What a student that streams is to follow; None has one target for each crop.
    """

    sounds: Sounds
    front_ends: tuple[FrontEnd, ...]
    teachers: tuple[str, ...]
    size: int = 2048
    seed: int = 0
    lengths: tuple[int, ...] = (1,)
    trailing: Trailing | None = None

    def length(self, number: int) -> int:
        """Return how many frames the crops of a shard last."""
        return self.lengths[number % len(self.lengths)]


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard's arrays, memory-mapped.

    Attributes
    ----------
    features : tuple of ndarray, float16 (size, n_bands, n_steps)
        Students' inputs, one for each front end of the recipe.
    targets : ndarray, float32 (size, total teacher width)
        Or (size, times + 1, total teacher width) of a recipe with `trailing`: the last one is of
        the whole crop.
    """

    features: tuple[NDArray[np.float16], ...]
    targets: NDArray[np.float32]

    def part(self, rows: slice) -> Shard:
        """Return some of its crops."""
        return Shard(tuple(f[rows] for f in self.features), self.targets[rows])


def open_shard(folder: Path, number: int) -> Shard:
    """Return a shard that exists."""
    place = _place(folder, number)
    inputs = sorted(place.glob("features-*.npy"))
    features = tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in inputs)
    return Shard(features, np.load(place / "targets.npy", allow_pickle=False))


def shards(
    folder: Path, recipe: Recipe, first: int, last: int, workers: int = 1, ahead: int = 8
) -> Iterator[Shard]:
    """Yield shards `first` up to but not including `last`, made by worker processes ahead of need.

    Shards that an earlier run left are used again.

    Raises
    ------
    InputError
        The folder holds shards of another recipe.
    """
    _check_recipe(folder, recipe)
    if workers == 0 or all(_place(folder, number).exists() for number in range(first, last)):
        for number in range(first, last):
            make_shard(folder, recipe, number)
            yield open_shard(folder, number)
        return
    make = partial(make_shard, folder, recipe)
    numbers = range(first, last)
    for number, _ in in_order(make, numbers, workers, ahead=ahead, begin=use_one_thread):
        yield open_shard(folder, number)


def _check_recipe(folder: Path, recipe: Recipe) -> None:
    """Note the recipe in a folder that has none yet, or see that it is the same."""
    path = folder / _RECIPE
    ours = json.loads(json.dumps(_described(recipe)))
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if changes := list(_changes(theirs, ours)):
            raise InputError(
                f"{folder} holds shards of another recipe: {'; '.join(changes[:4])}; choose "
                "another folder, or delete this one"
            )
        return
    with replacing(path) as file:
        file.write(json.dumps(ours, indent=1).encode())


def _described(value: Any) -> Any:
    """Return what decides a recipe's sounds as plain values, the same wherever its folders lie."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _described(getattr(value, f.name)) for f in dataclasses.fields(value)}
        present = {name: field for name, field in fields.items() if field is not None}
        return {"kind": type(value).__name__, **present}
    if isinstance(value, tuple | list):
        return [_described(item) for item in value]
    if isinstance(value, Path):
        return _corpus_digest(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} sha256:{_digest(value)}"
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | None) else repr(value)


def _corpus_digest(folder: Path) -> str:
    """Return what tells a corpus from others; the levels of its crops hardly agree by accident."""
    if not (folder / "index.npz").exists():
        return folder.name
    corpus = _open(folder)
    return f"{corpus.sr} Hz sha256:{_digest(corpus.starts, corpus.loudness_db, corpus.bounds)}"


def _digest(*arrays: NDArray[Any]) -> str:
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:16]


def _changes(theirs: Any, ours: Any, name: str = "") -> Iterator[str]:
    """Yield where two descriptions differ, in words."""
    if isinstance(theirs, list) and isinstance(ours, list):
        theirs, ours = dict(enumerate(theirs)), dict(enumerate(ours))
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from _changes(theirs.get(key), ours.get(key), f"{name}.{key}".lstrip("."))
    elif theirs != ours:
        yield f"{name} is {theirs!r:.60} there and {ours!r:.60} here"


def make_shard(folder: Path, recipe: Recipe, number: int) -> None:
    """Make one shard, unless it is there already."""
    place = _place(folder, number)
    if place.exists():
        return
    with folder_beside(place) as temporary:
        _fill(temporary, recipe, number)
        with suppress(OSError):  # another process was faster; both made the same
            temporary.rename(place)


def _fill(folder: Path, recipe: Recipe, number: int) -> None:
    length = recipe.length(number)
    teachers = [_teacher(name, length) for name in recipe.teachers]
    front_ends = [longer(front_end, length) for front_end in recipe.front_ends]
    seconds = max(f.frame_seconds for f in (*front_ends, *(t.spec.front_end for t in teachers)))
    sounds = _draw(recipe, seconds, length, np.random.default_rng([recipe.seed, number]))
    inputs = _Features(recipe.sounds.sr)
    for i, front_end in enumerate(front_ends):
        np.save(folder / f"features-{i}.npy", inputs.of(sounds, front_end).astype(np.float16))
    targets = [_taught(t, inputs.of(sounds, t.spec.front_end), recipe.trailing) for t in teachers]
    if not targets:
        targets = [steady_spectrum(inputs.of(sounds, front_ends[0]))]
    np.save(folder / "targets.npy", np.concatenate(targets, axis=-1))


def _taught(
    teacher: Embedder, features: NDArray[np.float32], trailing: Trailing | None
) -> NDArray[np.float32]:
    """Return a teacher's embeddings of crops, or of stretches of them, whose columns they share."""
    if trailing is None:
        return teacher.embed_features(features)
    front_end = teacher.spec.front_end
    stretches = trailing.stretches(features.shape[2], front_end.sample_rate / front_end.hop_samples)
    return np.stack([teacher.embed_features(features[:, :, s]) for s in stretches], axis=1)


def _place(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}"


def longer(front_end: FrontEnd, length: int) -> FrontEnd:
    """Return a front end for crops of so many frames."""
    return front_end.lasting(length * front_end.frame_seconds)


def _draw(recipe: Recipe, seconds: float, length: int, rng: np.random.Generator) -> Samples:
    n_samples = int(np.ceil(seconds * recipe.sounds.sr))
    return np.stack([recipe.sounds.draw(n_samples, rng) for _ in range(recipe.size // length)])


def _at_rate(sounds: NDArray[np.float32], sr: int, front_end: FrontEnd) -> NDArray[np.float32]:
    """Return (T, frame_samples) at the front end's rate."""
    if sr == front_end.sample_rate:
        return sounds[:, : front_end.frame_samples]
    n = front_end.frame_samples
    rate, resampler = front_end.sample_rate, front_end.resampler
    return np.stack([_resampled(sound, sr, rate, n, resampler) for sound in sounds])


def _resampled(
    sound: Samples, sr_in: int, sr_out: int, n_samples: int, resampler: Resampler = "soxr"
) -> Samples:
    """Return `n_samples` at another rate, with zeros where the last one is missing to rounding."""
    converted = rate_converter(sr_in, sr_out, resampler).push(sound, last=True)[:n_samples]
    return np.pad(converted, (0, n_samples - len(converted)))


class _Features:
    """Front ends applied to batches of sounds; what student and teacher share is computed once."""

    def __init__(self, sr: int) -> None:
        self._sr = sr
        self._known: dict[tuple[int, FrontEnd], NDArray[np.float32]] = {}

    def of(self, sounds: NDArray[np.float32], front_end: FrontEnd) -> NDArray[np.float32]:
        """Return (T, ...) network inputs of sounds (T, n_samples)."""
        key = (id(sounds), front_end)
        if key not in self._known:
            frames = _at_rate(sounds, self._sr, front_end)
            extractor = FeatureExtractor(front_end)
            in_a_row = Frames.in_a_row(frames).batches(4)
            self._known[key] = np.concatenate([extractor(some) for some in in_a_row])
        return self._known[key]


@lru_cache(maxsize=8)
def _teacher(name: str, length: int) -> Embedder:
    """Return a teacher for crops of so many of its frames, loaded once in each worker."""
    if registry.find(name).streams:
        raise InputError(
            f"{name} hears streams and cannot teach crops; take its own teacher, {_FIRST_TEACHER}"
        )
    if length == 1:
        return Embedder(name, threads=1)
    frame = registry.find(name).front_end.frame_seconds
    return Embedder(name, threads=1, frame_size=length * frame)
