"""A folder of recordings, any hours long, as crops on disk: decoded once, then memory-mapped.

Recordings stream through: silence and repeats are left out, the rest goes as int16 into one file,
and every second of it gets a loudness. Nothing in memory grows with the hours but a small index.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from listen_embed import audio
from listen_embed.atomic import replacing
from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.finder import AUDIO_SUFFIXES, sounds_in
from listen_embed.spec import Resampler
from listen_embed.training import timetable

# Part of what decides whether a folder's corpus is the one that is asked for.
_FORMAT = "2"
_LOG = logging.getLogger(__name__)

# Below this a second is called silent, in dB of full scale.
SILENCE_DB = -60.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """Decoded audio and where its one-second crops lie.

    Attributes
    ----------
    samples : ndarray, int16 (n,), memory-mapped
        All kept audio, recording after recording.
    sr : int
        Its rate in Hz.
    starts : ndarray, int64 (n_crops,)
        First sample of each crop.
    loudness_db : ndarray, float32 (n_crops,)
        Level of each crop, dB of full scale.
    recording : ndarray, int64 (n_crops,)
        Index of the crop's recording.
    bounds : ndarray, int64 (n_recordings + 1,)
        Recording ``r`` is ``samples[bounds[r] : bounds[r + 1]]``.
    of_file : ndarray, int64 (n_recordings,)
        Which of the sound files it is from; silences and repeats cut files into recordings.
    """

    samples: NDArray[np.int16]
    sr: int
    starts: NDArray[np.int64]
    loudness_db: NDArray[np.float32]
    recording: NDArray[np.int64]
    bounds: NDArray[np.int64]
    of_file: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def crop(self, index: int, n_samples: int, shift: int = 0) -> NDArray[np.float32]:
        """Return `n_samples` of a recording from a crop's start + `shift` on, float32 in [-1, 1].

        The stretch is moved to lie inside the recording; a shorter recording is repeated.
        """
        first, end = self.bounds[self.recording[index] :][:2]
        latest = max(first, end - n_samples)
        begin = min(max(self.starts[index] + shift, first), latest)
        piece = self.samples[begin : min(begin + n_samples, end)]
        whole = piece if len(piece) == n_samples else np.resize(piece, n_samples)
        return whole.astype(np.float32) / np.float32(32768)


def find_recordings(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return all sound files among files and folders (searched to any depth), sorted.

    Raises
    ------
    InputError
        A path does not exist, or there is no sound file among them.
    """
    found: set[Path] = set()
    given = [Path(path) for path in paths]
    for path in given:
        if not path.exists():
            raise InputError(f"{path} does not exist; give recordings or folders of recordings")
        found.update([sound.path for sound in sounds_in(path)] if path.is_dir() else [path])
    files = sorted(file for file in found if file.is_file())
    if not files:
        names, known = ", ".join(map(str, given)), ", ".join(sorted(AUDIO_SUFFIXES))
        raise InputError(f"no sound files in {names}; known are {known}")
    return files


def build(
    recordings: list[Path],
    folder: Path,
    sr: int,
    progress: timetable.Shown = True,
    resampler: Resampler = "soxr",
) -> Corpus:
    """Decode recordings into `folder`, or open what an earlier call with the same ones left there.

    Parameters
    ----------
    recordings : list of Path
        Sound files; a file that cannot be read is reported and left out.
    folder : Path
        Receives ``audio.i16`` and ``index.npz``.
    sr : int
        Rate of the decoded audio in Hz.
    progress : bool or Timetable
        Whether to show a progress bar.
    resampler : {"soxr", "kaiser_best"}
        That of the front end which will hear the sounds at this rate.

    Raises
    ------
    InputError
        Nothing is left: all files are broken or silent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = _fingerprint(recordings, sr, resampler)
    if _is_built(folder, fingerprint):
        return open_corpus(folder)
    with replacing(folder / "audio.i16") as file:
        index = _decode_all(recordings, file, sr, progress, resampler)
        _check_some(index, recordings)
        # No index must ever stand beside audio that it does not describe.
        (folder / "index.npz").unlink(missing_ok=True)
    facts: dict[str, Any] = {"sr": sr, "fingerprint": fingerprint, **index}
    with replacing(folder / "index.npz") as file:
        np.savez(file, **facts)
    return open_corpus(folder)


def _check_some(index: dict[str, NDArray[np.generic]], recordings: list[Path]) -> None:
    if not len(index["starts"]):
        raise InputError(
            f"none of {len(recordings)} recordings has a second above {SILENCE_DB:.0f} dB of full "
            "scale that can be decoded; see the warnings above"
        )


def open_corpus(folder: Path) -> Corpus:
    """Return the corpus that `build` left in a folder."""
    with np.load(folder / "index.npz", allow_pickle=False) as index:
        samples = np.memmap(folder / "audio.i16", np.int16, "r")
        names = ("starts", "loudness_db", "recording", "bounds", "of_file")
        return Corpus(samples, int(index["sr"]), **{name: index[name] for name in names})


def _fingerprint(recordings: list[Path], sr: int, resampler: Resampler) -> str:
    facts = [f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in recordings]
    decoded = f"{_FORMAT} {sr} {resampler}"
    return hashlib.sha256("\n".join([decoded, *facts]).encode()).hexdigest()


def _is_built(folder: Path, fingerprint: str) -> bool:
    index = folder / "index.npz"
    if not index.exists():
        return False
    with np.load(index, allow_pickle=False) as content:
        return str(content["fingerprint"]) == fingerprint


def _decode_all(
    recordings: list[Path],
    file: IO[bytes],
    sr: int,
    progress: timetable.Shown,
    resampler: Resampler,
) -> dict[str, NDArray[np.generic]]:
    starts: list[int] = []
    loudness: list[float] = []
    recording: list[int] = []
    of_file: list[int] = []
    bounds, seen = [0], set[bytes]()
    timetable.begin(progress, "decoding")
    bar = timetable.bar(progress, "decoding", total=len(recordings), unit="file")
    with bar:
        for number, path in enumerate(recordings):
            for seconds in _runs_of_sound(path, sr, seen, resampler):
                first = bounds[-1]
                for offset in range(0, max(1, len(seconds) - sr // 2), sr):
                    starts.append(first + offset)
                    loudness.append(_level_db(seconds[offset : offset + sr]))
                    recording.append(len(bounds) - 1)
                file.write((seconds * 32767).astype("<i2").tobytes())
                bounds.append(first + len(seconds))
                of_file.append(number)
            bar.update()
    return {
        "starts": np.array(starts, np.int64),
        "loudness_db": np.array(loudness, np.float32),
        "recording": np.array(recording, np.int64),
        "bounds": np.array(bounds, np.int64),
        "of_file": np.array(of_file, np.int64),
    }


def _runs_of_sound(
    path: Path, sr: int, seen: set[bytes], resampler: Resampler
) -> Iterator[NDArray[np.float32]]:
    """Yield stretches of a recording between silences and repeats, at most ten seconds each."""
    try:
        for block in _resampled(path, sr, resampler):
            yield from _without_silence(block, sr, seen)
    except ListenEmbedError as error:
        _LOG.warning("left out: %s", error)


def _resampled(path: Path, sr: int, resampler: Resampler) -> Iterator[NDArray[np.float32]]:
    converter: audio.RateConverter | None = None
    for block, rate in audio.read_blocks(path):
        converter = converter or audio.rate_converter(rate, sr, resampler)
        yield converter.push(block)
    if converter is not None:
        yield converter.push(np.zeros(0, np.float32), last=True)


def _without_silence(
    block: NDArray[np.float32], sr: int, seen: set[bytes]
) -> Iterator[NDArray[np.float32]]:
    run: list[NDArray[np.float32]] = []
    for offset in range(0, len(block), sr):
        second = np.clip(block[offset : offset + sr], -1, 1)
        if _level_db(second) > SILENCE_DB and _is_new(second, seen):
            run.append(second)
        elif run:
            yield np.concatenate(run)
            run = []
    if run and sum(map(len, run)) >= sr // 4:
        yield np.concatenate(run)


def _is_new(second: NDArray[np.float32], seen: set[bytes]) -> bool:
    """Whether no byte-equal second came before (files copied, loops, stuck sensors)."""
    key = hashlib.blake2b((second * 32767).astype("<i2").tobytes(), digest_size=12).digest()
    if key in seen:
        return False
    seen.add(key)
    return True


def _level_db(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))
