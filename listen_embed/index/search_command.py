"""``listen-embed search QUERY``: what in an index sounds like a sound."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed.console import OK, Console, printable

if TYPE_CHECKING:
    from listen_embed.embedder import Embedder
    from listen_embed.index.index import Hit, Index

_DESCRIPTION = (
    "Find what sounds like a sound: the nearest embeddings of an index to the query's as one "
    "vector. Prints path, start, end and score, the best first; the score is the cosine, at most 1."
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("search", description=_DESCRIPTION)
    add = parser.add_argument
    add("query", metavar="SOUND", help="a sound file")
    add("--index", type=Path, required=True, metavar="INDEX", help="from listen-embed index build")
    add("-k", type=int, default=10, metavar="N", help="how many hits (10)")
    add("--begin", type=float, default=0.0, metavar="S", help="take the query from here (0)")
    add("--end", type=float, metavar="S", help="take the query up to here (its end)")
    add("-m", "--model", metavar="MODEL", help="a folder, where the index's model is one")
    add("--approximate", action="store_true", help="search the graph of index build --approximate")
    add("--overlapping", action="store_true", help="keep hits that overlap with better ones")
    add("--csv", action="store_true", help="print comma-separated values with a header")
    add("-p", "--plot", type=Path, metavar="FILE", help="draw the query and the hits")
    add("--cut", type=Path, metavar="FOLDER", help="cut the hits out, as .flac")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from listen_embed.batch import Options
    from listen_embed.index.excerpt import excerpt
    from listen_embed.index.index import Index

    console = Console()
    index = Index(args.index)
    embedder = Options(model_type=args.model or index.model, hush=True).load()
    index.check(embedder.spec.name, embedder.digest)
    query = excerpt(args.query, args.begin, args.end)
    hits = _hits(index, embedder, query, args)
    sys.stdout.write(_as_csv(hits) if args.csv else _as_text(hits))
    if args.cut is not None:
        _cut(hits, args.cut, console)
    if args.plot is not None:
        from listen_embed.index.picture import draw

        draw(args.plot, args.query, query, hits)
    return OK


def _hits(
    index: Index, embedder: Embedder, query: tuple[object, int], args: argparse.Namespace
) -> list[Hit]:
    samples, sr = query
    vector = embedder.embed_clip(samples, sr)
    distinct = not args.overlapping
    return index.search(vector, args.k, distinct=distinct, approximate=args.approximate)


def _as_text(hits: Sequence[Hit]) -> str:
    lines = [
        f"{hit.score:+.4f}  {hit.start:10.2f}  {hit.end:10.2f}  {printable(hit.path)}\n"
        for hit in hits
    ]
    return "".join(lines)


def _as_csv(hits: Sequence[Hit]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["path", "start", "end", "score"], extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(asdict(hit) for hit in hits)
    return text.getvalue()


def _cut(hits: Sequence[Hit], folder: Path, console: Console) -> None:
    from listen_embed.errors import ListenEmbedError
    from listen_embed.index.excerpt import excerpt, save

    for number, hit in enumerate(hits, 1):
        try:
            samples, sr = excerpt(hit.path, hit.start, hit.end)
            save(folder / f"{number:03d}-{Path(hit.path).stem}-{hit.start:.2f}.flac", samples, sr)
        except ListenEmbedError as error:
            console.say(str(error))
