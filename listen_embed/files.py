"""Sound files in, embeddings out: one file to disk, or many files in order, on several processes.

A file that fails does not stop the others. Everything here holds one file's pieces at a time, so
memory grows neither with the length of a file nor with their number.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from listen_embed import audio, output
from listen_embed.batch import Options, Reach, check_jobs, in_order, reaching
from listen_embed.embedder import DEFAULT_HOP, Embedded, Embedder, Embedding, PathLike, Timestamps
from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.output import Format, Provenance, package_version
from listen_embed.progress import Bar, Progress, Unseen


def process_file(
    path: PathLike,
    output_dir: PathLike | None = None,
    suffix: str | None = None,
    *,
    model_type: PathLike | None = None,
    emb_dim: int | None = None,
    variant: str | None = None,
    hop_size: float = DEFAULT_HOP,
    center: bool = True,
    frame_size: float | None = None,
    threads: int | None = None,
    format: Format = "npz",
) -> Path:
    """Embed a sound file of any length and write the result; return the path written.

    Parameters
    ----------
    path : str or path
        The sound file.
    output_dir : str or path, optional
        Folder to write to, made if need be; None writes beside the sound.
    suffix : str, optional
        Goes into the name: ``<stem>_<suffix>.npz``; None and ``""`` leave ``<stem>.npz``.
    model_type, emb_dim, variant, hop_size, center, frame_size, threads
        As for `Embedder`.
    format : {"npz", "npy", "csv", "parquet"}
        See `listen_embed.output.save`. An ``.npz`` holds ``embedding`` float32 (T, emb_dim),
        ``timestamps`` float64 (T,) in seconds, ``model``, ``digest`` and ``version``.

    Returns
    -------
    Path
        The file written. One that was there before is replaced, at once and only when all is well.

    Raises
    ------
    AudioFileError
        The sound cannot be read.
    OutputError
        The result cannot be written.
    ListenEmbedError
        As for `Embedder`.

    Source: the function of this name in edgel3 and openl3, whose arguments and keys it keeps.
    """
    options = Options(
        model_type=model_type,
        emb_dim=emb_dim,
        variant=variant,
        hop_size=hop_size,
        center=center,
        frame_size=frame_size,
        threads=threads,
    )
    format = output.check_format(format)
    source = Path(path)
    folder = source.parent if output_dir is None else Path(output_dir)
    target = folder / f"{source.stem}{f'_{suffix}' if suffix else ''}.{format}"
    embedder = options.load()
    output.save(embedder.iter_file(source), target, format, provenance_of(embedder))
    return target


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileResult:
    """What became of one sound file: its embedding, or the error that was in the way.

    Attributes
    ----------
    path : Path
        The sound file.
    error : ListenEmbedError or None
        None if all is well.
    """

    path: Path
    error: ListenEmbedError | None = None
    _embedded: Embedded | None = field(default=None, repr=False)

    @property
    def embedding(self) -> Embedding:
        """Return float32 (T, emb_dim); raise the file's `error` if it failed."""
        return self._given()[0]

    @property
    def timestamps(self) -> Timestamps:
        """Return float64 (T,), in seconds; raise the file's `error` if it failed."""
        return self._given()[1]

    def _given(self) -> Embedded:
        if self._embedded is None:
            raise self.error or InputError(f"{self.path}: a result without embedding and error")
        return self._embedded


def embed_files(
    paths: Iterable[PathLike],
    model_type: PathLike | None = None,
    emb_dim: int | None = None,
    *,
    variant: str | None = None,
    hop_size: float = DEFAULT_HOP,
    center: bool = True,
    frame_size: float | None = None,
    threads: int | None = None,
    clip: bool = False,
    jobs: int = 1,
    progress: bool = False,
) -> Iterator[FileResult]:
    """Yield a result for every sound file, in their order, the model being loaded once.

    A file that fails does not stop the others: its result holds the error.

    Parameters
    ----------
    paths : iterable of str or path
        Sound files; taken one by one, as needed.
    model_type, emb_dim, variant, hop_size, center, frame_size, threads
        As for `Embedder`; with several processes `threads` is 1 unless given.
    clip : bool
        One embedding, (1, emb_dim), for every file as a whole, as `Embedder.embed_clip` makes it,
        with timestamp 0; `hop_size` and `center` then mean nothing.
    jobs : int
        Processes; 0 takes one per core. With more than one, the calling script must guard its start
        with ``if __name__ == "__main__":``, as Python asks of all that start processes.
    progress : bool
        Show a progress bar with the time left, by seconds of audio.

    Yields
    ------
    FileResult
        ``path``; ``embedding``, float32 (T, emb_dim), and ``timestamps``, float64 (T,) seconds; or
        ``error``. `to_pandas` and `to_arrow` make one table of all.

    Raises
    ------
    ListenEmbedError
        At once, for options that `Embedder` refuses.
    """
    if isinstance(paths, str | os.PathLike):
        raise InputError(f"paths is {paths!r}; allowed are several paths: put it into a list")
    options = Options(
        model_type=model_type,
        emb_dim=emb_dim,
        variant=variant,
        hop_size=hop_size,
        center=center,
        frame_size=frame_size,
        threads=threads,
    )
    jobs = check_jobs(jobs)
    embedder = options.load()
    files: Iterable[Path] = map(Path, paths)
    bar: Progress = Unseen()
    if progress:
        files = list(files)
        bar = Bar([seconds_of(path) for path in files])
    work = _embed_clip if clip else _embed_one
    return _results(in_order(work, files, embedder, options, jobs, bar), bar)


def _results(
    made_of: Iterable[tuple[Path, Embedded | ListenEmbedError]], bar: Progress
) -> Iterator[FileResult]:
    with bar:
        for path, made in made_of:
            if isinstance(made, ListenEmbedError):
                yield FileResult(path=path, error=made)
            else:
                yield FileResult(path=path, _embedded=made)


def clip_of(embedder: Embedder, path: Path) -> Embedded:
    """Return a whole file's one embedding, (1, emb_dim), and its timestamp, 0."""
    return embedder.embed_clip_file(path)[None], np.zeros(1)


def _embed_clip(embedder: Embedder, path: Path, reach: Reach) -> Embedded:
    return clip_of(embedder, path)


def _embed_one(embedder: Embedder, path: Path, reach: Reach) -> Embedded:
    pieces = list(reaching(embedder.iter_file(path), reach))
    return (
        np.concatenate([embedding for embedding, _ in pieces]),
        np.concatenate([timestamps for _, timestamps in pieces]),
    )


def seconds_of(path: PathLike) -> float:
    """Return a sound file's length in seconds, 0 where it cannot be told."""
    try:
        return audio.duration(path)
    except ListenEmbedError:
        return 0.0


def provenance_of(embedder: Embedder) -> Provenance:
    """Return what a result should tell about its making."""
    return Provenance(
        model=embedder.spec.name,
        digest=embedder.digest,
        version=package_version(),
        emb_dim=embedder.spec.emb_dim,
    )
