"""``listen-embed models`` and ``listen-embed download``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from listen_embed.console import FAILED, OK, Console, UsageError, printable
from listen_embed.errors import ListenEmbedError, blame

if TYPE_CHECKING:
    from listen_embed.spec import ModelSpec


_MODELS = (
    "List the models; the one marked * is used where none is named. KB is the size of the network, "
    "MAC/S its multiply-accumulates per second of audio, frames side by side; - where there is no "
    "network, ? where it is not known."
)
_DOWNLOAD = "Download, verify, convert and cache models; print each with its file."
_LIST = (
    "list the published files instead: name, bytes, digest and address; a folder that holds "
    "them under these names is a mirror, see LISTEN_EMBED_MIRROR"
)
_WHERE = (
    "LISTEN_EMBED_CACHE moves the cache; LISTEN_EMBED_MIRROR (a folder or an address) is asked "
    "before the network; LISTEN_EMBED_OFFLINE=1 forbids the network."
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    _add_models(subparsers.add_parser("models", description=_MODELS))
    _add_download(subparsers.add_parser("download", description=_DOWNLOAD, epilog=_WHERE))


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=_models)


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="models, as for --model")
    parser.add_argument("--all", action="store_true", help="all that can be downloaded")
    parser.add_argument("--list", action="store_true", help=_LIST)
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=_download)


def _models(args: argparse.Namespace) -> int:
    from listen_embed import registry

    rows = [_facts(spec, spec == registry.find()) for spec in registry.models()]
    if args.json:
        print(json.dumps(rows, indent=2))
        return OK
    header = ["", "NAME", "DIM", "KB", "MAC/S", "LICENCE", "STATE"]
    for line in _aligned([header, *map(_cells, rows)], right={2, 3, 4}):
        print(line)
    return OK


def _facts(spec: ModelSpec, is_default: bool) -> dict[str, Any]:
    from listen_embed import store

    return {
        "name": spec.name,
        "model_type": spec.model_type,
        "emb_dim": spec.emb_dim,
        "variant": spec.variant,
        "default": is_default,
        "has_network": spec.has_network,
        "size_bytes": spec.size_bytes,
        "macs_per_second": spec.macs_per_second,
        "sample_rate": spec.front_end.sample_rate,
        "frame_seconds": spec.front_end.frame_seconds,
        "licence": spec.licence,
        "source": spec.source,
        "state": store.state(spec),
    }


def _cells(facts: dict[str, Any]) -> list[str]:
    unknown = "?" if facts["has_network"] else "-"
    size, macs = facts["size_bytes"], facts["macs_per_second"]
    return [
        "*" if facts["default"] else "",
        facts["name"],
        str(facts["emb_dim"]),
        f"{size / 1000:.0f}" if size else unknown,
        _with_prefix(macs) if macs else unknown,
        facts["licence"],
        facts["state"],
    ]


def _with_prefix(number: float) -> str:
    """Return three digits or so and an SI prefix: 12.3M."""
    for divisor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= divisor:
            return f"{number / divisor:.3g}{prefix}"
    return f"{number:.0f}"


def _aligned(rows: list[list[str]], right: set[int]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _download(args: argparse.Namespace) -> int:
    from listen_embed import registry

    if args.list:
        return _list(args.names)
    if bool(args.names) == args.all:
        raise UsageError("download: name models, or give --all")
    names = args.names
    if args.all:
        names = [spec.name for spec in registry.models() if spec.download is not None]
    console = Console(args.quiet)
    failed = [name for name in names if not _is_fetched(name, args.quiet, console)]
    if len(names) > 1 and failed:
        console.say(f"{len(failed)} of {len(names)} failed: {', '.join(failed)}")
    return FAILED if failed else OK


def _list(names: list[str]) -> int:
    """Print what a mirror must hold, for the models named or for all; models may share a file."""
    from listen_embed import registry

    specs = [registry.find(name) for name in names] or registry.models()
    files = dict.fromkeys(spec.download for spec in specs if spec.download is not None)
    rows = [
        [f.file_name, str(f.size_bytes) if f.is_size_known else "?", f.digest, f.urls[0]]
        for f in files
    ]
    for line in _aligned([["FILE", "SIZE", "DIGEST", "ADDRESS"], *rows], right={1}):
        print(line)
    return OK


def _is_fetched(name: str, is_quiet: bool, console: Console) -> bool:
    from listen_embed import registry, store

    try:
        spec = registry.find(name)
        if not spec.has_network:
            console.note(f"{spec.name}: built in, nothing to download")
            return True
        path = store.fetch(spec, progress=sys.stderr.isatty() and not is_quiet)
    except ListenEmbedError as error:
        console.say(blame(name, error))
        return False
    if not is_quiet:
        print(f"{spec.name}\t{printable(str(path))}", flush=True)
    return True
