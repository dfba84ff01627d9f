"""What a command line asks for: which sound files, where their results go, and doing one of them.

In: arguments as typed. Out: jobs, with errors for the arguments that name nothing. One rule names
results: a file's suffix decides its format; in a folder every sound gets ``<stem>.<format>``, below
the same subfolders as it has below the folder that was named. Sounds that differ in their suffixes
only, ``x.wav`` and ``x.flac``, keep them: ``x.wav.<format>``, ``x.flac.<format>``.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from listen_embed import output
from listen_embed.batch import Reach, reaching
from listen_embed.embedder import Embedded, Embedder, Embedding
from listen_embed.errors import AudioFileError, InputError, ListenEmbedError, OutputError
from listen_embed.files import clip_of, provenance_of
from listen_embed.finder import Sound, find_sounds
from listen_embed.output import FORMATS, Format, Pieces

STDIO = "-"
STDIN_NAME = "stdin"
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

    def path_for(self, stem: Path) -> Path | None:
        """Return the file for a result; `stem` is its path in a folder, but for the format."""
        if self.folder is not None:
            return self.folder / stem.with_name(f"{stem.name}.{self.suffix}")
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
    is_clip : bool
        One embedding for the whole sound, at time 0, instead of one for every hop.
    """

    source: Path
    name: str
    target: Path | None = None
    picture: Path | None = None
    to_stdout: bool = False
    format: Format = "npz"
    is_clip: bool = False


@dataclass
class Plan:
    """Jobs to do, arguments that cannot be met, and how many results were kept as they are.

    With a `table` the jobs have no results of their own: it takes a row of each.
    """

    jobs: list[Job] = field(default_factory=list)
    failures: list[tuple[str, ListenEmbedError]] = field(default_factory=list)
    n_kept: int = 0
    table: Destination | None = None


def make_plan(
    arguments: Iterable[str],
    out: Destination,
    picture: Destination = NOWHERE,
    *,
    on_existing: OnExisting = "refuse",
    stdin: Path | None = None,
    is_clip: bool = False,
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
    is_clip : bool
        One embedding for every sound; what takes only one result then is a table of them all.

    Raises
    ------
    InputError
        Several sounds are to go into one file.
    """
    plan = Plan()
    sounds = list(dict.fromkeys(_sounds(arguments, plan, stdin)))
    if is_clip and out.is_single:
        _check_table(out, sounds)
        plan.table, out = out, NOWHERE
        if on_existing == "keep" and plan.table.file is not None and plan.table.file.exists():
            plan.n_kept = len(sounds)
            return plan
    if len(sounds) > 1 and (out.is_single or picture.is_single):
        raise InputError(
            f"{len(sounds)} sound files cannot go into one file; name a folder, such as results/"
        )
    takers: dict[Path, Sound] = {}
    for sound, stem in zip(sounds, _stems(sounds), strict=True):
        name = STDIN_NAME if sound.path == stdin else str(sound.path)
        job = Job(
            source=sound.path,
            name=name,
            target=out.path_for(stem),
            picture=picture.path_for(stem),
            to_stdout=out.to_stdout,
            format=as_format(out.suffix),
            is_clip=is_clip,
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


def _check_table(table: Destination, sounds: Sequence[Sound]) -> None:
    if table.suffix == "npy" and len(sounds) > 1:
        raise InputError(
            "an .npy has no room for the names of several sounds; give .npz, .csv or .parquet"
        )
    if any(_is_same(table.file, sound) for sound in sounds):
        raise InputError(f"{table.file}: the result would replace the sound itself")


def _is_same(path: Path | None, sound: Sound) -> bool:
    return path is not None and path.exists() and path.samefile(sound.path)


def _stems(sounds: Sequence[Sound]) -> list[Path]:
    """Return every sound's path in its folder without its suffix, unless that tells two apart."""
    names = dict.fromkeys(sound.below for sound in sounds)
    n_of = Counter(name.with_suffix("") for name in names)
    stems = [sound.below.with_suffix("") for sound in sounds]
    return [s if n_of[s] == 1 else sound.below for s, sound in zip(stems, sounds, strict=True)]


def as_format(suffix: str) -> Format:
    """Return a suffix as the format it names, npz where it names none."""
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
        if _is_same(path, sound):
            raise OutputError("the result would replace the sound itself")
        if path in takers:
            raise OutputError(
                f"its result {path} would replace that of {takers[path].path}; rename one of them"
            )
        takers[path] = sound


def work_on(embedder: Embedder, job: Job, reach: Reach) -> int:
    """Do one job; return how many embeddings its sound has."""
    if job.is_clip:
        return _write([clip_of(embedder, job.source)], embedder, job)
    if job.picture is None:
        return _write(reaching(embedder.iter_file(job.source), reach), embedder, job)
    from listen_embed.plot import Picture

    picture = Picture(embedder.spec, f"{Path(job.name).name} · {embedder.spec.name}")
    pieces = reaching(embedder.iter_file(job.source, picture.hear), reach)
    n_frames = _write(picture.watch(pieces), embedder, job)
    picture.save(job.picture)
    return n_frames


def vector_of(embedder: Embedder, job: Job, reach: Reach) -> Embedding:
    """Return the one vector, float32 (emb_dim,), of a job's sound: a row of a table."""
    return embedder.embed_clip_file(job.source)


class _Counted:
    """Pieces, counting the frames that pass."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.n_frames = 0

    def __iter__(self) -> Iterator[Embedded]:
        for embedding, timestamps in self._pieces:
            self.n_frames += len(timestamps)
            yield embedding, timestamps


def _write(pieces: Pieces, embedder: Embedder, job: Job) -> int:
    """Put pieces where the job says; return how many embeddings they were."""
    counted = _Counted(pieces)
    if job.target is not None:
        output.save(counted, job.target, job.format, provenance_of(embedder))
    elif job.to_stdout:
        with writing_to_stdout() as stream:
            output.dump(counted, stream, job.format, provenance_of(embedder))
    else:
        deque(counted, maxlen=0)
    return counted.n_frames


@contextmanager
def writing_to_stdout() -> Iterator[IO[bytes]]:
    """Give standard output for bytes; what it refuses is an error of ours."""
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except (ListenEmbedError, BrokenPipeError):
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from error
