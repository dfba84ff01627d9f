"""``listen-embed label SOUND... --head FILE``: what a classifier hears, for other programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed.console import FAILED, OK, Console, UsageError
from listen_embed.errors import HeadError, ListenEmbedError, blame

if TYPE_CHECKING:
    from listen_embed.heads import Classifier
    from listen_embed.labels import Format, Labelled

_DESCRIPTION = (
    "Label sounds by a classifier (from `monitor adapt`, or Classifier.save) and write selections "
    "for Raven, Audacity, Kaleidoscope or R. Neighbouring frames of one label are one selection."
)
_SUFFIXES: dict[Format, str] = {
    "raven": ".selections.txt",
    "audacity": ".labels.txt",
    "kaleidoscope": ".csv",
    "csv": ".csv",
    "jsonl": ".jsonl",
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("label", description=_DESCRIPTION)
    add = parser.add_argument
    add("sounds", nargs="+", metavar="SOUND", help="sound files, folders, patterns")
    add("--head", type=Path, required=True, metavar="FILE", help="a classifier's .npz")
    add("--format", choices=tuple(_SUFFIXES), default="raven", help="(default raven)")
    add("-o", "--out", type=Path, metavar="PATH", help="a file for all, or a folder: one for each")
    add("--omit", action="append", default=[], metavar="LABEL", help="leave this label out")
    add("-m", "--model", metavar="FOLDER", help="where the head's model is a folder")
    add("--hop", type=float, default=0.5, metavar="S", help="seconds between frames (0.5)")
    add("-q", "--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from listen_embed.batch import Options
    from listen_embed.finder import find_sounds

    console = Console(args.quiet)
    classifier = _classifier(args.head)
    model = args.model or classifier.model
    embedder = Options(model_type=model, hop_size=args.hop, center=False, hush=True).load()
    classifier.check_model(embedder)
    paths = [sound.path for name in args.sounds for sound in find_sounds(name)]
    one_each = _is_folder(args.out) or (args.format == "audacity" and len(paths) > 1)
    if one_each and not _is_folder(args.out):
        raise UsageError("label: Audacity needs a file for each sound; give --out a folder")
    with console.showing_warnings():
        done = _labelled(paths, classifier, embedder, args, console)
    _write(done, args, one_each)
    return OK if len(done) == len(paths) else FAILED


def _classifier(path: Path) -> Classifier:
    from listen_embed import heads

    classifier = heads.load(path).classifier
    if classifier is None or not classifier.model:
        raise HeadError(f"{path}: holds no classifier that knows its model")
    return classifier


def _labelled(
    paths: list[Path],
    classifier: Classifier,
    embedder: object,
    args: argparse.Namespace,
    console: Console,
) -> list[Labelled]:
    from tqdm import tqdm

    from listen_embed.labels import label_file

    done = []
    is_hidden = args.quiet or not sys.stderr.isatty()
    for path in tqdm(paths, unit=" files", delay=2, leave=False, disable=is_hidden):
        try:
            done.append(label_file(embedder, classifier, path, omit=args.omit))  # type: ignore[arg-type]
        except ListenEmbedError as error:
            console.say(blame(path, error))
    return done


def _write(done: list[Labelled], args: argparse.Namespace, one_each: bool) -> None:
    from listen_embed.labels import as_text, write

    if args.out is None:
        sys.stdout.write(as_text(done, args.format))
    elif one_each:
        for sound in done:
            write([sound], args.out / f"{sound.path.stem}{_SUFFIXES[args.format]}", args.format)
    else:
        write(done, args.out, args.format)


def _is_folder(out: Path | None) -> bool:
    return out is not None and (out.is_dir() or not out.suffix)
