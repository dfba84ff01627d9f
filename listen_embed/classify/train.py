"""The one story of a classifier: labelled clips in, its folder out."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from listen_embed.classify import baseline, folder
from listen_embed.classify.labelled import LabelledClip, LabelledClips, read_labelled
from listen_embed.classify.options import CHECKPOINT, Options
from listen_embed.errors import ListenEmbedError
from listen_embed.training.export import check_place

# method -> module whose `make` gives what was made and how good it is; imported when asked for.
_METHODS = {
    "head": "listen_embed.classify.head_method",
    "lean": "listen_embed.classify.lean",
    "finetune": "listen_embed.classify.finetune",
}


def train(
    source: str | os.PathLike[str] | Iterable[LabelledClip] | LabelledClips,
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    progress: bool = True,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Make a classifier of labelled sound; return its folder.

    What a long training works on lies in ``OUT.work``: the same call again goes on where it was
    stopped, and when the classifier is made the folder is deleted.

    Parameters
    ----------
    source : path, iterable of LabelledClip, or LabelledClips
        A folder with a folder for each class, or a CSV; see `listen_embed.classify.labelled`.
    out : path
        The folder to write; an older model's is replaced.
    options : Options, optional
    progress : bool
        Whether to show progress bars.
    say : callable, optional
        Is told in one line how good it is.

    Raises
    ------
    InputError
        Labels, parts, base or place are not as they must be; nothing was written.
    AudioFileError
        Files that cannot be read; all of them are named.
    """
    options = options or Options()
    place = Path(out).expanduser()
    check_place(place)
    labelled = (
        source if isinstance(source, LabelledClips) else read_labelled(source, multi=options.multi)
    )
    method = importlib.import_module(_METHODS[options.method])
    run = _run_of(place, labelled, options)
    with _nothing_left(run):
        made, measured = method.make(labelled, options, run, progress=progress)
    measured = baseline.beside(measured, labelled, options, progress=progress)
    facts = {
        "clips": len(labelled),
        "measured on": measured.how,
        **options.as_rows(),
        "set": labelled.digest()[:16],
    }
    folder.write(place, made, measured, facts)
    _forget(_work_of(place))
    if say is not None:
        say(measured.in_short())
    return place


@contextmanager
def _nothing_left(run: Path) -> Iterator[None]:
    """Delete what a training wrote that came upon an error before it had learned anything."""
    try:
        yield
    except ListenEmbedError:
        if not (run / CHECKPOINT).exists():
            _forget(run)
            with suppress(OSError):  # other runs of this place, or nothing at all
                run.parent.rmdir()
        raise


def _run_of(place: Path, labelled: LabelledClips, options: Options) -> Path:
    """Return where this training works: others of the same place have folders of their own."""
    facts = f"{labelled.digest()} {options!r}"
    return _work_of(place) / hashlib.sha256(facts.encode()).hexdigest()[:16]


def _work_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.work")


def _forget(work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
