"""Between a source and the pipeline: a queue with a limit in seconds of sound.

In: a function that makes items. Out: `Pulled`, whose sound can wait where it is, and `Live`, whose
sound comes whether anybody listens or not.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator

from listen_embed.monitor.block import Block
from listen_embed.monitor.sources.source import (
    FOREVER,
    POLL_S,
    Item,
    Maker,
    Notice,
    Place,
    seconds_of,
)

_CAN_WAIT_S = 10.0
_log = logging.getLogger(__name__)


class Backlog:
    """Items between a source's thread and the pipeline, counted in seconds of sound."""

    def __init__(self, capacity_s: float) -> None:
        self._capacity_s = capacity_s
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._waiting_s = 0.0

    def seconds(self) -> float:
        """Return the seconds of sound that wait."""
        return self._waiting_s

    def has_room(self) -> bool:
        """Return whether a block would be taken."""
        return self._waiting_s <= self._capacity_s

    def add(self, item: Item) -> None:
        """Add an item, whether there is room or not."""
        with self._room:
            self._waiting_s += seconds_of(item)
        self._items.put(item)

    def put(self, item: Item, done: threading.Event) -> None:
        """Wait for room, or until `done` is set, and add an item."""
        with self._room:
            while not self.has_room() and not done.is_set():
                self._room.wait(POLL_S)
        self.add(item)

    def get(self, timeout_s: float) -> Item | None:
        """Return the next item, None if none came in time."""
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        with self._room:
            self._waiting_s = max(0.0, self._waiting_s - seconds_of(item))
            self._room.notify()
        return item

    def items(
        self, stop: threading.Event, stall_s: float, on_idle: Callable[[], None] | None = None
    ) -> Iterator[Item]:
        """Yield items as they come, with notices of stalling and resuming, until "ended".

        `on_idle` is called now and then while nothing comes.
        """
        heard, stalled = time.monotonic(), False
        while not stop.is_set():
            item = self.get(POLL_S)
            if item is None:
                if on_idle is not None:
                    on_idle()
                if not stalled and time.monotonic() - heard > stall_s:
                    stalled = True
                    yield Notice("stalled", f"no sound for {stall_s:g} s")
                continue
            if stalled and isinstance(item, Block):
                stalled = False
                yield Notice("resumed")
            heard = time.monotonic()
            yield item
            if isinstance(item, Notice) and item.what == "ended":
                return


class Pulled:
    """A source that can wait: its items are made when they are asked for."""

    limit_s = FOREVER

    def __init__(self, name: str, make: Maker) -> None:
        self.name = name
        self._make = make

    def items(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        for item in self._make(place, stop):
            yield item
            if stop.is_set():
                return

    def behind_s(self) -> float:
        """Return 0: nothing waits."""
        return 0.0

    def keep(self, clock: str, sample: int) -> None:
        """Do nothing: what is on disk stays."""


class Live:
    """A source with a clock of its own: a thread takes its items, however busy the pipeline is."""

    def __init__(
        self,
        name: str,
        make: Maker,
        *,
        limit_s: float,
        stall_s: float,
    ) -> None:
        self.name = name
        self.limit_s = limit_s
        self._make = make
        self._stall_s = stall_s
        # Sound that can wait fills a short queue and then waits at its source.
        self._backlog = Backlog(4 * limit_s if limit_s < FOREVER else _CAN_WAIT_S)

    def items(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        done = threading.Event()
        reader = threading.Thread(target=self._read, args=(place, done), name="source", daemon=True)
        reader.start()
        try:
            yield from self._backlog.items(stop, self._stall_s)
        finally:
            done.set()
            reader.join(timeout=2.0)

    def _read(self, place: Place | None, done: threading.Event) -> None:
        try:
            for item in self._make(place, done):
                self._backlog.put(item, done)
                if done.is_set():
                    return
        except Exception as error:  # a thread that dies in silence would look like a stall
            _log.exception("source %s failed", self.name)
            self._backlog.put(Notice("ended", f"failed: {error}"), done)

    def behind_s(self) -> float:
        """Return the seconds of sound that wait in the queue."""
        return self._backlog.seconds()

    def keep(self, clock: str, sample: int) -> None:
        """Do nothing: a live source cannot go back."""
