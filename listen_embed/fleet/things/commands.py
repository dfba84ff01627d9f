"""``listen-embed fleet describe | match`` for the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from listen_embed import registry
from listen_embed.device.parts import PARTS
from listen_embed.errors import ModelNotFoundError

if TYPE_CHECKING:
    from listen_embed.fleet.things.match import Verdict
    from listen_embed.fleet.things.registry import Registry

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

THIS = "this"


def register(commands: Subparsers) -> None:
    """Add the commands about things to those of ``fleet``."""
    _add_describe(commands.add_parser("describe", help="print a device or a model as JSON-LD"))
    _add_match(commands.add_parser("match", help="which models run on which devices, and why not"))


def _add_describe(parser: argparse.ArgumentParser) -> None:
    parts = ", ".join(part.name for part in PARTS)
    parser.add_argument(
        "what", metavar="MODEL|DEVICE",
        help=f"a model's name or folder, {THIS} (computer), or a part: {parts}",
    )  # fmt: skip
    parser.add_argument("--name", help="of the device (default: the part's or the host's)")
    parser.add_argument(
        "--microphone", action="append", default=[], metavar="NAME=RATE,RATE",
        help="of the device, with the rates in Hz that it gives",
    )  # fmt: skip
    parser.set_defaults(run=_describe)


def _add_match(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="DEVICE|MODEL", help="one of them; all of the others")
    parser.add_argument("--why", action="store_true", help="say what lacks, and by how much")
    add_things(parser)
    parser.set_defaults(run=_match)


def add_things(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which descriptions there are."""
    parser.add_argument(
        "--things", type=Path, nargs="+", default=[], metavar="FILE",
        help="descriptions in JSON-LD, or folders of them (default: known parts and models)",
    )  # fmt: skip
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="keep descriptions there")


def _describe(args: argparse.Namespace) -> int:
    print(json.dumps(_description(args), indent=2, ensure_ascii=False))
    return 0


def _description(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import replace

    from listen_embed.fleet.things.describe_device import (
        describe_device,
        device_of_part,
        part_named,
    )
    from listen_embed.fleet.things.describe_model import describe_model
    from listen_embed.fleet.things.this_computer import microphone, this_computer

    microphones = tuple(map(microphone, args.microphone))
    if args.what == THIS:
        return describe_device(this_computer(args.name, microphones))
    if any(part.name == args.what for part in PARTS):
        device = device_of_part(part_named(args.what), args.name)
        more = tuple(sorted((*device.microphones, *microphones), key=lambda one: one.name))
        return describe_device(replace(device, microphones=more))
    return describe_model(registry.find(args.what))


def opened(args: argparse.Namespace, with_parts: bool = True) -> Registry:
    """Return a registry with all that was given, or with the known parts where that is nothing."""
    from listen_embed.fleet.things import gather
    from listen_embed.fleet.things.registry import Registry

    found = Registry(args.store)
    if args.things:
        gather.add_files(found, args.things)
    if with_parts and not found.devices():
        gather.add_parts(found)
    return found


def _match(args: argparse.Namespace) -> int:
    from listen_embed.fleet.things import gather

    found = opened(args)
    if (spec := _spec(args.what)) is not None:
        gather.add_models(found, [spec])
        verdicts = [found.why(device, spec.name) for device in found.devices()]
    else:
        if not found.models():
            gather.add_models(found)
        verdicts = [found.why(args.what, model) for model in found.models()]
    for one in verdicts:
        print("\n".join(_said(one, args.why)))
    return 0 if any(one.forms for one in verdicts) else 1


def _spec(name: str) -> Any | None:
    try:
        return registry.find(name)
    except ModelNotFoundError:
        return None


def _said(one: Verdict, why: bool) -> list[str]:
    runs = ", ".join(form.name for form in one.forms)
    lines = [f"{one.device}  {one.model}  {runs or 'no'}"]
    if why:
        lines += [f"    {form}: {said}" for form, all in one.reasons.items() for said in all]
    return lines
