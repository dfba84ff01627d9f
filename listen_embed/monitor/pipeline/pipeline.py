"""The chain from a source's items to journalled events."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

from listen_embed.monitor.debounce import Debouncer, DebounceRules, Judgement
from listen_embed.monitor.events import Remark
from listen_embed.monitor.journal import Journal, TracePoint
from listen_embed.monitor.pipeline.grid import Ear
from listen_embed.monitor.pipeline.hops import Heard
from listen_embed.monitor.pipeline.judge import Judge, Judged, Listener, heartbeat
from listen_embed.monitor.pipeline.record import OnEntries, Recorder
from listen_embed.monitor.pipeline.track import Track
from listen_embed.monitor.sources.source import Source
from listen_embed.monitor.spectrogram import SpectrogramColumn

_N_LATENCIES = 6000


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often things are noted, in seconds of sound.

    Equal times for heart-beats and checkpoints share one write to the disk.
    """

    heartbeat_s: float = 10.0
    checkpoint_s: float = 10.0
    trace_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Hop:
    """What one hop brought, for the page: its point on the timelines, and the present beside it."""

    clock: str
    index: int
    time_s: float
    point: TracePoint
    judgement: Judgement
    threshold: float
    dropped: int
    behind_s: float


class Pipeline:
    """Listen to a source until it ends.

    Parameters
    ----------
    ear : Ear
        Sound to embeddings.
    machine : Listener
        Embedding to judgement.
    rules : DebounceRules
        Debouncing and hysteresis.
    journal : Journal
        Where events go before anybody hears of them.
    source : Source
        Blocks and notices.
    rhythm : Rhythm
        How often heart-beats, checkpoints and trace points come.
    on_hop, on_entries : callables
        Told of every hop, and of every new entry in the journal; they must not block.
    """

    def __init__(
        self,
        ear: Ear,
        machine: Listener,
        rules: DebounceRules,
        journal: Journal,
        source: Source,
        *,
        rhythm: Rhythm = Rhythm(),
        on_hop: Callable[[Hop], None] | None = None,
        on_entries: OnEntries | None = None,
    ) -> None:
        checkpoint = journal.checkpoint(source.name)
        self._source, self._rules = source, rules
        self._track = Track(ear, source, checkpoint)
        debouncer = Debouncer(rules, checkpoint.memory if checkpoint else {})
        self._judge = Judge(machine, debouncer)
        self._recorder = Recorder(journal, source, debouncer, on_entries)
        self._every: dict[str, int] = {
            name: max(1, round(seconds / ear.hop_s)) for name, seconds in asdict(rhythm).items()
        }
        self._on_hop = on_hop
        self._column = SpectrogramColumn(self._track.at.rate)
        self.latencies_ms: deque[float] = deque(maxlen=_N_LATENCIES)

    def run(self, stop: threading.Event) -> None:
        """Take items until the source ends or `stop` is set, then write a last checkpoint."""
        for item in self._source.items(self._track.place(), stop):
            for found in self._track.take(item):
                if isinstance(found, Remark):
                    self._write([found], checkpoint=found.checkpoint)
                else:
                    self._hop(found)
            if stop.is_set():
                break
        if self._track.needed() is not None:
            self._write([], checkpoint=True)

    def _hop(self, hop: Heard) -> None:
        judged = self._judge.hear(hop)
        remarks = list(judged.remarks)
        if self._due("heartbeat_s", hop):
            remarks.append(heartbeat(hop, judged, self._track.at.dropped))
        self._write(remarks, checkpoint=self._due("checkpoint_s", hop))
        latency_ms = 1000.0 * (time.perf_counter() - hop.begun)
        self.latencies_ms.append(latency_ms)
        if self._on_hop is not None or self._due("trace_s", hop):
            self._show(hop, judged, self._point(hop, judged, latency_ms))

    def _due(self, what: str, hop: Heard) -> bool:
        return (hop.index + 1) % self._every[what] == 0

    def _write(self, remarks: list[Remark], *, checkpoint: bool) -> None:
        if checkpoint:
            self._recorder.write_checkpoint(remarks, self._track.at, self._track.needed())
        else:
            self._recorder.write(remarks, self._track.at)

    def _point(self, hop: Heard, judged: Judged, latency_ms: float) -> TracePoint:
        at = self._track.at
        if self._column.rate != at.rate:
            self._column = SpectrogramColumn(at.rate)
        return TracePoint(
            wall=at.wall_start + hop.end / at.rate,
            state=judged.state,
            score=judged.judgement.score,
            anomaly=judged.anomaly,
            latency_ms=latency_ms,
            spectrum=self._column(hop.samples),
        )

    def _show(self, hop: Heard, judged: Judged, point: TracePoint) -> None:
        if self._due("trace_s", hop):
            self._recorder.trace(point)
        if self._on_hop is None:
            return
        at, behind_s = self._track.at, self._source.behind_s()
        place = at.clock, hop.index, hop.end / at.rate
        self._on_hop(
            Hop(*place, point, judged.judgement, self._rules.threshold, at.dropped, behind_s)
        )
