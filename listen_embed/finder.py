"""Which sound files a name means: a file, a folder with its subfolders, or a pattern.

One list of suffixes and one way through folders, for the command line and every room.
"""

from __future__ import annotations

import glob
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from listen_embed.errors import AudioFileError, ListenEmbedWarning, listed

# What a folder is searched for; a file named on its own may have any name. libsndfile's formats.
AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"}
    | {".rf64", ".snd", ".w64", ".wav"}
)


@dataclass(frozen=True)
class Sound:
    """A sound file found; `below` is its path in the folder that was named."""

    path: Path
    below: Path


def find_sounds(argument: str | os.PathLike[str]) -> list[Sound]:
    """Return the sound files that an argument names, sorted.

    Parameters
    ----------
    argument : str or path
        A file, taken whatever its suffix; a folder, searched as by `sounds_in`; or a pattern, in
        which ``**`` crosses folders.

    Raises
    ------
    AudioFileError
        It names nothing.
    """
    path = Path(argument)
    if path.is_dir():
        return _some_in(path)
    if path.exists() or not glob.has_magic(os.fspath(argument)):
        if not path.exists():
            raise AudioFileError(f"{argument}: does not exist")
        return [Sound(path, Path(path.name))]
    found = sorted(glob.glob(os.fspath(argument), recursive=True))
    if not found:
        raise AudioFileError(f"{argument}: no file has a name of this pattern")
    files = [Path(name) for name in found if not Path(name).is_dir()]
    if files:
        return [Sound(file, Path(file.name)) for file in files]
    return [sound for name in found for sound in _some_in(Path(name))]


def _some_in(folder: Path) -> list[Sound]:
    sounds = sounds_in(folder)
    if not sounds:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        raise AudioFileError(f"{folder}: holds no sound files ({known})")
    return sounds


def sounds_in(folder: str | os.PathLike[str]) -> list[Sound]:
    """Return the sound files in a folder and its subfolders, sorted, possibly none.

    Hidden names are left out, and links to folders are not followed.

    Warns
    -----
    ListenEmbedWarning
        Something has a sound's name but is no regular file (a named pipe would be waited on for
        ever), or a subfolder cannot be read; both are left out.
    """
    sounds: list[Sound] = []
    left_out: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=lambda e: left_out.append(e.filename)):
        for path in (Path(parent, name) for name in _visible(folders, names)):
            if path.suffix.lower() not in AUDIO_SUFFIXES:
                continue
            if path.is_file():
                sounds.append(Sound(path, path.relative_to(folder)))
            else:
                left_out.append(str(path))
    if left_out:
        message = f"{folder}: left out, no regular files or not readable: {listed(left_out)}"
        warnings.warn(message, ListenEmbedWarning, stacklevel=2)
    return sorted(sounds, key=lambda sound: sound.path)


def _visible(folders: list[str], names: list[str]) -> list[str]:
    """Return the names without hidden ones, and keep os.walk out of hidden folders."""
    folders[:] = [name for name in folders if not name.startswith(".")]
    return [name for name in names if not name.startswith(".")]
