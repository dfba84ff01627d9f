"""Put a monitor together and keep it running.

In: `Options`, as the command line gives them. Out: events at every sink, a page, an exit when the
source ends or `stop` is set.

Threads: the caller's runs the pipeline; ``source`` reads a live source; one ``sender ...`` per
sink; ``page`` serves the browser; paho has one per MQTT connection.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from listen_embed.embedder import Embedder
from listen_embed.errors import HeadError, InputError
from listen_embed.monitor.decide import Settings
from listen_embed.monitor.events import Entry
from listen_embed.monitor.journal import Journal, sole_owner
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.pipeline import Ear, Hop, Pipeline, Rhythm
from listen_embed.monitor.sinks import JsonLines, Sender, Sink, Webhook, finish_all
from listen_embed.monitor.sources import Source, open_source

if TYPE_CHECKING:
    from listen_embed.monitor.page import Hub

_log = logging.getLogger(__name__)
_DAY_S = 86400.0
_HOUR_S = 3600.0
_HISTORY_EVENTS = 200


@dataclass(frozen=True)
class Options:
    """What ``listen-embed monitor run`` takes; see its ``--help``."""

    head: str
    source: str
    journal: str = "monitor.sqlite"
    name: str = "machine"
    hop_s: float = 0.1
    debounce_s: float = 1.0
    threshold: float = 3.0
    heartbeat_s: float = 10.0
    checkpoint_s: float = 10.0
    mqtt: Sequence[str] = ()
    sparkplug: Sequence[str] = ()
    jsonl: Sequence[str] = ()
    webhook: Sequence[str] = ()
    page: str | None = None
    token: str | None = None
    drain_s: float = 10.0
    keep_days: float = 30.0
    threads: int | None = 1


def make_ear(machine: Machine, hop_s: float, threads: int | None = 1) -> Ear:
    """Return the ear that a machine was learnt with.

    Raises
    ------
    HeadError
        The model of that name is another one now.
    """
    embedder = Embedder(machine.model, hop_size=hop_s, center=False, threads=threads)
    if embedder.digest != machine.digest:
        raise HeadError(
            f"the machine was learnt with another {machine.model} (digest {machine.digest[:12]}, "
            f"here {embedder.digest[:12]}); run listen-embed monitor adapt again"
        )
    front_end = embedder.spec.front_end
    frame_s = front_end.frame_samples / front_end.sample_rate
    return Ear(embedder.stream, front_end.sample_rate, frame_s, hop_s)


def make_settings(ear: Ear, options: Options) -> Settings:
    """Return how decisions are made.

    Frames that lie across a change hear both states and may look like a third: the window has room
    for them besides ``debounce_s``, so that they cannot win a vote.
    """
    seconds = options.debounce_s + max(0.0, ear.frame_s - options.hop_s)
    return Settings(max(1, round(seconds / options.hop_s)), options.threshold)


def run(options: Options, stop: threading.Event) -> list[str]:
    """Monitor until the source ends or `stop` is set; return the sinks that have events left.

    Raises
    ------
    ListenEmbedError
        Something asked for is not there; nothing that happens later raises, but a full disk.
    """
    _check(options)
    machine = Machine.load(options.head)
    ear = make_ear(machine, options.hop_s, options.threads)
    settings = make_settings(ear, options)
    source = open_source(options.source)
    with ExitStack() as stack:
        stack.enter_context(sole_owner(options.journal))
        journal = Journal(options.journal)
        stack.callback(journal.close)
        hub = _open_page(options, settings, source, journal, stack)
        senders = [Sender(sink, options.journal) for sink in _open_sinks(options, journal)]
        keeper = _Housekeeper(journal, senders, options.keep_days)
        for sender in senders:
            sender.start()

        def on_entries(entries: Sequence[Entry]) -> None:
            for sender in senders:
                sender.wake()
            keeper.look()
            if hub is not None:
                hub.entries(entries)

        def on_hop(hop: Hop) -> None:
            if hub is not None:
                hub.problems = [s.problem for s in senders if s.problem]
                hub.hop(hop)

        pipeline = Pipeline(
            ear,
            machine,
            settings,
            journal,
            source,
            rhythm=Rhythm(options.heartbeat_s, options.checkpoint_s),
            on_hop=on_hop if hub is not None else None,
            on_entries=on_entries,
        )
        try:
            pipeline.run(stop)
        finally:
            left = finish_all(senders, options.drain_s)
    return left


def _check(options: Options) -> None:
    limits = {"hop_s": 3600.0, "debounce_s": 3600.0, "heartbeat_s": _DAY_S, "checkpoint_s": _HOUR_S}
    for name, most in limits.items():
        value = getattr(options, name)
        if not 0.001 <= value <= most:
            raise InputError(f"{name} is {value!r}; give seconds from 0.001 to {most:g}")


def _open_page(
    options: Options, settings: Settings, source: Source, journal: Journal, stack: ExitStack
) -> Hub | None:
    if options.page is None:
        return None
    from listen_embed.monitor.page import Hub, Page

    hub = Hub({"name": options.name, "source": source.name, "threshold": settings.threshold})
    hub.load(*journal.since(time.time() - _HOUR_S, _HISTORY_EVENTS))
    page = Page(hub, options.page, options.token)
    stack.callback(page.close)
    _log.info("page: %s", page.url)
    return hub


def _open_sinks(options: Options, journal: Journal) -> list[Sink]:
    sinks: list[Sink] = [JsonLines(path) for path in options.jsonl]
    sinks += [Webhook(url) for url in options.webhook]
    if options.mqtt or options.sparkplug:
        from listen_embed.monitor.mqtt import JsonSink
        from listen_embed.monitor.sparkplug import SparkplugSink

        sinks += [JsonSink(url, journal.run) for url in options.mqtt]
        sinks += [SparkplugSink(url, journal.path) for url in options.sparkplug]
    return sinks


class _Housekeeper:
    """Forget what is old, once an hour, on the pipeline's thread."""

    def __init__(self, journal: Journal, senders: Sequence[Sender], keep_days: float) -> None:
        self._journal = journal
        self._sinks = [sender.name for sender in senders]
        self._keep_s = keep_days * _DAY_S
        self._next = 0.0

    def look(self) -> None:
        """Prune if an hour has passed."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + _HOUR_S
            wall = time.time()
            self._journal.prune(
                events_before=wall - self._keep_s, trace_before=wall - _DAY_S, sinks=self._sinks
            )
