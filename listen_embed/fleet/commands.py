"""``listen-embed fleet ...``: the commands of this room's parts."""

from __future__ import annotations

import argparse

from listen_embed.fleet.deploy import commands as deploy
from listen_embed.fleet.page import commands as page
from listen_embed.fleet.things import commands as things


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the room's commands."""
    parser = subparsers.add_parser("fleet", help="many devices: describe, match, deploy")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    things.register(commands)
    deploy.register(commands)
    page.register(commands)
