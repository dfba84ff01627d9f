"""A journal that cannot be written for a while: listening goes on, nothing is lost."""

from __future__ import annotations

import threading
from pathlib import Path

from listen_embed.monitor.block import Block
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.pipeline import Pipeline, Rhythm, record
from listen_embed.monitor.sources import Notice

from ..world import RATE, RULES, Blocks, ToneMachine, cut, kinds, listen, sound, told, tone_ear

STORY = sound(("low", 6.0), ("high", 6.0), ("low", 6.0))


class Disk(Blocks):
    """Blocks from a computer whose disk is full between two of them."""

    def __init__(self, book: Journal, *items: object) -> None:
        super().__init__(*items)
        self._book = book

    def items(self, place: object, stop: object):  # type: ignore[no-untyped-def]
        for item in super().items(place, stop):
            if isinstance(item, Block) and item.first == 4 * RATE:
                self._limit(0)
            if isinstance(item, Block) and item.first == 14 * RATE:
                self._limit(1 << 30)
            yield item

    def _limit(self, more: int) -> None:
        pages = self._book._db.execute("PRAGMA page_count").fetchone()[0]
        self._book._db.execute(f"PRAGMA max_page_count={pages + more}")


def test_a_full_disk_ends_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.setattr(record, "_RETRY_S", 0.0)
    blocks = (*cut(STORY, 400), Notice("ended"))
    listen(Blocks(*blocks), tmp_path / "whole.sqlite", rhythm=Rhythm(0.2, 0.1, 0.1))
    book = Journal(tmp_path / "full.sqlite")
    problems: list[str | None] = []
    source = Disk(book, *blocks)
    rhythm = Rhythm(0.2, 0.1, 0.1)
    Pipeline(
        tone_ear(), ToneMachine(), RULES, book, source, rhythm=rhythm, on_problem=problems.append
    ).run(threading.Event())
    book.close()
    assert any(problem and "full" in problem for problem in problems)
    assert problems[-1] is None
    without = [event for event in told(tmp_path / "full.sqlite") if event[1] != "journal"]
    assert without == told(tmp_path / "whole.sqlite")
    assert kinds(tmp_path / "full.sqlite").count("journal:written again") == 1
