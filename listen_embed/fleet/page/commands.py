"""``listen-embed fleet registry`` for the command line."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from listen_embed.errors import InputError
from listen_embed.fleet.deploy.commands import add_members
from listen_embed.fleet.things.commands import add_things, opened

if TYPE_CHECKING:
    from listen_embed.fleet.things.registry import Registry


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``fleet``."""
    parser = commands.add_parser("registry", help="keep descriptions; SPARQL and a page")
    add_things(parser)
    parser.add_argument("--models", action="store_true", help="add all models that are at hand")
    parser.add_argument("--sparql", metavar="QUERY", help="answer a query as JSON and end")
    parser.add_argument("--page", metavar="HOST:PORT", help="serve page and SPARQL endpoint there")
    parser.add_argument("--token", help="demanded by the page; needed beyond loopback")
    parser.add_argument("--mqtt", metavar="URL", help="hear the fleet: mqtt[s]://host/TOPIC")
    add_members(parser)
    parser.set_defaults(run=_registry)


def _registry(args: argparse.Namespace) -> int:
    if not (args.page or args.sparql or args.things or args.models):
        raise InputError("give --things or --models to add, --sparql to ask, or --page to serve")
    found = opened(args, with_parts=not args.mqtt)
    if args.models:
        from listen_embed.fleet.things import gather

        gather.add_models(found)
    if args.sparql:
        json.dump(found.select(args.sparql), sys.stdout, indent=2)
        print()
        return 0
    if args.page:
        return _serve(args, found)
    print(f"{len(found.devices())} devices, {len(found.models())} models")
    return 0


def _serve(args: argparse.Namespace, found: Registry) -> int:
    from listen_embed.fleet import keys
    from listen_embed.fleet.page.room import FleetRoom
    from listen_embed.fleet.page.serve import serve

    members = keys.read_members(args.members) if args.mqtt else {}
    return serve(FleetRoom(found, args.mqtt, members), args.page, args.token)
