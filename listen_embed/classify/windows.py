"""Labelled clips as windows of one length: samples and log-mels, decoded once and kept on disk."""

from __future__ import annotations

import json
from contextlib import ExitStack
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
_STAMP = "windows.json"


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
    key = [labelled.digest(), asdict(front_end)]
    if _kept_key(folder) != key:
        _decode(labelled, front_end, folder, progress)
        facts = json.dumps({"key": key})
        with replacing(folder / _STAMP) as file:
            file.write(facts.encode())
    clip = np.fromfile(folder / "clip", np.int64)
    waves = np.memmap(folder / "waves", np.int16, "r").reshape(len(clip), -1)
    mels = np.memmap(folder / "log-mels", np.float16, "r")
    return Windows(waves, mels.reshape(-1, front_end.n_bands, front_end.n_steps), clip)


def _kept_key(folder: Path) -> object:
    """Return what a folder holds windows of; None where it holds none."""
    stamp = folder / _STAMP
    return json.loads(stamp.read_bytes())["key"] if stamp.exists() else None


def _decode(
    labelled: LabelledClips, front_end: FrontEnd, folder: Path, progress: timetable.Shown
) -> None:
    """Write all windows one behind the other, in memory that does not grow with their number."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STAMP).unlink(missing_ok=True)
    plain = replace(front_end, features="log-mel")
    extractor = FeatureExtractor(plain)
    clips = timetable.bar(progress, "decoding", iterable=labelled.clips, unit="clip", delay=2)
    names = ("waves", "log-mels", "clip")
    with ExitStack() as stack:
        waves, mels, numbers = (stack.enter_context(open(folder / n, "wb")) for n in names)
        for number, clip in enumerate(clips):
            sound, sr = clip.load()
            converter = audio.rate_converter(sr, plain.sample_rate, plain.resampler)
            for window in _cut(converter.push(sound, last=True), plain.frame_samples):
                extractor.reset()  # or it takes the columns of the window before
                heard = extractor(Frames(window, 0, [0], len(window)))
                mels.write(heard.astype(np.float16).tobytes())
                wave = wave_of(window[None], plain).clip(-1, 1) * _FULL
                waves.write(wave.astype(np.int16).tobytes())
                numbers.write(np.int64(number).tobytes())


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
