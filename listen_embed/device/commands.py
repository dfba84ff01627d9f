"""``listen-embed export c`` and ``export wasm``: a model as C, on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed import registry, store
from listen_embed.device.check import Report, check
from listen_embed.device.export import export_c
from listen_embed.device.model_source import ARITHMETICS, MODES, SAMPLES, ModelSource, Options
from listen_embed.device.web_export import export_wasm

_WASM = (
    "Write a model as WebAssembly with a page that embeds the microphone live; nothing is sent "
    "anywhere. Needs clang, lld and wasi-libc."
)

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_C = (
    "Write a model as a self-contained C99 library: samples in, embedding out; no interpreter, no "
    "heap. For int8 models and the one that streams; what there is no C for is named before "
    "anything is written."
)


def add_kinds(kinds: Subparsers) -> None:
    """Add this room's kinds to those of ``export``."""
    _add_c(kinds.add_parser("c", help="plain C for microcontrollers", description=_C))
    _add_wasm(kinds.add_parser("wasm", help="a page for browsers", description=_WASM))


def _add_c(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument("--samples", choices=SAMPLES, default="int16", help="of the microphone")
    parser.add_argument(
        "--arithmetic", choices=ARITHMETICS, default="float",
        help="of the front end: fixed for parts without a floating-point unit",
    )  # fmt: skip
    parser.add_argument(
        "--online", type=Path, metavar="FILE",
        help="a taught OnlineClassifier, which goes on learning on the device",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="build it and compare with this package, under QEMU too where that is installed",
    )  # fmt: skip
    parser.set_defaults(run=run_c)


def _add_wasm(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.set_defaults(run=run_wasm)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="its name, or a model folder")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write")
    parser.add_argument(
        "--mode", choices=MODES, default="xnn",
        help="whose rounding: this package's (xnn, the default) or TFLite Micro's (reference)",
    )  # fmt: skip
    parser.add_argument(
        "--hop", dest="hop_size", type=float, metavar="SECONDS",
        help="between frames, a multiple of the step between columns; side by side by default",
    )  # fmt: skip
    parser.add_argument(
        "--frame", dest="frame_size", type=float, metavar="SECONDS",
        help="that each embedding hears (default: the model's; not all models take others)",
    )  # fmt: skip
    parser.add_argument(
        "--heads", type=Path, metavar="FILE", help="a taught classifier or anomaly head, or both"
    )


def run_c(args: argparse.Namespace) -> int:
    """Write the folder, and check it if so asked; return the exit code."""
    options = Options(
        mode=args.mode, hop_size=args.hop_size, frame_size=args.frame_size, samples=args.samples,
        arithmetic=args.arithmetic,
    )  # fmt: skip
    spec = registry.find(args.model)
    made = export_c(spec, args.out, options, heads=args.heads, online=args.online)
    print(f"{args.out}: {_summary(made)}")
    if args.check:
        print(_said(check(args.out, spec, store.load(spec), options, made)))
    return 0


def run_wasm(args: argparse.Namespace) -> int:
    """Write the page; return the exit code."""
    options = Options(mode=args.mode, hop_size=args.hop_size, frame_size=args.frame_size)
    made = export_wasm(registry.find(args.model), args.out, options, args.heads)
    print(f"{args.out}: {_summary(made)}; serve it: python -m http.server -d {args.out}")
    return 0


def _summary(made: ModelSource) -> str:
    return (
        f"{len(made.plan.steps)} steps, arena {made.layout.n_bytes:,} bytes, a frame every "
        f"{made.frame_hop:,} samples"
    )


def _said(report: Report) -> str:
    kind = "near" if report.nearness else "equal"
    lines = [f"{report.n_frames} frames: {report.pictures_equal:.3%} of the log-mels {kind}"]
    if report.nearness is not None:
        lines.append(f"network within {report.nearness.networks:.1e} of LiteRT's largest value")
        lines.append(f"embeddings of the same sound: within {report.nearness.embeddings:.1e} of it")
    elif report.networks_equal is None:
        lines.append("the network in reference rounding: compared by the tests, not here")
    else:
        lines.append(f"network equal to LiteRT: {report.networks_equal:.0%} of the values")
        lines.append(f"embeddings of the same sound: at most {report.embedding_steps} steps apart")
    found = ", ".join(report.boards) or "none; QEMU is not installed, or has none that is so large"
    lines.append(f"emulated boards with the same bytes: {found}")
    return "\n".join(lines)
