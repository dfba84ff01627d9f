"""What a source is: items of sound and of what happened, on a sample clock.

In: nothing. Out: the types that sources, pipeline and collecting share.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from listen_embed.monitor.block import Block

POLL_S = 0.2
BLOCK_S = 0.1
FOREVER = float("inf")
# Several clocks may start in a millisecond.
_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened to a source: it ended, stalled, went on, sent garbage, or broke."""

    what: Literal["ended", "stalled", "resumed", "garbage", "lost"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where listening stopped: go on there if the source can. `done`: the source had ended."""

    clock: str
    sample: int
    done: bool = False


Item = Block | Notice
Maker = Callable[[Place | None, threading.Event], Iterator[Item]]


class Source(Protocol):
    """What the pipeline asks of a source.

    Attributes
    ----------
    name : str
        Stable across restarts, part of every event's id; no secrets.
    limit_s : float
        Seconds of sound that may wait before hops are dropped; infinite where sound can wait.
    """

    name: str
    limit_s: float

    def items(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield blocks and notices, from `place` on where possible, until the end or `stop`."""

    def behind_s(self) -> float:
        """Return how many seconds of sound wait to be taken."""

    def keep(self, clock: str, sample: int) -> None:
        """Take note that nothing before `sample` will be asked for again."""


def new_clock() -> str:
    """Return a name for a sample clock that starts now, no other's of this process."""
    return f"{time.time_ns() // 1_000_000:x}{next(_NUMBERS) % 4096:03x}"


def seconds_of(item: Item) -> float:
    """Return how long the sound in an item is, 0 for a notice."""
    return len(item.samples) / item.rate if isinstance(item, Block) else 0.0


def finite(samples: NDArray[np.float32], rate: int, position: int, clock: str) -> Item:
    """Return samples as a block, or a notice where some are not finite."""
    if np.isfinite(samples).all():
        return Block(samples, rate, position, clock)
    return Notice("garbage", "NaN or infinity")
