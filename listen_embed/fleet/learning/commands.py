"""``listen-embed fleet serve | node`` for the command line.

In: arguments. Out: an exit code; what a person reads goes to standard output.
"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from listen_embed.fleet.learning.layout import Agreement
    from listen_embed.fleet.learning.node import Model

_BROKER_HELP = "mqtt[s]://[user@]host[:port]/topic?ca=&cert=&key=&passwordfile="


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add these commands."""
    _add_serve(commands.add_parser("serve", help="hold the rounds in which nodes learn"))
    _add_node(commands.add_parser("node", help="take part with this device's samples"))
    _add_head(commands.add_parser("head", help="a learnt prior as a classifier that learns on"))


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--broker", required=True, metavar="URL", help=_BROKER_HELP)
    add("--key", type=Path, required=True, metavar="FILE", help="from fleet key")
    add("--embedder", default="sea/64/general", metavar="MODEL", help="whose embeddings these are")
    add("--out", type=Path, required=True, metavar="FILE", help="the learnt start, .npz")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    add = parser.add_argument
    add("--members", type=Path, required=True, metavar="FILE", help="TOML: [members] name = key")
    add("--journal", type=Path, default=Path("fleet.sqlite"), help="what is done (fleet.sqlite)")
    add("--labels", nargs="+", required=True, help="the classes, in the order of their numbers")
    add("--learn", choices=["prior", "network"], default="prior", help="what is learnt (prior)")
    add("--hidden", type=int, nargs="*", default=[], help="units of a network's hidden layers")
    add("--rounds", type=int, default=20, help="(20)")
    add("--at-once", type=int, default=10, help="nodes asked in a round; 1: one by one (10)")
    add("--wait-for", type=int, default=1, help="nodes that must be there (1)")
    add("--timeout", type=float, default=10.0, help="seconds a round waits for a node (10)")
    add("--first-step", type=float, default=1.0, help="share of an update taken at first (1)")
    add("--last-step", type=float, default=0.5, help="and in the last round (0.5)")
    add("--rate", type=float, default=0.02, help="a network's step on the devices (0.02)")
    parser.set_defaults(run=_serve)


def _add_node(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    add = parser.add_argument
    add("--name", required=True, help="as the coordinator's members file has it")
    add("--coordinator", required=True, metavar="KEY", help="its public key, from fleet key")
    add(
        "--samples",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder with a folder of sounds per label, or .npz with embeddings and labels",
    )
    add("--top", type=float, default=1.0, help="share of the values that is sent (1)")
    add("--keep", nargs="*", default=[], metavar="LAYER", help="layers that never leave")
    parser.set_defaults(run=_node)


def _add_head(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("start", type=Path, metavar="FILE", help="from fleet serve or node, .npz")
    add("--out", type=Path, required=True, metavar="FILE", help="for export c --online, .npz")
    parser.set_defaults(run=_head)


def _head(args: argparse.Namespace) -> int:
    from listen_embed.embedder import Embedder
    from listen_embed.errors import InputError
    from listen_embed.fleet.learning.files import load_start, model_of
    from listen_embed.fleet.learning.prior import Prior

    agreement, start = load_start(args.start)
    model, embedder = model_of(agreement), Embedder(agreement.embedder, threads=1)
    if not isinstance(model, Prior) or embedder.digest != agreement.embedder_digest:
        raise InputError(f"{args.start}: no prior over this version of {agreement.embedder}")
    model.online(start.vector, agreement.labels, embedder).save(args.out)
    return 0


def _serve(args: argparse.Namespace) -> int:
    from listen_embed.fleet import keys
    from listen_embed.fleet.learning.coordinator import Coordinator, Members
    from listen_embed.fleet.learning.files import save_start
    from listen_embed.fleet.learning.mqtt import serve
    from listen_embed.fleet.learning.record import Record
    from listen_embed.fleet.learning.reptile import Plan

    plan = Plan(args.rounds, args.first_step, args.last_step, args.rate)
    members = Members(keys.read_members(args.members), args.at_once)
    key = keys.private(args.key)
    model, agreement = _agreed(args)
    record = Record(args.journal)
    try:
        coordinator = Coordinator(model, agreement, plan, members, record)
        done = serve(
            args.broker,
            coordinator,
            key.sign,
            _stop_on_signals(),
            timeout_s=args.timeout,
            wait_for=args.wait_for,
            say=_say,
        )
        save_start(args.out, agreement, coordinator.state.start)
    finally:
        record.close()
    return 0 if done else 1


def _agreed(args: argparse.Namespace) -> tuple[Model, Agreement]:
    from listen_embed.embedder import Embedder
    from listen_embed.fleet.learning.layout import Agreement
    from listen_embed.fleet.learning.network import Network
    from listen_embed.fleet.learning.prior import Prior

    embedder = Embedder(args.embedder, threads=1)
    width, labels = embedder.spec.emb_dim, tuple(args.labels)
    if args.learn == "prior":
        model: Model = Prior(width, len(labels))
    else:
        model = Network([width, *args.hidden, len(labels)], "labels")
    return model, Agreement(model.kind, model.layout, embedder.spec.name, embedder.digest, labels)


def _node(args: argparse.Namespace) -> int:
    from listen_embed.embedder import Embedder
    from listen_embed.fleet import keys
    from listen_embed.fleet.learning.files import make_node, read_samples, save_start
    from listen_embed.fleet.learning.mqtt import take_part
    from listen_embed.fleet.learning.updates import Sending

    embedder = Embedder(args.embedder, threads=1)
    samples = read_samples(args.samples, embedder)
    key, sending = keys.private(args.key), Sending(frozenset(args.keep), args.top)
    last = take_part(
        args.broker,
        args.name,
        lambda agreed: make_node(agreed, args.name, samples, embedder, sending, key.sign),
        keys.verifier(args.coordinator),
        _stop_on_signals(),
        say=_say,
    )
    if last is None:
        return 1
    save_start(args.out, *last)
    return 0


def _stop_on_signals() -> threading.Event:
    """Return what SIGTERM and SIGINT set."""
    stop = threading.Event()

    def leave(*_: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    return stop


def _say(text: str) -> None:
    print(text, flush=True)
