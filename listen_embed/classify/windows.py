"""Labelled clips as windows of one length: samples and log-mels, decoded once and kept on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed import audio
from listen_embed.atomic import replacing
from listen_embed.classify.labelled import LabelledClips
from listen_embed.errors import InputError
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor, wave_of
from listen_embed.spec import FrontEnd
from listen_embed.training import timetable

LONGEST = 10.0
_FULL = 32767


@dataclass(frozen=True, slots=True)
class Windows:
    """What there is to learn from, all of one length.

    Attributes
    ----------
    waves : ndarray, int16 (M, n)
        At 16 kHz.
    log_mels : ndarray, float16 (M, n_bands, n_steps)
    clip : ndarray, intp (M,)
        Row of each window's clip.
    """

    waves: NDArray[np.int16]
    log_mels: NDArray[np.float16]
    clip: NDArray[np.intp]

    def of(self, clips: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows of some clips' windows."""
        return np.flatnonzero(np.isin(self.clip, clips))


def usual_seconds(labelled: LabelledClips) -> float:
    """Return the median length of clips, from 1 to `LONGEST` seconds."""
    lengths = [min(c.end, audio.duration(c.path)) - c.start for c in labelled.clips]
    return float(np.clip(np.median(lengths), 1.0, LONGEST))


def windows_of(
    labelled: LabelledClips, front_end: FrontEnd, folder: Path, *, progress: timetable.Shown = True
) -> Windows:
    """Return the windows of all clips: side by side, the last filled up with zeros.

    What a folder holds of the same clips and front end is taken from there.

    Raises
    ------
    AudioFileError
        A clip cannot be read.
    """
    key = json.dumps([labelled.digest(), asdict(front_end)])
    stamp = folder / "windows.json"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != key:
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        _decode(labelled, front_end, folder, progress)
        stamp.write_text(key, encoding="utf-8")
    parts = (
        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("waves", "mels", "clip")
    )
    return Windows(*parts)


def _decode(
    labelled: LabelledClips, front_end: FrontEnd, folder: Path, progress: timetable.Shown
) -> None:
    plain = replace(front_end, features="log-mel")
    extractor = FeatureExtractor(plain)
    waves, mels, numbers = [], [], []
    clips = timetable.bar(progress, "decoding", iterable=labelled.clips, unit="clip", delay=2)
    for number, clip in enumerate(clips):
        sound, sr = clip.load()
        heard = audio.rate_converter(sr, plain.sample_rate, plain.resampler).push(sound, last=True)
        for window in _cut(heard, plain.frame_samples):
            extractor.reset()  # or it takes the columns of the window before
            mels.append(extractor(Frames(window, 0, [0], len(window))).astype(np.float16))
            wave = wave_of(window[None], plain).clip(-1, 1)
            waves.append((wave * _FULL).astype(np.int16))
            numbers.append(number)
    arrays = {"waves": np.concatenate(waves), "mels": np.concatenate(mels)}
    for name, values in (arrays | {"clip": np.array(numbers, np.intp)}).items():
        with replacing(folder / f"{name}.npy") as file:
            np.save(file, values)


def _cut(sound: NDArray[np.float32], n: int) -> list[NDArray[np.float32]]:
    """Return a sound in windows; of a remainder only what fills half a window counts."""
    n_windows = max(1, int(len(sound) / n + 0.5))
    padded = np.pad(sound, (0, max(0, n_windows * n - len(sound))))
    return [padded[i * n : (i + 1) * n] for i in range(n_windows)]


def check_rate(front_end: FrontEnd) -> FrontEnd:
    """Return a front end that hands over samples beside its log-mel.

    Raises
    ------
    InputError
        Its rate is no multiple of 16 kHz.
    """
    try:
        return replace(front_end, features="log-mel+waveform")
    except InputError as error:
        raise InputError(
            f"a base at {front_end.sample_rate} Hz has no room for a wave encoder, which hears "
            "16 kHz; give a base at a multiple of 16 kHz, such as pruned/384/mn04"
        ) from error
