"""``listen-embed monitor collect | adapt | run`` for the command line.

In: arguments. Out: an exit code; what a person reads goes to standard output here and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from listen_embed.errors import InputError

if TYPE_CHECKING:
    from listen_embed.monitor.calibration import Tail
    from listen_embed.monitor.config import MonitorConfig

_TOKEN = "LISTEN_EMBED_PAGE_TOKEN"
_SOURCE_HELP = (
    "file.wav, folder/, mic:, stdin:?sr=48000&dtype=int16, tcp://host:port, udp://host:port "
    "or mqtt://host/topic; files take ?pace=1 for real time"
)

# Thresholds that tune tries, as shares of the one that adapt found.
_TUNE_SHARES = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0)
# Log-mel statistics tell steady machine sounds apart better than networks do (docs/MONITOR.md).
MODEL = "logmel/256/48k"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the room's commands."""
    parser = subparsers.add_parser("monitor", help="listen to a machine: states and anomalies")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_collect(commands.add_parser("collect", help="record a labelled clip"))
    _add_adapt(commands.add_parser("adapt", help="learn a machine from labelled clips"))
    _add_tune(commands.add_parser("tune", help="hear sound again: alarms an hour by threshold"))
    _add_run(commands.add_parser("run", help="watch the machine"))
    _add_check(commands.add_parser("check-config", help="try a configuration file"))
    _add_healthy(commands.add_parser("healthy", help="ask a running monitor whether it hears"))


def _add_collect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", required=True, help="the machine's state, for example Mode1")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument("--from", dest="source", required=True, metavar="SOURCE", help=_SOURCE_HELP)
    parser.add_argument("--out", type=Path, default=Path("clips"), help="folder (default clips)")
    parser.set_defaults(run=_collect)


def _add_adapt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", type=Path, help="folder with a folder of sound files per label")
    parser.add_argument("--out", type=Path, default=Path("machine.npz"), help="what is learnt")
    parser.add_argument("--model", default=MODEL, help=f"model's name (default {MODEL})")
    parser.add_argument("--hop", type=float, default=0.5, help="between training frames (0.5 s)")
    parser.add_argument(
        "--reject",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of known sound that may be called unknown (0)",
    )
    parser.set_defaults(run=_adapt)


def _add_tune(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--head", required=True, metavar="FILE", help="machine.npz, from monitor adapt")
    add("--from", dest="source", required=True, metavar="SOURCE", help=_SOURCE_HELP)
    add("--hop", type=float, default=0.1, help="seconds between frames (0.1)")
    add("--debounce", type=float, default=1.0, help="seconds that vote on a change (1)")
    parser.set_defaults(run=_tune)


def _add_run(parser: argparse.ArgumentParser) -> None:
    # What is not given stays unsaid, so that a file's word counts and then the usual value.
    def add(*flags: str, **options: Any) -> None:
        parser.add_argument(*flags, default=argparse.SUPPRESS, **options)

    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of all options")
    add("--head", metavar="FILE", help="machine.npz, from monitor adapt")
    add("--from", dest="source", metavar="SOURCE", help=_SOURCE_HELP)
    add("--journal", help="where events are kept (monitor.sqlite)")
    add("--name", help="the machine's name on the page (machine)")
    add(
        "--mqtt",
        action="append",
        metavar="URL",
        help="mqtt[s]://[user@]host[:port]/topic?ca=&passwordfile=&discovery=homeassistant",
    )
    add("--sparkplug", action="append", metavar="URL", help="mqtt[s]://host/GROUP/NODE/DEVICE")
    add("--jsonl", action="append", metavar="FILE", help="JSON lines; - is stdout")
    add("--webhook", action="append", metavar="URL", help="POST of each event")
    add("--page", metavar="HOST:PORT", help="the live page, for example 127.0.0.1:8777")
    add("--token", help=f"demanded by the page; needed beyond loopback (or set {_TOKEN})")
    add("--hop", dest="hop_s", type=float, help="seconds between frames (0.1)")
    add("--debounce", dest="debounce_s", type=float, help="seconds that vote on a change (1)")
    add(
        "--threshold",
        type=float,
        help="score of an alarm: 1 is where adapt expects one false alarm in ten hours (1)",
    )
    add("--heartbeat", dest="heartbeat_s", type=float, help="s between heart-beats (10)")
    add("--checkpoint", dest="checkpoint_s", type=float, help="s between checkpoints (10)")
    add("--drain", dest="drain_s", type=float, help="s to deliver what is left at the end (10)")
    add("--keep-days", type=float, help="how long delivered events are kept (30)")
    add("--keep-audio", metavar="FOLDER", help="keep the sound around every alarm there, as FLAC")
    add("--keep-audio-mb", type=float, help="how large that folder may get (500)")
    add("--ring", dest="ring_s", type=float, help="seconds of sound kept in memory (120)")
    add(
        "--peer",
        action="append",
        metavar="URL",
        help="another monitor's page, http://[token@]host:port, to show its machine, too",
    )
    add("--learn", action="store_true", help="corrections from page and MQTT are learnt at once")
    add("--threads", type=int, help="threads of the model (1)")
    parser.set_defaults(run=_run)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="TOML file of all options")
    parser.set_defaults(run=_check)


def _add_healthy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="the running monitor's TOML file")
    parser.set_defaults(run=_healthy)


def _collect(args: argparse.Namespace) -> int:
    from listen_embed.monitor.collect import collect
    from listen_embed.monitor.sources import open_source

    if not 0.1 <= args.seconds <= 3600:
        raise InputError(f"--seconds {args.seconds}: give 0.1 to 3600")
    with _Stop() as stop:
        clips = collect(open_source(args.source), args.label, args.seconds, args.out, stop)
    for clip in clips:
        _say(f"{clip.path}: {clip.seconds:.2f} s, peak {clip.peak_db:.1f} dB of full scale")
    if max(clip.peak_db for clip in clips) > -0.1:
        _warn("warning: the clip is overdriven; turn the input down and record it again")
    if max(clip.peak_db for clip in clips) < -100:
        _warn("warning: the clip is silent; is the microphone switched on?")
    return 0


def _adapt(args: argparse.Namespace) -> int:
    from listen_embed.atomic import replacing
    from listen_embed.embedder import Embedder
    from listen_embed.monitor.adapt import adapt

    embedder = Embedder(args.model, hop_size=args.hop, center=False)
    begun = time.perf_counter()
    adapted = adapt(args.clips, embedder, reject=args.reject)
    adapted.machine.save(args.out)
    seconds = time.perf_counter() - begun
    picture = args.out.with_suffix(".svg")
    with replacing(picture) as file:
        file.write(adapted.confusion.svg("cross-validated").encode())
    _say(adapted.confusion.text())
    _say(
        f"{adapted.n_clips} clips, {adapted.n_embeddings} embeddings of {embedder.spec.name}, "
        f"{seconds:.2f} s -> {args.out}, {picture}"
    )
    _say_limit(adapted.machine.profile.tail)
    for warning in adapted.warnings:
        _warn(f"warning: {warning}")
    return 0


def _say_limit(tail: Tail | None) -> None:
    if tail is None:
        return
    limit = tail.distance()
    _say(
        f"alarm at score 1: {tail.per_hour(limit):.2g} false alarms an hour expected on normal "
        f"sound of another recording, at most {tail.at_most_per_hour(limit):.2g} with 95 % "
        f"confidence; from {tail.n_recordings} held-out recordings, {60 * tail.hours:.1f} minutes"
    )


def _tune(args: argparse.Namespace) -> int:
    from listen_embed.monitor.config import MonitorConfig
    from listen_embed.monitor.machine import Machine
    from listen_embed.monitor.run import make_ear, make_embedder, make_rules
    from listen_embed.monitor.sources import open_source
    from listen_embed.monitor.tune import hear_again, outcomes

    config = MonitorConfig(args.head, args.source, hop_s=args.hop, debounce_s=args.debounce)
    config.check()
    machine = Machine.load(config.head)
    ear = make_ear(make_embedder(machine, config.hop_s))
    source = open_source(config.source)
    with _Stop() as stop:
        scores = list(hear_again(source, machine, ear, stop))
    if not scores:
        raise InputError(f"{source.name}: no whole frame of sound was heard; give longer sound")
    thresholds = [machine.threshold * share for share in _TUNE_SHARES]
    _say("threshold  alarms  alarms/h  in alarm  expected/h")
    tail = machine.profile.tail
    for found in outcomes(scores, make_rules(machine, ear, config), ear.hop_s, thresholds):
        expected = tail.per_hour(found.threshold * machine.profile.limit) if tail else float("nan")
        _say(
            f"{found.threshold:9.2f}  {found.n_alarms:6d}  {found.per_hour:8.2f}  "
            f"{found.alarm_share:8.1%}  {expected:10.2g}"
        )
    _say(f"{len(scores) * ear.hop_s / 3600:.2f} h were heard")
    return 0


def _run(args: argparse.Namespace) -> int:
    from listen_embed.monitor.run import run

    config = _config_of(args)
    with _Stop() as stop:
        left = run(config, stop, _warn)
    for name in left:
        _warn(f"{name}: events are left in {config.journal}; they go out at the next start")
    return 1 if left else 0


def _config_of(args: argparse.Namespace) -> MonitorConfig:
    from listen_embed.monitor.config import CONFIG_NAMES, make_config, read_config

    given = {name: value for name, value in vars(args).items() if name in CONFIG_NAMES}
    if "token" not in given and os.environ.get(_TOKEN):
        given["token"] = os.environ[_TOKEN]
    return read_config(args.config, given) if args.config else make_config(given)


def _check(args: argparse.Namespace) -> int:
    """Open all that a configuration names, short of listening."""
    from listen_embed.monitor.config import read_config
    from listen_embed.monitor.run import check

    for line in check(read_config(args.config, {})):
        _say(line)
    return 0


def _healthy(args: argparse.Namespace) -> int:
    """Ask the page of a monitor on this machine, as a container's health check does."""
    import requests

    from listen_embed.monitor.config import read_config

    config = read_config(args.config, {})
    if config.page is None:
        raise InputError(f"{args.config}: page is missing; a monitor is asked by its page")
    token = os.environ.get(_TOKEN) or config.token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    port = config.page.rpartition(":")[2]
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/health", headers=headers, timeout=4)
    except requests.RequestException as error:
        raise InputError(f"no monitor answers on port {port}: {type(error).__name__}") from error
    _say(answer.text.strip())
    return 0 if answer.ok else 1


class _Stop:
    """SIGTERM and SIGINT set an event; a second one takes its usual way."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> threading.Event:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._set)
        return self._event

    def _set(self, number: int, _: Any) -> None:
        self._event.set()
        signal.signal(number, self._before[number])

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text)


def _warn(text: str) -> None:
    print(text, file=sys.stderr)
