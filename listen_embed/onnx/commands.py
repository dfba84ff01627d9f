"""``listen-embed export onnx MODEL``: arguments, and what is done with them."""

from __future__ import annotations

import argparse
from pathlib import Path

from listen_embed.console import FAILED, OK, Console

_DESCRIPTION = (
    "Write a model as ONNX, its front end included: samples of one frame in, embedding out. The "
    "graph is run through onnxruntime beside the model before it is written."
)


def add_kinds(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this room's kind to those of ``export``."""
    parser = kinds.add_parser("onnx", description=_DESCRIPTION, help="ONNX, for onnxruntime")
    add = parser.add_argument
    add("model", metavar="MODEL", help="name or folder of a model")
    add("-o", "--out", type=Path, metavar="FILE", help="(default MODEL.onnx)")
    add(
        "--no-front-end",
        dest="with_front_end",
        action="store_false",
        help="take what the front end gives (the log-mel of a frame) instead of samples",
    )
    add("-q", "--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from listen_embed.embedder import Embedder
    from listen_embed.onnx.export import compare, save, to_onnx

    console = Console(args.quiet)
    graph = to_onnx(args.model, with_front_end=args.with_front_end)
    embedder = Embedder(args.model)
    agreement = compare(graph, embedder)
    told = (
        f"against the model itself: cosine {agreement.cosine:.5f} at least, "
        f"{agreement.equal:.1%} of the values equal, the others at most "
        f"{agreement.difference:.2%} of the largest apart"
    )
    if not agreement.is_kept:
        console.say(f"{args.model}: not written, its ONNX graph does not agree; {told}")
        return FAILED
    target = args.out or Path(f"{embedder.spec.name.replace('/', '-')}.onnx")
    save(graph, target)
    console.note(f"{target}: {target.stat().st_size / 1000:.0f} kB; {told}")
    return OK
