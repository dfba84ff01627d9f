"""``listen-embed pretrain``: the self-supervised room on the command line."""

from __future__ import annotations

import argparse
import logging
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from listen_embed.errors import InputError
from listen_embed.pretrain import pretrain
from listen_embed.pretrain.encoder import Kind, Pool, Size
from listen_embed.training.precision import Precision

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_DEFAULTS = pretrain.Options()
_PATCHES = {"16x16": (16, 16), "128x2": (128, 2)}


def register(subparsers: Subparsers) -> None:
    """Add the command to the package's own."""
    parser = subparsers.add_parser(
        "pretrain",
        help="make an encoder of unlabelled recordings",
        description="Train an encoder on recordings without labels. What it works on lies in "
        "OUT.work: Ctrl-C and the same command again go on where it stopped, and when the model "
        "is made the folder is deleted. Several GPUs: torchrun --nproc-per-node N -m "
        "listen_embed.cli pretrain ...",
    )
    parser.add_argument("recordings", nargs="*", type=Path, help="sound files, or folders of them")
    parser.add_argument(
        "--published", type=Path, metavar="FILE",
        help="in place of recordings: a .pth of SSAST's or SSAMBA's authors, to be converted",
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help="the model folder to write")
    _add_what(parser)
    _add_how(parser)
    parser.set_defaults(run=run)


def _add_what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to make")
    group.add_argument(
        "--method", choices=tuple(pretrain.METHODS), default=_DEFAULTS.method,
        help="find and paint hidden patches, or rebuild groups of them beside a teacher",
    )  # fmt: skip
    group.add_argument(
        "--encoder", choices=get_args(Kind), default=_DEFAULTS.encoder,
        help="ssast on a state-space is SSAMBA",
    )  # fmt: skip
    group.add_argument(
        "--size", choices=get_args(Size), default=_DEFAULTS.size, help="a laptop trains micro"
    )
    group.add_argument(
        "--patch", choices=tuple(_PATCHES), default="16x16", help="128x2 suits speech"
    )
    group.add_argument(
        "--seconds", type=float, default=_DEFAULTS.seconds, help="length of what it learns from"
    )
    group.add_argument(
        "--frame", type=float, default=_DEFAULTS.frame,
        help="seconds that each embedding of the finished model hears",
    )  # fmt: skip
    group.add_argument(
        "--pool", choices=get_args(Pool), default=_DEFAULTS.pool,
        help="the embedding: the mean of all tokens, or of each row of patches",
    )  # fmt: skip
    group.add_argument("--licence", default=_DEFAULTS.licence, help="for the model card")


def _add_how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how")
    group.add_argument("--steps", dest="n_steps", type=int, default=_DEFAULTS.n_steps)
    group.add_argument("--batch", type=int, default=_DEFAULTS.batch, help="clips of a step")
    group.add_argument(
        "--learning-rate", type=float, default=_DEFAULTS.learning_rate,
        help="by default what suits the size",
    )  # fmt: skip
    group.add_argument("--precision", choices=get_args(Precision), default=_DEFAULTS.precision)
    group.add_argument("--seed", type=int, default=_DEFAULTS.seed)
    group.add_argument(
        "--workers", type=int, default=_DEFAULTS.workers, help="processes that prepare batches"
    )
    group.add_argument("--threads", type=int, default=_DEFAULTS.threads, help="of the training")
    group.add_argument("--keep", action="store_true", help="keep OUT.work when the model is made")
    group.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Train the encoder; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.patch = _PATCHES[args.patch]
    options = pretrain.Options(**{f.name: getattr(args, f.name) for f in fields(pretrain.Options)})
    if (args.published is None) == (not args.recordings):
        raise InputError("give either recordings to learn from, or --published FILE to convert")
    if args.published:
        folder = pretrain.take_over(args.published, args.out, options)
        print(f"{folder}: model card README.md; use it with --model {folder}")
        return 0
    folder = pretrain.pretrain(args.recordings, args.out, options, progress=not args.quiet)
    print(f"{folder}: model card README.md, picture report.png; use it with --model {folder}")
    return 0
