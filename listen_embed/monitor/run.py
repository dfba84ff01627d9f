"""Put a monitor together and keep it running.

In: `MonitorConfig`, as the command line gives it. Out: events at every sink, a page, an exit when
the source ends or `stop` is set.

Threads: the caller's runs the pipeline; ``source`` reads a live source; one ``sender ...`` per
sink; ``page`` serves the browser; paho has one per MQTT connection.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from listen_embed.embedder import Embedder
from listen_embed.errors import HeadError, InputError
from listen_embed.monitor.config import MonitorConfig
from listen_embed.monitor.debounce import DebounceRules
from listen_embed.monitor.events import Entry
from listen_embed.monitor.journal import Journal, sole_owner
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.pipeline import Ear, Hop, Pipeline, Rhythm
from listen_embed.monitor.sinks.json_lines import JsonLines
from listen_embed.monitor.sinks.sender import Sender, Sink, finish_all
from listen_embed.monitor.sinks.webhook import Webhook
from listen_embed.monitor.sources import Source, open_source

if TYPE_CHECKING:
    from listen_embed.monitor.page import Hub

_log = logging.getLogger(__name__)
_DAY_S = 86400.0
_HOUR_S = 3600.0
_HISTORY_EVENTS = 200


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


def make_rules(ear: Ear, config: MonitorConfig) -> DebounceRules:
    """Return how decisions are made.

    Frames that lie across a change hear both states and may look like a third: the window has room
    for them besides ``debounce_s``, so that they cannot win a vote.
    """
    seconds = config.debounce_s + max(0.0, ear.frame_s - config.hop_s)
    return DebounceRules(max(1, round(seconds / config.hop_s)), config.threshold)


def run(config: MonitorConfig, stop: threading.Event) -> list[str]:
    """Monitor until the source ends or `stop` is set; return the sinks that have events left.

    Raises
    ------
    ListenEmbedError
        Something asked for is not there; nothing that happens later raises, but a full disk.
    """
    _check(config)
    machine = Machine.load(config.head)
    ear = make_ear(machine, config.hop_s, config.threads)
    rules = make_rules(ear, config)
    source = open_source(config.source)
    with ExitStack() as stack:
        stack.enter_context(sole_owner(config.journal))
        journal = Journal(config.journal)
        stack.callback(journal.close)
        hub = _open_page(config, rules, source, journal, stack)
        senders = [Sender(sink, config.journal) for sink in _open_sinks(config, journal)]
        keeper = _Housekeeper(journal, senders, config.keep_days)
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
            rules,
            journal,
            source,
            rhythm=Rhythm(config.heartbeat_s, config.checkpoint_s),
            on_hop=on_hop if hub is not None else None,
            on_entries=on_entries,
        )
        try:
            pipeline.run(stop)
        finally:
            left = finish_all(senders, config.drain_s)
    return left


def _check(config: MonitorConfig) -> None:
    limits = {"hop_s": 3600.0, "debounce_s": 3600.0, "heartbeat_s": _DAY_S, "checkpoint_s": _HOUR_S}
    for name, most in limits.items():
        value = getattr(config, name)
        if not 0.001 <= value <= most:
            raise InputError(f"{name} is {value!r}; give seconds from 0.001 to {most:g}")


def _open_page(
    config: MonitorConfig, rules: DebounceRules, source: Source, journal: Journal, stack: ExitStack
) -> Hub | None:
    if config.page is None:
        return None
    from listen_embed.monitor.page import Hub, Page

    hub = Hub({"name": config.name, "source": source.name, "threshold": rules.threshold})
    hub.load(*journal.since(time.time() - _HOUR_S, _HISTORY_EVENTS))
    page = Page(hub, config.page, config.token)
    stack.callback(page.close)
    _log.info("page: %s", page.url)
    return hub


def _open_sinks(config: MonitorConfig, journal: Journal) -> list[Sink]:
    sinks: list[Sink] = [JsonLines(path) for path in config.jsonl]
    sinks += [Webhook(url) for url in config.webhook]
    if config.mqtt or config.sparkplug:
        from listen_embed.monitor.sinks.mqtt import JsonSink
        from listen_embed.monitor.sinks.sparkplug import SparkplugSink

        sinks += [JsonSink(url, journal.run) for url in config.mqtt]
        sinks += [SparkplugSink(url, journal.path) for url in config.sparkplug]
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
