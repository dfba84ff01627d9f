"""What a command line asks for: which sound files, where their results go, and doing one of them.

In: arguments as typed. Out: jobs, with errors for the arguments that name nothing. One rule names
results: a file's suffix decides its format; in a folder every sound gets ``<stem>.<format>``, below
the same subfolders as it has below the folder that was named.
"""

from __future__ import annotations

import glob
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from listen_embed import output
from listen_embed.batch import Reach, reaching
from listen_embed.embedder import Embedded, Embedder
from listen_embed.errors import AudioFileError, InputError, ListenEmbedError, OutputError
from listen_embed.files import provenance_of
from listen_embed.output import FORMATS, Format, Pieces

STDIO = "-"
STDIN_NAME = "stdin"
# What a folder is searched for; a file named on its own may have any name. libsndfile's formats.
AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"}
    | {".rf64", ".snd", ".w64", ".wav"}
)

OnExisting = Literal["refuse", "replace", "keep"]


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where results go: one file, a folder, standard output, or nowhere.

    Parameters
    ----------
    file, folder : Path or None
        At most one of them.
    to_stdout : bool
        To standard output.
    suffix : str
        Format of the result, without a dot.
    """

    file: Path | None = None
    folder: Path | None = None
    to_stdout: bool = False
    suffix: str = ""

    @property
    def is_single(self) -> bool:
        """Whether it can take only one result."""
        return self.to_stdout or self.file is not None

    def path_for(self, below: Path) -> Path | None:
        """Return the file that the result of a sound goes to; `below` is its path in its folder."""
        if self.folder is not None:
            return self.folder / below.with_suffix(f".{self.suffix}")
        return self.file


NOWHERE = Destination()


def destination(typed: str, suffixes: Sequence[str], format: str | None = None) -> Destination:
    """Return what an output argument means.

    Parameters
    ----------
    typed : str
        A file whose suffix is known, a folder (existing, with a final slash, or without a suffix),
        or ``-``.
    suffixes : sequence of str
        Formats allowed; the first is the default one in a folder.
    format : str, optional
        A format asked for on its own.

    Raises
    ------
    InputError
        It is neither, or it contradicts `format`.
    """
    path, suffix = Path(typed), Path(typed).suffix.lower().lstrip(".")
    if path.is_dir() or typed.endswith(("/", os.sep)) or not suffix:
        if path.exists() and not path.is_dir():
            raise InputError(f"{typed}: exists and is not a folder; {_known(suffixes)}")
        return Destination(folder=path, suffix=format or suffixes[0])
    if suffix not in suffixes:
        raise InputError(f"{typed}: {_known(suffixes)}; a folder is written {typed}/")
    if format not in (None, suffix):
        raise InputError(f"{typed}: its suffix and the format {format} contradict each other")
    return Destination(file=path, suffix=suffix)


def _known(suffixes: Iterable[str]) -> str:
    return "a file's suffix decides its format, known are " + ", ".join(f".{s}" for s in suffixes)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One sound file and what is wanted of it.

    Parameters
    ----------
    source : Path
        The sound file.
    name : str
        What messages call it.
    target, picture : Path or None
        Files to write.
    to_stdout : bool
        Write to standard output instead of `target`.
    format : Format
        Format of the embedding.
    """

    source: Path
    name: str
    target: Path | None = None
    picture: Path | None = None
    to_stdout: bool = False
    format: Format = "npz"


@dataclass
class Plan:
    """Jobs to do, arguments that cannot be met, and how many results were kept as they are."""

    jobs: list[Job] = field(default_factory=list)
    failures: list[tuple[str, ListenEmbedError]] = field(default_factory=list)
    n_kept: int = 0


@dataclass(frozen=True)
class Sound:
    """A sound file found; `below` is its path in the folder that was named."""

    path: Path
    below: Path


def make_plan(
    arguments: Iterable[str],
    out: Destination,
    picture: Destination = NOWHERE,
    *,
    on_existing: OnExisting = "refuse",
    stdin: Path | None = None,
) -> Plan:
    """Return what to do.

    Parameters
    ----------
    arguments : iterable of str
        Files, folders, patterns such as ``"recordings/**/*.wav"``, and ``-``.
    out, picture : Destination
        Where embeddings and pictures go.
    on_existing : {"refuse", "replace", "keep"}
        What to do where a name made by us in a folder is taken. A file that was named is replaced
        unless it is to be kept.
    stdin : Path, optional
        A file that holds what came on standard input; ``-`` means it.

    Raises
    ------
    InputError
        Several sounds are to go into one file.
    """
    plan = Plan()
    sounds = list(dict.fromkeys(_sounds(arguments, plan, stdin)))
    if len(sounds) > 1 and (out.is_single or picture.is_single):
        raise InputError(
            f"{len(sounds)} sound files cannot go into one file; name a folder, such as results/"
        )
    takers: dict[Path, Sound] = {}
    for sound in sounds:
        name = STDIN_NAME if sound.path == stdin else str(sound.path)
        job = Job(
            source=sound.path,
            name=name,
            target=out.path_for(sound.below),
            picture=picture.path_for(sound.below),
            to_stdout=out.to_stdout,
            format=_as_format(out.suffix),
        )
        try:
            if _is_kept(job, out, picture, on_existing):
                plan.n_kept += 1
                continue
            _check_unshared(job, sound, takers)
            plan.jobs.append(job)
        except OutputError as error:
            plan.failures.append((name, error))
    return plan


def _as_format(suffix: str) -> Format:
    return next((format for format in FORMATS if format == suffix), "npz")


def _sounds(arguments: Iterable[str], plan: Plan, stdin: Path | None) -> Iterator[Sound]:
    for argument in arguments:
        if argument == STDIO and stdin is not None:
            yield Sound(stdin, Path(STDIN_NAME))
            continue
        try:
            yield from find_sounds(argument)
        except AudioFileError as error:
            plan.failures.append((argument, error))


def find_sounds(argument: str) -> list[Sound]:
    """Return the sound files that an argument names, sorted.

    Parameters
    ----------
    argument : str
        A file, taken whatever its suffix; a folder, searched with its subfolders for
        `AUDIO_SUFFIXES`, leaving out hidden names; or a pattern, in which ``**`` crosses folders.

    Raises
    ------
    AudioFileError
        It names nothing.
    """
    path = Path(argument)
    if path.is_dir():
        return _in_folder(path)
    if path.exists() or not glob.has_magic(argument):
        if not path.exists():
            raise AudioFileError(f"{argument}: does not exist")
        return [Sound(path, Path(path.name))]
    found = sorted(glob.glob(argument, recursive=True))
    if not found:
        raise AudioFileError(f"{argument}: no file has a name of this pattern")
    files = [Path(name) for name in found if not Path(name).is_dir()]
    return [Sound(file, Path(file.name)) for file in files] or _in_folders(found)


def _in_folders(names: list[str]) -> list[Sound]:
    return [sound for name in names for sound in _in_folder(Path(name))]


def _in_folder(folder: Path) -> list[Sound]:
    sounds = [
        Sound(Path(parent, name), Path(parent, name).relative_to(folder))
        for parent, folders, names in os.walk(folder)
        for name in _visible(folders, names)
        if Path(name).suffix.lower() in AUDIO_SUFFIXES
    ]
    if not sounds:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        raise AudioFileError(f"{folder}: holds no sound files ({known})")
    return sorted(sounds, key=lambda sound: sound.path)


def _visible(folders: list[str], names: list[str]) -> list[str]:
    """Return the names without hidden ones, and keep os.walk out of hidden folders."""
    folders[:] = [name for name in folders if not name.startswith(".")]
    return [name for name in names if not name.startswith(".")]


def _is_kept(job: Job, out: Destination, picture: Destination, on_existing: OnExisting) -> bool:
    """Whether the job's results are there already and stay; raise where they are in the way."""
    if on_existing == "replace":
        return False
    wanted = [path for path in (job.target, job.picture) if path is not None]
    if on_existing == "keep":
        return bool(wanted) and all(path.exists() for path in wanted)
    for place, path in ((out, job.target), (picture, job.picture)):
        if place.folder is not None and path is not None and path.exists():
            raise OutputError(
                f"{path} exists; --force replaces such files, --no-clobber leaves them out"
            )
    return False


def _check_unshared(job: Job, sound: Sound, takers: dict[Path, Sound]) -> None:
    for path in (job.target, job.picture):
        if path is None:
            continue
        if path.exists() and path.samefile(sound.path):
            raise OutputError("the result would replace the sound itself")
        if path in takers:
            raise OutputError(
                f"its result {path} would replace that of {takers[path].path}; rename one of them"
            )
        takers[path] = sound


def work_on(embedder: Embedder, job: Job, reach: Reach) -> int:
    """Do one job; return how many frames its sound has."""
    frames = _Counted(reaching(embedder.iter_file(job.source), reach))
    if job.picture is None:
        _write(frames, embedder, job)
        return frames.n_frames
    from listen_embed.plot import Picture

    picture = Picture(job.source, embedder.spec, f"{Path(job.name).name} · {embedder.spec.name}")
    _write(picture.watch(frames), embedder, job)
    picture.save(job.picture)
    return frames.n_frames


class _Counted:
    """Pieces, counting the frames that pass."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.n_frames = 0

    def __iter__(self) -> Iterator[Embedded]:
        for embedding, timestamps in self._pieces:
            self.n_frames += len(timestamps)
            yield embedding, timestamps


def _write(pieces: Pieces, embedder: Embedder, job: Job) -> None:
    if job.target is not None:
        output.save(pieces, job.target, job.format, provenance_of(embedder))
    elif job.to_stdout:
        _write_to_stdout(pieces, embedder, job.format)
    else:
        deque(pieces, maxlen=0)


def _write_to_stdout(pieces: Pieces, embedder: Embedder, format: Format) -> None:
    try:
        output.dump(pieces, sys.stdout.buffer, format, provenance_of(embedder))
        sys.stdout.buffer.flush()
    except (ListenEmbedError, BrokenPipeError):
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from error
