"""``listen-embed classify``: make a classifier, name sounds by one, measure one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed.classify.options import METHODS, Options
from listen_embed.console import FAILED, OK, Console, UsageError
from listen_embed.errors import ListenEmbedError, blame
from listen_embed.labels import FORMATS, Format

if TYPE_CHECKING:
    from listen_embed.classify.classifier import SoundClassifier
    from listen_embed.labels import Labelled

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_DESCRIPTION = """\
  listen-embed classify train LABELLED --out FOLDER   make a classifier (room training)
  listen-embed classify test LABELLED --model FOLDER  measure one on other clips
  listen-embed classify SOUND... --model FOLDER       name what is heard

LABELLED is a folder with a folder for each class, or a CSV with the columns path and label
(several labels by ;), and optionally start, end, fold or split, and group."""
_FORMAT_OF = {".jsonl": "jsonl", ".json": "jsonl", ".txt": "audacity", ".csv": "csv"}
_RAVEN = ".selections.txt"
_SUFFIXES: dict[Format, str] = {
    "csv": ".csv", "audacity": ".labels.txt", "raven": _RAVEN, "jsonl": ".jsonl",
    "kaleidoscope": ".csv",
}  # fmt: skip


def register(subparsers: Subparsers) -> None:
    """Add the command to the package's own."""
    parser = subparsers.add_parser(
        "classify",
        help="make a classifier of labelled sound, or name sounds by one",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="+", metavar="SOUND", help="sounds; or train LABELLED, or "
                        "test LABELLED (a sound called train is ./train)")  # fmt: skip
    parser.add_argument("-m", "--model", type=Path, metavar="FOLDER", help="a classifier's folder")
    parser.add_argument("-o", "--out", type=Path, metavar="PATH", help="of sounds: a file for all, "
                        "or a folder, one for each; of train: the folder to write")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    _add_naming(parser)
    _add_training(parser)
    parser.set_defaults(run=run)


def _add_naming(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("naming sounds").add_argument
    add("--format", choices=FORMATS, help="(default: by the suffix of --out, else csv)")
    add("--hop", type=float, metavar="S", help="seconds between answers (default: the model's)")
    add("--least", type=float, default=0.0, metavar="P", help="leave out what is less likely")
    add("--omit", action="append", default=[], metavar="LABEL", help="leave this label out")


def _add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--method", choices=METHODS, default="head", help="(default head)")
    add("--base", default="", metavar="MODEL", help="what to stand on (default pruned/384/mn04)")
    add("--multi", action="store_true", default=None, help="clips may have several labels")
    add("--window", type=float, default=0.0, metavar="S",
        help="seconds that an answer hears, not of head (default: the median clip)")  # fmt: skip
    add("--epochs", type=int, default=0, help="passes at most, of lean and finetune")
    add("--join", choices=("attention", "pooled", "none"), default="attention",
        help="how lean joins wave encoder and base (default attention)")  # fmt: skip
    add("--wave", choices=("frozen", "trained"), default="",
        help="whether lean's wave encoder learns (default: if none is brought)")  # fmt: skip
    add("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Do what the first word asks for; return the exit code."""
    ways: dict[str, Callable[[argparse.Namespace], int]] = {"train": _train, "test": _test}
    console = Console(args.quiet)
    with console.showing_warnings():
        return ways.get(args.what[0], _name)(args)


def _labelled_source(args: argparse.Namespace) -> Path:
    if len(args.what) != 2:
        raise UsageError(f"classify {args.what[0]}: give one folder or one CSV of labelled sound")
    return Path(args.what[1])


def _train(args: argparse.Namespace) -> int:
    source = _labelled_source(args)
    if args.out is None:
        raise UsageError("classify train: give --out, the folder to write")
    from listen_embed.errors import require_extra

    require_extra("training")
    from listen_embed.classify.train import train

    options = Options(
        method=args.method, base=args.base, multi=args.multi, window=args.window,
        epochs=args.epochs, join=args.join, wave=args.wave, seed=args.seed,
    )  # fmt: skip
    folder = train(source, args.out, options, progress=not args.quiet, say=print)
    print(f"{folder}: model card README.md, picture report.png; use it with --model {folder}")
    return OK


def _classifier(args: argparse.Namespace) -> SoundClassifier:
    if args.model is None:
        raise UsageError("classify: give --model, a folder that `classify train` wrote")
    from listen_embed.classify.classifier import SoundClassifier

    return SoundClassifier(args.model, hop_size=args.hop)


def _test(args: argparse.Namespace) -> int:
    from listen_embed.classify.labelled import read_labelled
    from listen_embed.classify.testing import measure

    classifier = _classifier(args)
    labelled = read_labelled(_labelled_source(args), multi=classifier.is_multi or None)
    print(measure(classifier, labelled, progress=not args.quiet).in_words())
    return OK


def _name(args: argparse.Namespace) -> int:
    from listen_embed.finder import find_sounds

    classifier = _classifier(args)
    format = _format_of(args)
    paths = [sound.path for name in args.what for sound in find_sounds(name)]
    one_each = _is_folder(args.out) or (format == "audacity" and len(paths) > 1)
    if one_each and not _is_folder(args.out):
        raise UsageError("classify: Audacity needs a file for each sound; give --out a folder")
    done = _named(paths, classifier, args)
    _write(done, args.out, format, one_each)
    return OK if len(done) == len(paths) else FAILED


def _format_of(args: argparse.Namespace) -> Format:
    if args.format is not None or args.out is None:
        return args.format or "csv"
    if args.out.name.endswith(_RAVEN):
        return "raven"
    found: Format = _FORMAT_OF.get(args.out.suffix.lower(), "csv")  # type: ignore[assignment]
    return found


def _is_folder(out: Path | None) -> bool:
    return out is not None and (out.is_dir() or not out.suffix)


def _named(
    paths: list[Path], classifier: SoundClassifier, args: argparse.Namespace
) -> list[Labelled]:
    from tqdm import tqdm

    from listen_embed.classify.naming import named

    console, done = Console(args.quiet), []
    is_hidden = args.quiet or not sys.stderr.isatty()
    for path in tqdm(paths, unit=" files", delay=2, leave=False, disable=is_hidden):
        try:
            done.append(named(classifier, path, least=args.least, omit=args.omit))
        except ListenEmbedError as error:
            console.say(blame(path, error))
    return done


def _write(done: list[Labelled], out: Path | None, format: Format, one_each: bool) -> None:
    from listen_embed.labels import as_text, write

    if out is None:
        sys.stdout.write(as_text(done, format))
    elif one_each:
        for sound in done:
            write([sound], out / f"{sound.path.stem}{_SUFFIXES[format]}", format)
    else:
        write(done, out, format)
