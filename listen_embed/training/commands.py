"""``listen-embed specialize``: the training room on the command line."""

from __future__ import annotations

import argparse
import json
import logging
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed.training import specialize

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_DEFAULTS = specialize.Options()
_UNITS = {"": 1, "b": 1, "kb": 1_000, "kib": 1_024, "mb": 1_000_000, "mib": 1_048_576}


def register(subparsers: Subparsers) -> None:
    """Add the command to the package's own."""
    parser = subparsers.add_parser(
        "specialize",
        help="make a small model of your own recordings",
        description="Make a small model of your own recordings, and tell whether it paid. What it "
        "works on lies in OUT.work, up to a gigabyte with the defaults: Ctrl-C and the same "
        "command again go on where it stopped, and when the model is made the folder is deleted.",
    )
    parser.add_argument("recordings", nargs="+", type=Path, help="sound files, or folders of them")
    parser.add_argument("--out", required=True, type=Path, help="the model folder to write")
    _add_what(parser)
    _add_verdict(parser)
    _add_how(parser)
    parser.set_defaults(run=run)


def _add_what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to make")
    group.add_argument(
        "--teacher", dest="teachers", action="append", metavar="MODEL",
        help="a model to learn from (default mn04); several times: side by side",
    )  # fmt: skip
    group.add_argument("--emb-dim", type=int, default=_DEFAULTS.emb_dim, help="width (default 64)")
    group.add_argument(
        "--budget", dest="budget_bytes", type=parse_bytes, default=_DEFAULTS.budget_bytes,
        metavar="SIZE", help="largest int8 .tflite, such as 64kB (the default) or 200kB",
    )  # fmt: skip
    group.add_argument(
        "--student", default=_DEFAULTS.student,
        choices=("auto", "widened", "grown", "pruned", "streaming"),
        help="sea/32/nano with more channels, from scratch, mn04 with fewer channels, or a step",
    )  # fmt: skip
    group.add_argument("--front-end", default="", metavar="MODEL", help="whose log-mels it takes")
    group.add_argument("--licence", default=_DEFAULTS.licence, help="for the model card")


def _add_verdict(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the verdict")
    group.add_argument(
        "--labels", default=_DEFAULTS.labels, metavar="FILE",
        help="CSV with the columns path and label (default: the names of the folders)",
    )  # fmt: skip
    group.add_argument(
        "--test", action="append", metavar="PATH",
        help="recordings to judge by that are not learnt from; several times for several",
    )  # fmt: skip


def _add_how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how, stage by stage")
    group.add_argument(
        "--sampling",
        choices=("random", "relevance", "diversity", "both"),
        default=_DEFAULTS.sampling,
    )
    group.add_argument("--crops", dest="n_crops", type=int, default=0, help="how many; 0 for all")
    group.add_argument(
        "--shards", dest="n_shards", type=int, default=_DEFAULTS.n_shards, help="length"
    )
    group.add_argument(
        "--shard-size", type=int, default=_DEFAULTS.shard_size, help="crops in a shard"
    )
    group.add_argument(
        "--passes", type=int, default=_DEFAULTS.passes, help="how often each shard is gone through"
    )
    group.add_argument("--no-augment", dest="augment", action="store_false")
    group.add_argument("--loss", choices=("mse", "cosine", "mse+cosine"), default=_DEFAULTS.loss)
    group.add_argument(
        "--learning-rate", type=float, default=_DEFAULTS.learning_rate,
        help="by default what suits the student",
    )  # fmt: skip
    group.add_argument("--sparsity", type=float, default=0.0, help="share of zero weights (EdgeL3)")
    group.add_argument(
        "--int8-shards", type=int, default=_DEFAULTS.int8_shards, help="fine-tuning for int8"
    )
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--workers", type=int, default=1, help="processes that prepare crops")
    group.add_argument("--threads", type=int, default=1, help="threads of the training")
    group.add_argument("--keep", action="store_true", help="keep OUT.work when the model is made")
    group.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Make the model; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.teachers = tuple(args.teachers or _DEFAULTS.teachers)
    args.test = tuple(args.test or ())
    names = [field.name for field in fields(specialize.Options)]
    options = specialize.Options(**{name: getattr(args, name) for name in names})
    folder = specialize.specialize(args.recordings, args.out, options, progress=not args.quiet)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    verdict = report["verdict"]
    print(*filter(None, (verdict["sentence"], verdict["advice"])))
    print(f"{folder}: model card README.md, picture report.png; use it with --model {folder}")
    return 0


def parse_bytes(text: str) -> int:
    """Return a size such as ``64kB`` in bytes.

    Raises
    ------
    argparse.ArgumentTypeError
        Not a number with an optional unit; argparse prints what it says.
    """
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; write for example 64kB, 0.2MB or 65536"
        )
    return round(float(match[1]) * _UNITS[match[2].lower()])
