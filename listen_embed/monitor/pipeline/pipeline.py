"""The chain from a source's items to journalled events."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from listen_embed.monitor.block import Block
from listen_embed.monitor.debounce import DebounceRules, Judgement
from listen_embed.monitor.events import Kind, Remark, Value
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.pipeline.grid import Ear
from listen_embed.monitor.pipeline.hops import Heard
from listen_embed.monitor.pipeline.judge import Judge, Judged, Listener, heartbeat
from listen_embed.monitor.pipeline.record import OnEntries, OnProblem, Recorder
from listen_embed.monitor.pipeline.track import Found, Track
from listen_embed.monitor.sources.source import Source
from listen_embed.monitor.spectrogram import SpectrogramColumn
from listen_embed.monitor.trace import TracePoint

_N_LATENCIES = 6000
OnEmbedding = Callable[[NDArray[np.float32], float], None]


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
    rate: int
    point: TracePoint
    judgement: Judgement
    peak_db: float
    threshold: float
    dropped: int
    behind_s: float
    wrong: tuple[str, ...]


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
    on_hop, on_entries, on_problem, on_block : callables
        Told of every hop, of every new entry in the journal, why the journal cannot be written
        (None: it can again), and of every block with the time of its first sample; they must not
        block.
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
        on_problem: OnProblem | None = None,
        on_block: Callable[[Block, float], None] | None = None,
    ) -> None:
        checkpoint = journal.checkpoint(source.name)
        self._source, self._rules = source, rules
        self._track = Track(ear, source, checkpoint)
        self._judge = Judge(machine, rules, ear.hop_s, checkpoint.memory if checkpoint else {})
        self._recorder = Recorder(journal, source, on_entries, on_problem)
        self._every: dict[str, int] = {
            name: max(1, round(seconds / ear.hop_s)) for name, seconds in asdict(rhythm).items()
        }
        self._on_hop, self._on_block = on_hop, on_block
        self._on_embedding: OnEmbedding | None = None
        self._column = SpectrogramColumn(self._track.at.rate)
        self._soon: deque[tuple[Kind, Mapping[str, Value]]] = deque()
        self.latencies_ms: deque[float] = deque(maxlen=_N_LATENCIES)

    def replace_machine(self, machine: Listener) -> None:
        """Judge with another machine from now on; any thread may call it."""
        self._judge.machine = machine

    def tell_embeddings(self, on_embedding: OnEmbedding) -> None:
        """Tell of every embedding, and when its sound ended, seconds since 1970; before `run`."""
        self._on_embedding = on_embedding

    def remark(self, kind: Kind, data: Mapping[str, Value]) -> None:
        """Note something at the place where listening stands; before `run` only."""
        at = self._track.at
        self._recorder.write([Remark(kind, 0, data)], at)

    def remark_soon(self, kind: Kind, data: Mapping[str, Value]) -> None:
        """Note something when the next item comes; any thread may call it."""
        self._soon.append((kind, data))

    def run(self, stop: threading.Event) -> None:
        """Take items until the source ends or `stop` is set, then write a last checkpoint."""
        for item in self._source.items(self._track.place(), stop):
            for found in self._track.take(item):
                self._take(found)
            self._note_soon()
            if isinstance(item, Block) and self._on_block is not None:
                at = self._track.at
                self._on_block(item, at.wall_start + item.first / item.rate)
            if stop.is_set():
                break
        if self._track.needed() is not None:
            self._write([], checkpoint=True)

    def _note_soon(self) -> None:
        while self._soon:
            kind, data = self._soon.popleft()
            self._write([Remark(kind, self._track.heard, data)], checkpoint=False)

    def _take(self, found: Found) -> None:
        if isinstance(found, Heard):
            self._hop(found)
            return
        self._write([found], checkpoint=found.checkpoint)
        if found.data.get("what") in ("started", "rate changed"):
            self._write(self._judge.begin(found.sample, self._track.at.rate), checkpoint=False)

    def _hop(self, hop: Heard) -> None:
        if self._on_embedding is not None:
            self._on_embedding(hop.embedding, self._wall(hop))
        judged = self._judge.hear(hop)
        remarks = list(judged.remarks)
        if self._due("heartbeat_s", hop):
            remarks.append(heartbeat(hop, judged, self._track.at.dropped))
        self._write(remarks, checkpoint=self._due("checkpoint_s", hop))
        latency_ms = 1000.0 * (time.perf_counter() - hop.begun)
        self.latencies_ms.append(latency_ms)
        if self._on_hop is not None or self._due("trace_s", hop):
            self._show(hop, judged, self._point(hop, judged, latency_ms))

    def _wall(self, hop: Heard) -> float:
        at = self._track.at
        return at.wall_start + hop.end / at.rate

    def _due(self, what: str, hop: Heard) -> bool:
        return (hop.index + 1) % self._every[what] == 0

    def _write(self, remarks: Iterable[Remark], *, checkpoint: bool) -> None:
        at = self._track.at
        if checkpoint:
            at = replace(at, memory=self._judge.memory())
            self._recorder.write_checkpoint(remarks, at, self._track.needed())
        else:
            self._recorder.write(remarks, at)

    def _point(self, hop: Heard, judged: Judged, latency_ms: float) -> TracePoint:
        at = self._track.at
        if self._column.rate != at.rate:
            self._column = SpectrogramColumn(at.rate)
        drawn = self._judge.machine.profile.embedding_map
        x, y = (None, None) if drawn is None else drawn.place(hop.embedding[None])[0].tolist()
        return TracePoint(
            wall=self._wall(hop),
            state=judged.state,
            score=judged.judgement.score,
            anomaly=judged.anomaly,
            latency_ms=latency_ms,
            level_db=judged.loudness.rms_db,
            x=x,
            y=y,
            spectrum=self._column(hop.samples),
        )

    def _show(self, hop: Heard, judged: Judged, point: TracePoint) -> None:
        if self._due("trace_s", hop):
            self._recorder.trace(point)
        if self._on_hop is None:
            return
        at = self._track.at
        self._on_hop(
            Hop(
                clock=at.clock,
                index=hop.index,
                time_s=hop.end / at.rate,
                rate=at.rate,
                point=point,
                judgement=judged.judgement,
                peak_db=judged.loudness.peak_db,
                threshold=self._rules.threshold,
                dropped=at.dropped,
                behind_s=self._source.behind_s(),
                wrong=tuple(self._judge.wrong),
            )
        )
