"""``listen-embed fleet agent | deploy | rollback | status`` for the command line."""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed import registry
from listen_embed.errors import InputError

if TYPE_CHECKING:
    from listen_embed.fleet.deploy.manifest import Manifest
    from listen_embed.fleet.deploy.rollout import Order, Outcome
    from listen_embed.fleet.deploy.targets import Target
    from listen_embed.fleet.deploy.watch import Seen, Watch
    from listen_embed.fleet.things.capabilities import Model
    from listen_embed.fleet.things.registry import Registry

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_MQTT = "mqtt[s]://[user@]host[:port]/TOPIC?ca=&cert=&key=&passwordfile="
_SETTLE_S = 10.0


def register(commands: Subparsers) -> None:
    """Add the commands about deployment to those of ``fleet``."""
    _add_agent(commands.add_parser("agent", help="be a device that obeys signed deployments"))
    _add_deploy(commands.add_parser("deploy", help="bring a model to devices"))
    _add_rollback(commands.add_parser("rollback", help="take devices back to the model before"))
    _add_status(commands.add_parser("status", help="what every device runs, and how it is"))


def _add_agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mqtt", required=True, metavar="URL", help=_MQTT)
    parser.add_argument("--trust", required=True, type=Path, nargs="+", metavar="KEY.pub",
                        help="public keys whose deployments are obeyed")  # fmt: skip
    parser.add_argument("--key", type=Path, default=Path("fleet.key"),
                        help="of this device, which signs what it says (fleet.key)")  # fmt: skip
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder (models)")
    parser.add_argument("--name", help="of this device (default: the host's)")
    parser.add_argument("--microphone", action="append", default=[], metavar="NAME=RATE,RATE",
                        help="and the rates in Hz that it gives")  # fmt: skip
    parser.add_argument("--learns", type=Path, metavar="FILE",
                        help="what is learnt here, for the status: a .learnt.npz")  # fmt: skip
    parser.add_argument("--heartbeat", type=float, default=60.0, help="s between statuses (60)")
    parser.set_defaults(run=_agent)


def _add_deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="its name, or a model folder")
    _add_order(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say who would get it")
    parser.add_argument("--export", type=Path, metavar="FOLDER",
                        help="write C and manifests for microcontrollers instead")  # fmt: skip
    parser.add_argument("--things", type=Path, nargs="+", default=[], metavar="FILE",
                        help="with --export: descriptions (default: known parts)")  # fmt: skip
    parser.set_defaults(run=_deploy)


def _add_rollback(parser: argparse.ArgumentParser) -> None:
    _add_order(parser)
    parser.set_defaults(run=_rollback)


def _add_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", required=True, metavar="QUERY",
                        help="names with wildcards (hall3-*), or a SPARQL SELECT")  # fmt: skip
    parser.add_argument("--mqtt", metavar="URL", help=_MQTT)
    parser.add_argument("--key", type=Path, default=Path("fleet.key"), help="(fleet.key)")
    add_members(parser)
    parser.add_argument("--valid-hours", type=float, default=24.0, help="of the manifests (24)")
    parser.add_argument("--wait", type=float, default=120.0, help="s for answers (120)")


def add_members(parser: argparse.ArgumentParser) -> None:
    """Add the option that says whose statuses are believed."""
    parser.add_argument("--members", type=Path, default=Path("members.toml"), metavar="FILE",
                        help="TOML: [members] device = key (members.toml)")  # fmt: skip


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mqtt", required=True, metavar="URL", help=_MQTT)
    add_members(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_status)


def _agent(args: argparse.Namespace) -> int:
    from listen_embed.fleet import keys
    from listen_embed.fleet.deploy.learning import learning_in
    from listen_embed.fleet.deploy.node import Node
    from listen_embed.fleet.deploy.slots import Slots
    from listen_embed.fleet.things.this_computer import microphone, this_computer
    from listen_embed.monitor.broker import parse

    slots = Slots(args.models)
    microphones = tuple(map(microphone, args.microphone))
    device = this_computer(args.name, microphones, args.models)
    trusted, sign = [keys.public(path) for path in args.trust], keys.private(args.key).sign
    learning = learning_in(args.learns) if args.learns else str
    node = Node(parse(args.mqtt), device, slots, trusted, sign, learning=learning)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    node.open()
    print(f"{device.name}: obeys deployments from {args.mqtt.rpartition('@')[2]}", flush=True)
    try:
        while not stop.wait(args.heartbeat):
            node.tell()
    finally:
        node.close()
    return 0


def _deploy(args: argparse.Namespace) -> int:
    from listen_embed.fleet.deploy import package, rollout
    from listen_embed.fleet.things.capabilities import TFLITE
    from listen_embed.fleet.things.describe_model import model_of_spec

    spec = registry.find(args.model)
    model = model_of_spec(spec)
    if args.export:
        return _export(args, model)
    files = package.files_of(spec)
    with _watching(args) as (watch, found):
        chosen = _targets(found, args.to, model, TFLITE)
        if args.dry_run:
            return _say_targets(chosen)
        return _finish(args, watch, rollout.deploy(watch, model, files, chosen, _order(args)))


def _export(args: argparse.Namespace, model: Model) -> int:
    from listen_embed.fleet.deploy.c_export import export
    from listen_embed.fleet.things import gather
    from listen_embed.fleet.things.capabilities import C
    from listen_embed.fleet.things.registry import Registry

    found = Registry()
    if args.things:
        gather.add_files(found, args.things)
    else:
        gather.add_parts(found)
    chosen = _targets(found, args.to, model, C)
    made = export(registry.find(args.model), model, chosen, args.export, _order(args))
    for name, manifest in made.items():
        assert manifest.needs is not None
        print(f"{name}: {args.export / manifest.needs.name}")
    return 0 if made else 1


def _targets(found: Registry, query: str, model: Model, kind: str) -> list[Target]:
    from listen_embed.fleet.deploy.targets import meant, targets

    chosen = targets(model, meant(found, query), kind)
    for one in chosen:
        if one.form is None:
            print(f"{one.device.name}: left out: {one.why}")
    return chosen


def _say_targets(chosen: list[Target]) -> int:
    fitting = [one for one in chosen if one.form is not None]
    for one in fitting:
        print(f"{one.device.name}: would get it")
    return 0 if fitting else 1


def _rollback(args: argparse.Namespace) -> int:
    from listen_embed.fleet.deploy import rollout
    from listen_embed.fleet.deploy.targets import meant

    with _watching(args) as (watch, found):
        devices = meant(found, args.to)
        sent = rollout.roll_back(watch, devices, _order(args))
        for device in devices:
            if device.name not in sent:
                print(f"{device.name}: has no model to go back to")
        return _finish(args, watch, sent)


def _order(args: argparse.Namespace) -> Order:
    from listen_embed.fleet import keys
    from listen_embed.fleet.deploy.rollout import Order

    return Order(keys.private(args.key), args.valid_hours * 3600, time.time())


@contextmanager
def _watching(args: argparse.Namespace) -> Iterator[tuple[Watch, Registry]]:
    """Give a watch that knows the fleet, and a registry of its devices."""
    from listen_embed.fleet import keys
    from listen_embed.fleet.deploy.watch import Watch
    from listen_embed.monitor.broker import parse

    if args.mqtt is None:
        raise InputError(f"give --mqtt {_MQTT}")
    watch = Watch(parse(args.mqtt), keys.read_members(args.members))
    try:
        yield watch, _registry_of(watch.settle(_SETTLE_S))
    finally:
        watch.close()


def _registry_of(seen: Mapping[str, Seen]) -> Registry:
    """Return the devices that described themselves in a way that can be read."""
    from listen_embed.fleet.things.registry import Registry
    from listen_embed.fleet.things.terms import thing_iri

    found = Registry()
    for one in seen.values():
        try:
            found.add(one.description, thing_iri(one.name))
        except InputError as error:
            print(f"{one.name}: left out: {error}")
    return found


def _finish(args: argparse.Namespace, watch: Watch, sent: Mapping[str, Manifest]) -> int:
    from tqdm import tqdm

    from listen_embed.fleet.deploy import rollout

    with tqdm(total=len(sent), unit="device", disable=None, delay=1, leave=False) as bar:

        def tell(n: int) -> None:
            bar.n = n
            bar.refresh()

        outcomes = rollout.await_all(watch, sent, args.wait, tell)
    return _say(outcomes)


def _say(outcomes: list[Outcome]) -> int:
    for one in outcomes:
        print(f"{one.device}: {one.why or 'done'}")
    good = sum(not one.why for one in outcomes)
    print(f"{good} of {len(outcomes)} devices done")
    return 0 if outcomes and good == len(outcomes) else 1


def _status(args: argparse.Namespace) -> int:
    from listen_embed.fleet.deploy.watch import row

    with _watching(args) as (watch, _):
        rows = [row(one) for _, one in sorted(watch.things().items())]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    for one in rows:
        state = "online" if one["online"] else "offline"
        ran = f"{one['model'] or 'no model'} (sequence {one['sequence']})"
        notes = [
            str(one[part]) for part in ("health", "refused", "learning", "problem") if one[part]
        ]
        print(f"{one['name']}  {state}  {ran}  {'  '.join(notes)}")
    return 0
