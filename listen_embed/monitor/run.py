"""Put a monitor together and keep it running.

In: `MonitorConfig`, as the command line or a file gives it. Out: events at every sink, a page, an
exit when the source ends or `stop` is set.

Threads: the caller's runs the pipeline; ``source`` reads a live source; one ``sender ...`` per
sink; ``page`` serves the browser; paho has one per MQTT connection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed.embedder import Embedder
from listen_embed.errors import HeadError
from listen_embed.monitor.config import MonitorConfig
from listen_embed.monitor.debounce import DebounceRules
from listen_embed.monitor.events import Value
from listen_embed.monitor.journal import (
    Journal,
    check_folder,
    open_checked,
    sole_owner,
)
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.notify import Systemd
from listen_embed.monitor.pipeline import Ear, Pipeline, Rhythm
from listen_embed.monitor.sinks.json_lines import JsonLines
from listen_embed.monitor.sinks.sender import Sender, Sink, finish_all
from listen_embed.monitor.sinks.webhook import Webhook
from listen_embed.monitor.sources import Source, open_source
from listen_embed.monitor.watchers import Watchers

if TYPE_CHECKING:
    from listen_embed.monitor.correcting import Corrector

_log = logging.getLogger(__name__)
_DAY_S = 86400.0
_HOUR_S = 3600.0
_STATUS_S = 1.0

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


def check(config: MonitorConfig) -> list[str]:
    """Return what a monitor would listen to and tell, having tried all that needs no connection.

    Raises
    ------
    ListenEmbedError
        Something asked for is not there.
    """
    said: list[str] = []
    machine = Machine.load(config.head)
    ear = make_ear(make_embedder(machine, config.hop_s, config.threads))
    check_folder(config.journal)
    names = [*config.jsonl, *config.webhook]
    if config.mqtt or config.sparkplug:
        from listen_embed.monitor.broker import parse
        from listen_embed.monitor.sinks.mqtt import SINK_OPTIONS

        names += [parse(url, SINK_OPTIONS).name for url in config.mqtt]
        names += [parse(url).name for url in config.sparkplug]
    source = open_source(config.source)
    _introduce(said.append, config, source, machine, make_rules(machine, ear, config), names)
    if config.page is not None:
        from listen_embed.monitor.page.server import check_address

        check_address(config.page, config.token)
        said.append(f"page:    {config.page}")
    return said


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
        systemd = Systemd()
        watchers = Watchers(journal, senders, sinks, config.keep_days, systemd)
        _introduce(say, config, source, machine, rules, [sender.name for sender in senders])
        pipeline = Pipeline(
            ear,
            machine,
            rules,
            journal,
            source,
            rhythm=Rhythm(config.heartbeat_s, config.checkpoint_s),
            on_hop=watchers.hop if config.page is not None else None,
            on_entries=watchers.entries,
            on_problem=watchers.journal_problem,
            on_block=watchers.block,
        )
        corrector = _make_corrector(config, machine, pipeline, sinks) if config.learn else None
        if config.keep_audio is not None or config.page is not None:
            watchers.keep_audio(config)
        if config.page is not None:
            _open_page(
                config, source.name, rules, machine, pipeline, watchers, stack, say, corrector
            )
        for sender in senders:
            sender.start()
        if damaged is not None:
            say(f"the journal was damaged: set aside as {damaged}, a new one is begun")
            pipeline.remark("journal", {"what": "damaged", "kept_as": str(damaged)})
        systemd.ready(f"listening to {source.name}")
        try:
            pipeline.run(stop)
        finally:
            systemd.stopping()
            watchers.finish()
            left = finish_all(senders, config.drain_s)
    return left


def _introduce(
    say: Say,
    config: MonitorConfig,
    source: Source,
    machine: Machine,
    rules: DebounceRules,
    sinks: Sequence[str],
) -> None:
    say(f"source:  {source.name}")
    states = ", ".join(machine.states)
    say(f"machine: {config.head}, {machine.model}, states {states}")
    tail = machine.profile.tail
    often = ""
    if tail is not None:
        rate = tail.per_hour(rules.threshold * machine.profile.limit)
        often = f", {rate:.2g} false alarms an hour expected"
    say(f"alarm:   score {rules.threshold:g} for {config.debounce_s:g} s{often}")
    say(f"journal: {config.journal}")
    for name in sinks:
        say(f"sink:    {name}")
    if not sinks:
        say("sink:    none but the journal")


def _open_page(
    config: MonitorConfig,
    source: str,
    rules: DebounceRules,
    machine: Machine,
    pipeline: Pipeline,
    watchers: Watchers,
    stack: ExitStack,
    say: Say,
    corrector: Corrector | None,
) -> None:
    from listen_embed.monitor.page import ControlRoom, Hub, Page
    from listen_embed.monitor.page.peers import Peers
    from listen_embed.monitor.teaching import Teacher

    def learnt(new: Machine) -> None:
        pipeline.replace_machine(new)
        states = ", ".join(new.states)
        pipeline.remark_soon("machine", {"what": "learnt", "states": states})

    teacher = Teacher(
        machine,
        Path(config.head),
        lambda hop_s: make_embedder(machine, hop_s, config.threads),
        learnt,
    )
    room = ControlRoom(
        hub := Hub(),
        config.journal,
        config.name,
        source,
        rules.threshold,
        teacher,
        watchers.ring,
        watchers.keeper,
        Peers(config.peer),
        corrector,
    )
    room.resume()
    page = Page(room, config.page or "", config.token)
    stack.callback(page.close)
    watchers.hub = hub
    say(f"page:    {page.url}")


def _make_corrector(
    config: MonitorConfig, machine: Machine, pipeline: Pipeline, sinks: Sequence[Sink]
) -> Corrector:
    """Return what learns corrections, and judge with it from now on."""
    from listen_embed.monitor.correcting import Corrector

    def corrected(new: Machine, said: Mapping[str, Value]) -> None:
        pipeline.replace_machine(new)
        pipeline.remark_soon("machine", said)

    corrector = Corrector(machine, Path(config.head), corrected)
    pipeline.replace_machine(corrector.machine)
    pipeline.tell_embeddings(corrector.hear)
    for sink in sinks:
        if hasattr(sink, "take_corrections"):
            sink.take_corrections(corrector.answer)
    return corrector


def _open_sinks(config: MonitorConfig, journal: Journal) -> list[Sink]:
    sinks: list[Sink] = [JsonLines(path) for path in config.jsonl]
    sinks += [Webhook(url) for url in config.webhook]
    if config.mqtt or config.sparkplug:
        from listen_embed.monitor.sinks.mqtt import JsonSink
        from listen_embed.monitor.sinks.sparkplug import SparkplugSink

        sinks += [JsonSink(url, journal.run, config.name) for url in config.mqtt]
        sinks += [SparkplugSink(url, journal.path) for url in config.sparkplug]
    return sinks
