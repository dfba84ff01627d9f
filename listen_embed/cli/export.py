"""``listen-embed export KIND``: a model for other machines and runtimes, each kind a room's own."""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command with the kinds of all rooms; none needs its extra before it is run."""
    from listen_embed.device import commands as device
    from listen_embed.onnx import commands as onnx

    parser = subparsers.add_parser("export", description="Write a model for other machines.")
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    device.add_kinds(kinds)
    onnx.add_kinds(kinds)
