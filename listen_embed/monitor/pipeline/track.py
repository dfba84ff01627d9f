"""Items of a source -> hops and remarks, in the order of the sample clock.

In: blocks and notices. Out: `Heard` for every new hop, `Remark` for what happened between them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from listen_embed.monitor.block import Block
from listen_embed.monitor.events import Remark, Value
from listen_embed.monitor.journal import Checkpoint
from listen_embed.monitor.pipeline.grid import Ear, Grid
from listen_embed.monitor.pipeline.hops import Heard, Stretch
from listen_embed.monitor.pipeline.overload import Load, Overload
from listen_embed.monitor.pipeline.wall import WallAnchor
from listen_embed.monitor.sources.source import (
    FOREVER,
    Item,
    Notice,
    Place,
    Source,
    new_clock,
)

_MAX_DETAIL = 200
_NO_RATE = 1

Found = Heard | Remark


class Track:
    """Follows one source across its clocks, gaps and overload.

    Parameters
    ----------
    ear : Ear
        Sound to embeddings.
    source : Source
        Asked how much sound waits.
    checkpoint : Checkpoint or None
        Where an earlier run stood.

    Attributes
    ----------
    at : Checkpoint
        Where listening stands.
    """

    def __init__(self, ear: Ear, source: Source, checkpoint: Checkpoint | None) -> None:
        self._ear, self._source = ear, source
        self.at = checkpoint or Checkpoint(new_clock(), _NO_RATE, time.time(), done=True)
        self._grid = Grid(self.at.rate, ear)
        self._overload = Overload(source.limit_s)
        # Sound that can wait says nothing about the time.
        self._anchor = WallAnchor() if source.limit_s < FOREVER else None
        self._open = False  # whether a block of the clock was heard in this run
        self._stretch: Stretch | None = None  # None while sound is given up
        self._expected = 0  # the next sample
        self._heard = 0  # the sample after the last that arrived, heard or given up

    def place(self) -> Place:
        """Return where the source should go on."""
        if self.at.done:
            return Place(self.at.clock, 0, done=True)
        return Place(self.at.clock, self._first_needed())

    @property
    def heard(self) -> int:
        """The sample after the last that arrived."""
        return self._heard

    def needed(self) -> int | None:
        """Return the first sample that may be wanted again; None before there are any."""
        if not self._open:
            return None
        # Of a clock that has ended nothing is needed, its last sample included.
        return self._heard + 1 if self.at.done else self._first_needed()

    def take(self, item: Item) -> Iterator[Found]:
        """Yield what an item brings."""
        if isinstance(item, Notice):
            yield from self._notice(item)
            return
        if not self._open or item.clock != self.at.clock:
            yield from self._leave()
            yield from self._enter(item)
        self._heard = max(self._heard, item.end)
        yield from self._tell_time()
        yield from self._weigh(item)
        if item.ends:
            yield from self._notice(Notice("ended"))

    def _first_needed(self) -> int:
        return self._grid.start(self._grid.begin_before(self.at.next_hop))

    # Clocks

    def _enter(self, block: Block) -> Iterator[Remark]:
        """Start on a sample clock: a new one, or the one that the last checkpoint speaks of."""
        before, self._open = self.at, True
        self._grid = Grid(block.rate, self._ear)
        self._heard = block.first
        first_hop = self._begin(block.first)
        self._overload.calm_down(block.first, block.rate)
        if before.clock == block.clock and not before.done:
            if first_hop > before.next_hop:  # the source no longer has what is wanted
                yield _gap(self._grid.start(before.next_hop), block)
                self._skip_to(first_hop)
            return
        wall_start = time.time() - block.first / block.rate
        self.at = Checkpoint(block.clock, block.rate, wall_start, first_hop, before.dropped)
        data: dict[str, Value] = {"what": "started", "rate_hz": block.rate}
        if before.rate not in (_NO_RATE, block.rate):
            data = {**data, "what": "rate changed", "rate_before_hz": before.rate}
        yield Remark("source", block.first, data, checkpoint=True)

    def _leave(self) -> Iterator[Heard]:
        """Hear the last whole frames of the clock that ends here."""
        if self._open and self._stretch is not None:
            yield from self._new(self._stretch.finish())

    def _begin(self, sample: int) -> int:
        """Open a stretch at or behind a sample; return its first hop."""
        self._stretch = Stretch(self._ear, self._grid, sample)
        self._expected = self._stretch.next_sample
        return self._stretch.first_hop

    def _skip_to(self, index: int) -> None:
        self.at = replace(self.at, next_hop=max(index, self.at.next_hop))

    def _tell_time(self) -> Iterator[Remark]:
        """Tie the sample clock to the wall clock again where they have come apart."""
        if self._anchor is None:
            return
        sound_s = self._heard / self.at.rate
        wall = self.at.wall_start + sound_s
        if (move := self._anchor.look(wall, sound_s, self._source.behind_s())) is not None:
            self.at = replace(self.at, wall_start=self.at.wall_start + move.seconds)
            data: dict[str, Value] = {"what": move.why, "moved_s": round(move.seconds, 3)}
            yield Remark("clock", self._heard, data, checkpoint=True)

    # Blocks

    def _weigh(self, block: Block) -> Iterator[Found]:
        """Hear a block, unless so much sound waits that it must be given up."""
        behind_s = self._source.behind_s()
        load = self._overload.look(behind_s)
        if load is Load.GIVE_UP:
            yield from self._overload.begin(self._expected, behind_s, self.at.dropped)
            self._stretch, self._expected = None, max(self._expected, block.end)
            return
        if load is Load.HEAR_AGAIN:
            self._count_lost(block)
        yield from self._overload.end(self._expected, self.at.dropped)
        yield from self._hear(block)

    def _count_lost(self, block: Block) -> None:
        first_hop = self._begin(max(block.first, self._expected))
        lost = max(0, first_hop - self.at.next_hop)
        self.at = replace(self.at, dropped=self.at.dropped + lost)
        self._skip_to(first_hop)
        self._overload.calm_down(block.first, block.rate)

    def _hear(self, block: Block) -> Iterator[Found]:
        if block.first > self._expected:
            yield _gap(self._expected, block)
            self._skip_to(self._begin(block.first))
        if self._stretch is not None:
            yield from self._new(self._stretch.push(block))
            self._expected = self._stretch.next_sample

    def _new(self, hops: Iterator[Heard]) -> Iterator[Heard]:
        """Yield hops that no earlier run has noted."""
        for hop in hops:
            if hop.index >= self.at.next_hop:
                self._skip_to(hop.index + 1)
                yield hop

    # Notices

    def _notice(self, notice: Notice) -> Iterator[Found]:
        ended = notice.what == "ended"
        if ended:
            yield from self._leave()
            self.at = replace(self.at, done=True)
        data: dict[str, Value] = {"what": notice.what}
        if notice.detail:
            data["detail"] = notice.detail[:_MAX_DETAIL]
        yield Remark("source", self._heard, data, checkpoint=ended)
        self._open = self._open and not ended


def _gap(wanted: int, block: Block) -> Remark:
    return Remark("source", wanted, {"what": "gap", "lost_samples": block.first - wanted})
