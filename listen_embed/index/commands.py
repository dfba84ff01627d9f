"""``listen-embed index build | add``: arguments, and what is done with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed.console import FAILED, OK, Console
from listen_embed.errors import ListenEmbedError, blame

if TYPE_CHECKING:
    from listen_embed.index.build import Builder
    from listen_embed.index.results import Rows

_BUILD = (
    "Make an index of results (.npz, .parquet, the output of a bulk job) or of sounds, which are "
    "embedded first. What is interrupted goes on with the same command."
)
_ADD = "Add results or sounds to an index; what is in it already is left out."


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("index", description="Indexes for similarity search.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, description in (("build", _BUILD), ("add", _ADD)):
        command = commands.add_parser(name, description=description, help=description)
        _add_options(command)
        command.set_defaults(run=_run, is_new=name == "build")


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help="results, sounds, or folders of either")
    add("--out", type=Path, required=True, metavar="INDEX", help="the index, a folder")
    add("-m", "--model", metavar="MODEL", help="for sounds (default: the index's, or the default)")
    add("--hop", type=float, default=1.0, metavar="S", help="for sounds: seconds between (1)")
    add(
        "--no-center",
        dest="is_centred",
        action="store_false",
        help="the results' timestamps are starts of frames, not centres",
    )
    add("--approximate", action="store_true", help="also make a graph, for large indexes (usearch)")
    add("--threads", type=int, default=1, metavar="N", help="threads that make the graph (1)")
    add("-q", "--quiet", action="store_true", help="print errors only")


def _run(args: argparse.Namespace) -> int:
    from listen_embed.index.build import Builder

    console = Console(args.quiet)
    builder = Builder(args.out, is_new=args.is_new)
    with console.showing_warnings(), builder.adding():
        n_failed = _add_sources(builder, args, console)
        if args.approximate:
            builder.approximate(args.threads)
    from listen_embed.index.index import Index

    if n_failed < len(args.sources) or not args.sources:
        console.note(repr(Index(args.out)))
    return FAILED if n_failed else OK


def _add_sources(builder: Builder, args: argparse.Namespace, console: Console) -> int:
    """Add all sources; say which ones cannot be added, and return how many."""
    from tqdm import tqdm

    n_failed = n_new = 0
    sources = list(_found(args))
    is_hidden = args.quiet or not sys.stderr.isatty()
    for path in tqdm(sources, unit=" files", delay=2, leave=False, disable=is_hidden):
        try:
            n_new += sum(builder.add(rows) for rows in _rows(path, builder, args))
        except ListenEmbedError as error:
            console.say(blame(path, error))
            n_failed += 1
    console.note(f"{n_new} sounds added, {builder.n_skipped} were there already")
    return n_failed


def _found(args: argparse.Namespace) -> Iterable[Path]:
    from listen_embed.finder import find_sounds
    from listen_embed.index import results

    for source in args.sources:
        path = Path(source)
        is_result = path.suffix in results.SUFFIXES or (path.is_dir() and _has_results(path))
        if is_result:
            yield from results.find([path])
        else:
            yield from (sound.path for sound in find_sounds(source))


def _has_results(folder: Path) -> bool:
    from listen_embed.index.results import SUFFIXES

    return any(path.suffix in SUFFIXES for path in folder.rglob("*"))


def _rows(path: Path, builder: Builder, args: argparse.Namespace) -> Iterator[Rows]:
    from listen_embed.index import results

    if path.suffix in results.SUFFIXES:
        yield from results.read(path, args.is_centred)
    elif builder.knows(str(path)):
        builder.n_skipped += 1
    else:
        if not hasattr(args, "embedder"):
            args.embedder = _embedder(args)
        yield results.embed(args.embedder, path)


def _embedder(args: argparse.Namespace) -> object:
    from listen_embed.batch import Options
    from listen_embed.index.storage import LIST, Listing

    model = args.model
    if model is None and (args.out / LIST).exists():
        model = Listing.read(args.out).model
    options = Options(model_type=model, hop_size=args.hop, center=False, hush=True)
    return options.load(progress=sys.stderr.isatty() and not args.quiet)
