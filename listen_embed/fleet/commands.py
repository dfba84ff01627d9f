"""``listen-embed fleet ...``: the commands of this room's parts."""

from __future__ import annotations

import argparse
from pathlib import Path

from listen_embed.fleet.deploy import commands as deploy
from listen_embed.fleet.learning import commands as learning
from listen_embed.fleet.page import commands as page
from listen_embed.fleet.things import commands as things


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the room's commands."""
    parser = subparsers.add_parser("fleet", help="many devices: learn, describe, match, deploy")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_key(commands.add_parser("key", help="make a key, print its public half"))
    learning.register(commands)
    things.register(commands)
    deploy.register(commands)
    page.register(commands)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, nargs="?", default=Path("fleet.key"), metavar="FILE",
        help="where the private half is written, for you alone; the public one is FILE.pub",
    )  # fmt: skip
    parser.set_defaults(run=_key)


def _key(args: argparse.Namespace) -> int:
    from listen_embed.fleet import keys

    print(keys.as_text(keys.public(keys.make(args.file))), flush=True)
    return 0
