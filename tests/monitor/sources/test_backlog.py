"""The queue before the pipeline: seconds counted, stalls told, threads that break."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from listen_embed.monitor.block import Block
from listen_embed.monitor.sources import Item, Notice, Place
from listen_embed.monitor.sources.backlog import Backlog, Live

from ..world import RATE, eventually, sound

SAMPLES = sound(("low", 2.0), ("high", 1.0))


def test_a_stall_and_its_end_are_noticed() -> None:
    backlog, stop = Backlog(10.0), threading.Event()
    items = backlog.items(stop, 0.3)
    assert next(items) == Notice("stalled", "no sound for 0.3 s")
    backlog.add(Block(SAMPLES, RATE, 0))
    assert next(items) == Notice("resumed")
    assert isinstance(next(items), Block)


def test_a_backlog_counts_seconds_and_has_an_end() -> None:
    backlog, done = Backlog(2.0), threading.Event()
    blocks = [Block(SAMPLES[:RATE], RATE, n * RATE) for n in range(10)]
    filler = threading.Thread(target=lambda: [backlog.put(block, done) for block in blocks])
    filler.start()
    eventually(lambda: backlog.seconds() == 3.0)  # one more than fits is taken, never a part
    assert not backlog.has_room()
    assert [backlog.get(1.0) for _ in range(5)] == blocks[:5]
    eventually(lambda: backlog.seconds() == 3.0)
    done.set()
    filler.join(5)
    assert not filler.is_alive()


def test_a_source_thread_that_breaks_is_an_end_with_a_reason() -> None:
    def broken(place: Place | None, stop: threading.Event) -> Iterable[Item]:
        yield Block(SAMPLES, RATE, 0)
        raise RuntimeError("sensor on fire")

    items = list(Live("x", broken, limit_s=1.0, stall_s=5.0).items(None, threading.Event()))
    assert items[-1] == Notice("ended", "failed: sensor on fire")
