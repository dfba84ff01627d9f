"""The way from blocks to journalled events: stream, judge, decide, note.

In: a source's items. Out: entries in the journal, and per hop a `Hop` for whoever watches.

Hop ``i`` of a sample clock is the frame that starts at ``round(i * hop)``, whenever listening
began; the pipeline feeds its stream one hop at a time from a place where hops are whole samples at
both rates. So the same samples give the same events, whatever the block sizes and however often the
monitor was killed in between.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import ceil, lcm
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from listen_embed.framing import hop_in_samples, start_of
from listen_embed.monitor.block import Block
from listen_embed.monitor.decide import Decision, Judgement, Settings
from listen_embed.monitor.events import Entry, Event, Kind, Value
from listen_embed.monitor.journal import Checkpoint, Journal, TracePoint
from listen_embed.monitor.sources import Notice, Place, Source, new_clock
from listen_embed.monitor.spectrum import Spectrum

_log = logging.getLogger(__name__)
# Sound heard before frames count when listening resumes through a resampler: more than its filter.
_WARM_S = 0.5
# Overload is over when this much sound was heard without dropping.
_CALM_S = 5.0
_CAUGHT_UP_S = 0.3
_MAX_DETAIL = 200
_NO_RATE = 1
_N_LATENCIES = 6000


class Stream(Protocol):
    """What the pipeline asks of an embedder's stream."""

    def push(
        self, block: NDArray[np.float32], last: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the embeddings (T, D) and timestamps (T,) that became complete."""


class Listener(Protocol):
    """What the pipeline asks of a machine; tests stand in for it."""

    def judge(self, embedding: NDArray[np.float32]) -> Judgement:
        """Return what one embedding (D,) says."""


@dataclass(frozen=True, slots=True)
class Ear:
    """How to get a stream of embeddings.

    Attributes
    ----------
    open : callable
        Source rate -> a stream whose frames start at 0, one hop apart, not centred.
    rate : int
        The model's own sample rate.
    frame_s, hop_s : float
        Length of a frame, step between frames, seconds.
    """

    open: Callable[[int], Stream]
    rate: int
    frame_s: float
    hop_s: float


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
    """What one hop brought, for the page."""

    clock: str
    index: int
    time_s: float
    wall: float
    state: str | None
    judgement: Judgement
    anomaly: bool
    threshold: float
    latency_ms: float
    dropped: int
    behind_s: float
    spectrum: bytes


class Grid:
    """Where the hops of a clock lie in the source's samples."""

    def __init__(self, rate: int, ear: Ear) -> None:
        self.rate = rate
        self.hop = hop_in_samples(ear.hop_s, rate)
        self.frame = round(ear.frame_s * rate)
        at_model = hop_in_samples(ear.hop_s, ear.rate)
        # A new stream may begin at every multiple of this: there its frames fall on whole samples.
        self.step = lcm(self.hop.denominator, at_model.denominator)
        resampled = 0 if rate == ear.rate else _WARM_S
        self.warm = ceil(Fraction(repr(resampled)) * rate / self.hop)

    def start(self, index: int) -> int:
        """Return the first sample of hop `index`."""
        return start_of(index, self.hop)

    def end(self, index: int) -> int:
        """Return the sample after the frame of hop `index`."""
        return self.start(index) + self.frame

    def begin_at(self, sample: int) -> int:
        """Return the first hop from `sample` on where a stream may begin."""
        return ceil(sample / (self.hop * self.step)) * self.step

    def begin_before(self, index: int) -> int:
        """Return the hop where a stream must begin for hop `index` to be as it was."""
        return max(0, index - self.warm) // self.step * self.step


class Pipeline:
    """Listen to a source until it ends.

    Parameters
    ----------
    ear : Ear
        Sound to embeddings.
    machine : Listener
        Embedding to judgement.
    settings : Settings
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
        settings: Settings,
        journal: Journal,
        source: Source,
        *,
        rhythm: Rhythm = Rhythm(),
        on_hop: Callable[[Hop], None] | None = None,
        on_entries: Callable[[Sequence[Entry]], None] | None = None,
    ) -> None:
        self._ear, self._machine, self._settings = ear, machine, settings
        self._journal, self._source = journal, source
        self._on_hop, self._on_entries = on_hop, on_entries
        nowhere = Checkpoint(new_clock(), _NO_RATE, time.time(), done=True)
        self._at = journal.checkpoint(source.name) or nowhere
        self._decision = Decision.from_dict(self._at.decision) if self._at.decision else Decision()
        self._every = {
            name: max(1, round(seconds / ear.hop_s)) for name, seconds in asdict(rhythm).items()
        }
        self._open = False
        self._heard = 0
        self._dropping = False
        self._calm_at = -1
        self._pending: list[Event] = []
        self._trace: list[TracePoint] = []
        self.latencies_ms: list[float] = []

    def run(self, stop: threading.Event) -> None:
        """Take items until the source ends or `stop` is set, then write a last checkpoint."""
        for item in self._source.items(self._resume_place(), stop):
            if isinstance(item, Notice):
                self._notice(item)
            else:
                self._take(item)
            if stop.is_set():
                break
        if self._open:
            self._commit(checkpoint=True)

    # Where we are

    def _resume_place(self) -> Place:
        if self._at.done:
            return Place(self._at.clock, 0, done=True)
        grid = Grid(self._at.rate, self._ear)
        sample = grid.start(grid.begin_before(self._at.next_hop))
        return Place(self._at.clock, sample)

    def _enter(self, block: Block) -> None:
        """Start on a sample clock: a new one, or the one that the last checkpoint speaks of."""
        before, self._open = self._at, True
        self._grid = Grid(block.rate, self._ear)
        self._begin(block.first)
        if self._calm_at >= 0:
            self._calm_at = block.first + round(_CALM_S * block.rate)
        if before.clock == block.clock and not before.done:
            self._resume(block)
            return
        wall_start = time.time() - block.first / block.rate
        self._at = Checkpoint(block.clock, block.rate, wall_start, self._first, before.dropped)
        data: dict[str, Value] = {"what": "started", "rate_hz": block.rate}
        if before.rate not in (_NO_RATE, block.rate):
            data = {**data, "what": "rate changed", "rate_before_hz": before.rate}
        self._note("source", block.first, data)
        self._commit(checkpoint=True)

    def _resume(self, block: Block) -> None:
        """Go on behind the last checkpoint; note what the source no longer has."""
        wanted = self._grid.start(self._at.next_hop)
        if self._first > self._at.next_hop:
            self._note("source", wanted, {"what": "gap", "lost_samples": block.first - wanted})
            self._commit()
            self._skip_to(self._first)

    def _begin(self, sample: int) -> None:
        """Open a stream at the first possible hop from `sample` on."""
        self._first = self._grid.begin_at(sample)
        self._stream = self._ear.open(self._grid.rate)
        self._n_fed = 0  # hops fed to this stream
        self._n_out = 0  # embeddings it gave
        self._expected = self._grid.start(self._first)
        self._parts: list[NDArray[np.float32]] = []
        self._n_parts = 0
        self._spectrum = Spectrum(self._grid.rate)

    # Blocks

    def _take(self, block: Block) -> None:
        if not self._open or block.clock != self._at.clock:
            self._leave()
            self._enter(block)
            self._heard = block.first
        self._heard = max(self._heard, block.end)
        if self._must_drop(block):
            return
        if block.first > self._expected:
            self._gap(block)
        samples = block.samples[max(0, self._expected - block.first) :]
        if len(samples):
            self._expected += len(samples)
            self._parts.append(samples)
            self._n_parts += len(samples)
            self._feed()
        if block.ends:
            self._notice(Notice("ended"))

    def _gap(self, block: Block) -> None:
        lost = block.first - self._expected
        self._note("source", self._expected, {"what": "gap", "lost_samples": lost})
        self._commit()
        self._begin(block.first)
        self._skip_to(self._first)

    def _skip_to(self, index: int) -> None:
        if index > self._at.next_hop:
            self._at = replace(self._at, next_hop=index)

    def _must_drop(self, block: Block) -> bool:
        """Give up whole hops while too much sound waits; note when that begins and ends."""
        behind = self._source.behind_s()
        if not self._dropping and behind <= self._source.limit_s:
            self._calm_down()
            return False
        if not self._dropping:
            self._start_dropping()
        if behind > min(_CAUGHT_UP_S, self._source.limit_s / 2):
            self._expected = max(self._expected, block.end)
            return True
        self._stop_dropping(block)
        return False

    def _start_dropping(self) -> None:
        self._dropping = True
        if self._calm_at < 0:
            self._dropped_before = self._at.dropped
            data: dict[str, Value] = {
                "what": "begins",
                "behind_s": round(self._source.behind_s(), 3),
            }
            self._note("overload", self._expected, data)
            self._commit()

    def _stop_dropping(self, block: Block) -> None:
        self._dropping = False
        wanted = self._at.next_hop
        self._begin(max(block.first, self._expected))
        n_dropped = max(0, self._first - wanted)
        self._skip_to(self._first)
        self._at = replace(self._at, dropped=self._at.dropped + n_dropped)
        self._calm_at = block.first + round(_CALM_S * block.rate)

    def _calm_down(self) -> None:
        if 0 <= self._calm_at <= self._expected:
            n_dropped = self._at.dropped - self._dropped_before
            data: dict[str, Value] = {"what": "ends", "lost_hops": n_dropped}
            self._note("overload", self._expected, {**data, "dropped_hops": self._at.dropped})
            self._commit(checkpoint=True)
            self._calm_at = -1

    def _feed(self) -> None:
        """Push whole hops, each as one portion, so that portions never depend on block sizes."""
        while self._n_parts >= (n := self._portion()):
            held = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
            self._parts, self._n_parts = [held[n:]], self._n_parts - n
            self._push(held[:n])
            self._n_fed += 1

    def _portion(self) -> int:
        index = self._first + self._n_fed
        return self._grid.start(index + 1) - self._grid.start(index)

    def _push(self, samples: NDArray[np.float32], *, last: bool = False) -> None:
        begun = time.perf_counter()
        embeddings, _ = self._stream.push(samples, last=last)
        limit = self._expected if last else None
        for embedding in embeddings:
            index = self._first + self._n_out
            self._n_out += 1
            # The flush pads with zeros: a frame that nobody heard whole says nothing.
            if limit is not None and self._grid.end(index) > limit:
                return
            if index >= self._at.next_hop:
                judgement = self._machine.judge(embedding)
                self._decide(index, judgement, begun, samples)
                begun = time.perf_counter()

    # Decisions

    def _decide(
        self, index: int, judgement: Judgement, begun: float, samples: NDArray[np.float32]
    ) -> None:
        end = self._grid.end(index)
        since = self._decision.see(self._settings, index, judgement.label)
        if since is not None:
            self._note("state", end, self._state_data(since, judgement))
        since = self._decision.hear(self._settings, index, judgement.score)
        if since is not None:
            self._note("anomaly", end, self._anomaly_data(since, judgement))
        if (index + 1) % self._every["heartbeat_s"] == 0:
            self._note("heartbeat", end, self._heartbeat_data(judgement))
        self._at = replace(self._at, next_hop=index + 1)
        due = (index + 1) % self._every["checkpoint_s"] == 0
        if due or self._pending:
            self._commit(checkpoint=due)
        latency_ms = 1000.0 * (time.perf_counter() - begun)
        self._show(index, judgement, latency_ms, samples)

    def _state_data(self, since: int, judgement: Judgement) -> dict[str, Value]:
        return {
            "state": self._decision.state,
            "since_sample": self._grid.start(since),
            "probability": round(judgement.probability, 3),
        }

    def _anomaly_data(self, since: int, judgement: Judgement) -> dict[str, Value]:
        return {
            "what": "begins" if self._decision.anomaly else "ends",
            "state": self._decision.state,
            "since_sample": self._grid.start(since),
            "score": float(f"{judgement.score:.4g}"),
            "threshold": float(f"{self._settings.threshold:.4g}"),
        }

    def _heartbeat_data(self, judgement: Judgement) -> dict[str, Value]:
        return {
            "state": self._decision.state,
            "anomaly": self._decision.anomaly,
            "score": float(f"{judgement.score:.4g}"),
            "dropped_hops": self._at.dropped,
        }

    # Notes

    def _notice(self, notice: Notice) -> None:
        ended = notice.what == "ended"
        if ended:
            self._leave()
            self._at = replace(self._at, done=True)
        data: dict[str, Value] = {"what": notice.what}
        if notice.detail:
            data["detail"] = notice.detail[:_MAX_DETAIL]
        self._note("source", self._heard, data)
        self._commit(checkpoint=ended)
        self._open = self._open and not ended

    def _leave(self) -> None:
        """Hear the last whole frames of the clock that ends here."""
        if self._open and not self._dropping:
            rest = self._parts[0] if self._parts else np.zeros(0, np.float32)
            self._push(rest if len(self._parts) < 2 else np.concatenate(self._parts), last=True)

    def _note(self, kind: Kind, sample: int, data: dict[str, Value]) -> None:
        at = self._at
        wall = at.wall_start + sample / at.rate
        self._pending.append(Event(self._source.name, at.clock, sample, at.rate, wall, kind, data))

    def _commit(self, *, checkpoint: bool = False) -> None:
        """Journal what is noted, with the place it was found at when `checkpoint`; then tell."""
        at = replace(self._at, decision=self._decision.to_dict()) if checkpoint else None
        trace, self._trace = (self._trace, []) if checkpoint else ([], self._trace)
        entries = self._journal.append(
            self._pending, source=self._source.name, checkpoint=at, trace=trace
        )
        self._pending = []
        if at is not None and self._open:
            first_needed = self._grid.start(self._grid.begin_before(at.next_hop))
            # Of a clock that has ended nothing is needed, its last sample included.
            self._source.keep(at.clock, self._heard + 1 if at.done else first_needed)
        if entries and self._on_entries is not None:
            self._on_entries(entries)

    def _show(
        self, index: int, judgement: Judgement, latency_ms: float, samples: NDArray[np.float32]
    ) -> None:
        self.latencies_ms.append(latency_ms)
        del self.latencies_ms[:-_N_LATENCIES]
        at = self._at
        time_s = self._grid.end(index) / self._grid.rate
        wants_trace = (index + 1) % self._every["trace_s"] == 0
        if not wants_trace and self._on_hop is None:
            return
        column = self._spectrum(samples)
        wall = at.wall_start + time_s
        state, anomaly = self._decision.state, self._decision.anomaly
        if wants_trace:
            point = TracePoint(wall, state, judgement.score, anomaly, latency_ms, column)
            self._trace.append(point)
        if self._on_hop is not None:
            self._on_hop(
                Hop(
                    at.clock,
                    index,
                    time_s,
                    wall,
                    state,
                    judgement,
                    anomaly,
                    self._settings.threshold,
                    latency_ms,
                    at.dropped,
                    self._source.behind_s(),
                    column,
                )
            )
