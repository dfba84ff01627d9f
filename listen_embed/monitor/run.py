"""Put a monitor together and keep it running.

In: `MonitorConfig`, as the command line or a file gives it. Out: events at every sink, a page, an
exit when the source ends or `stop` is set.

Threads: the caller's runs the pipeline; ``source`` reads a live source; one ``sender ...`` per
sink; ``page`` serves the browser; paho has one per MQTT connection.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from listen_embed.embedder import Embedder
from listen_embed.errors import HeadError
from listen_embed.monitor.config import MonitorConfig
from listen_embed.monitor.debounce import DebounceRules
from listen_embed.monitor.events import Entry
from listen_embed.monitor.journal import Journal, JournalError, open_checked, sole_owner
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

Say = Callable[[str], None]


def make_embedder(machine: Machine, hop_s: float, threads: int | None = 1) -> Embedder:
    """Return the embedder that a machine was learnt with.

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
    return embedder


def make_ear(embedder: Embedder) -> Ear:
    """Return how the pipeline gets embeddings."""
    front_end = embedder.spec.front_end
    return Ear(embedder.stream, front_end.sample_rate, front_end.frame_seconds, embedder.hop_size)


def make_rules(machine: Machine, ear: Ear, config: MonitorConfig) -> DebounceRules:
    """Return how decisions are made."""
    threshold = machine.threshold if config.threshold is None else config.threshold
    return DebounceRules.over(config.debounce_s, ear.frame_s, ear.hop_s, threshold)


def run(config: MonitorConfig, stop: threading.Event, say: Say = lambda text: None) -> list[str]:
    """Monitor until the source ends or `stop` is set; return the sinks that have events left.

    Parameters
    ----------
    config : MonitorConfig
        All that it can be told.
    stop : threading.Event
        Ends it.
    say : callable
        Told, line by line, what it listens to and where its events go.

    Raises
    ------
    ListenEmbedError
        Something asked for is not there; nothing that happens later raises.
    """
    config.check()
    machine = Machine.load(config.head)
    ear = make_ear(make_embedder(machine, config.hop_s, config.threads))
    rules = make_rules(machine, ear, config)
    source = open_source(config.source)
    with ExitStack() as stack:
        stack.enter_context(sole_owner(config.journal))
        journal, damaged = open_checked(config.journal)
        stack.callback(journal.close)
        sinks = _open_sinks(config, journal)
        senders = [Sender(sink, config.journal) for sink in sinks]
        trouble = _Trouble(senders, sinks)
        _introduce(say, config, source, machine, rules, senders)
        hub = _open_page(config, rules, source, journal, stack, say)
        keeper = _Housekeeper(journal, senders, config.keep_days)

        def on_entries(entries: Sequence[Entry]) -> None:
            for sender in senders:
                sender.wake()
            keeper.look()
            if hub is not None:
                hub.entries(entries)

        def on_hop(hop: Hop) -> None:
            if hub is not None:
                hub.problems = trouble.list()
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
            on_problem=trouble.journal,
        )
        for sender in senders:
            sender.start()
        if damaged is not None:
            say(f"the journal was damaged: set aside as {damaged}, a new one is begun")
            pipeline.remark("journal", {"what": "damaged", "kept_as": str(damaged)})
        try:
            pipeline.run(stop)
        finally:
            left = finish_all(senders, config.drain_s)
    return left


def _introduce(
    say: Say,
    config: MonitorConfig,
    source: Source,
    machine: Machine,
    rules: DebounceRules,
    senders: Sequence[Sender],
) -> None:
    say(f"source:  {source.name}")
    states = ", ".join(machine.classifier.labels)
    say(f"machine: {config.head}, {machine.model}, states {states}")
    tail = machine.profile.tail
    often = ""
    if tail is not None:
        rate = tail.per_hour(rules.threshold * machine.profile.limit)
        often = f", {rate:.2g} false alarms an hour expected"
    say(f"alarm:   score {rules.threshold:g} for {config.debounce_s:g} s{often}")
    say(f"journal: {config.journal}")
    for sender in senders:
        say(f"sink:    {sender.name}")
    if not senders:
        say("sink:    none but the journal")


class _Trouble:
    """What is wrong with the monitor itself; told on MQTT when it changes."""

    def __init__(self, senders: Sequence[Sender], sinks: Sequence[Sink]) -> None:
        self._senders = senders
        self._told = [sink for sink in sinks if hasattr(sink, "tell_problems")]
        self._journal: str | None = None

    def journal(self, problem: str | None) -> None:
        """Take note of why the journal cannot be written, or that it can."""
        if problem == self._journal:
            return
        self._journal = problem
        for sink in self._told:
            sink.tell_problems([problem] if problem else [])

    def list(self) -> list[str]:
        """Return all that is wrong."""
        own = [self._journal] if self._journal else []
        return own + [sender.problem for sender in self._senders if sender.problem]


def _open_page(
    config: MonitorConfig,
    rules: DebounceRules,
    source: Source,
    journal: Journal,
    stack: ExitStack,
    say: Say,
) -> Hub | None:
    if config.page is None:
        return None
    from listen_embed.monitor.page import Hub, Page

    hub = Hub({"name": config.name, "source": source.name, "threshold": rules.threshold})
    now = time.time()
    hub.load(journal.events(now - _HOUR_S, now, _HISTORY_EVENTS), journal.trace(now - _HOUR_S, now))
    page = Page(hub, config.page, config.token)
    stack.callback(page.close)
    say(f"page:    {page.url}")
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
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + _HOUR_S
        try:
            self._journal.prune(now=time.time(), keep_s=self._keep_s, sinks=self._sinks)
        except JournalError as error:  # an hour later there may be room
            _log.warning("%s", error)
