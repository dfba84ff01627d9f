"""Blocks from a network, late, lost or repeated -> each sample once, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from listen_embed.monitor.block import Block
from listen_embed.monitor.sources.source import Place

# How often a missing block is asked for while it is waited for.
ASK_AGAIN_S = 1.0
_MAX_EARLY = 1024


class Order:
    """Blocks in any order and number of times -> each sample once, in order.

    Parameters
    ----------
    patience_s : float
        How long a missing block is waited for.
    ask : callable
        Asks the sensor for everything from `expected` on.
    """

    def __init__(self, patience_s: float, ask: Callable[[], None]) -> None:
        self.clock, self.expected = "", 0
        self._ended = False
        self._patience_s, self._ask = patience_s, ask
        self._early: dict[int, Block] = {}
        self._missing_since: float | None = None
        self._asked = self._heard_old = 0.0
        self._is_replaying = False

    def resume(self, place: Place) -> None:
        """Go on at a place; of a stream that had ended nothing more is wanted."""
        self.clock, self.expected, self._ended = place.clock, place.sample, place.done

    def push(self, block: Block) -> Iterator[Block]:
        """Yield what can be known to be next."""
        if block.clock != self.clock:  # the sensor counts anew
            self.clock, self.expected, self._ended = block.clock, 0, False
            self._early, self._missing_since = {}, None
        if self._early and block.first < max(self._early):
            self._heard_old = time.monotonic()  # an answer, or a repetition that delays it
        if self._ended or (block.end <= self.expected and not block.ends):
            return
        self._hold(block)
        while self._early and self._is_next(self._early[first := min(self._early)]):
            candidate = self._early.pop(first)
            if candidate.end > self.expected or candidate.ends:
                self.expected = max(self.expected, candidate.end)
                self._ended = candidate.ends
                yield candidate
        self._is_replaying = self._is_replaying and bool(self._early)

    def _hold(self, block: Block) -> None:
        known = self._early.get(block.first)
        if known is None or known.end < block.end or block.oldest:
            self._early[block.first] = block
        if len(self._early) > _MAX_EARLY:
            del self._early[max(self._early)]  # it will be missed in its turn

    def _is_next(self, block: Block) -> bool:
        """Whether to go on with a block: nothing is missing before it, or patience has run out."""
        now = time.monotonic()
        if block.first <= self.expected or block.oldest:
            self._missing_since = None
            return True
        if self._missing_since is None:
            self._missing_since = now
        if now - self._missing_since >= self._patience_s:
            self._missing_since = None
            return True
        self._ask_if_due(now)
        return False

    def _ask_if_due(self, now: float) -> None:
        """Ask, but not while what was asked for is coming in: each answer may be a minute long."""
        since = max(self._asked, self._heard_old) if self._is_replaying else self._asked
        if now - since > ASK_AGAIN_S:
            self._asked, self._is_replaying = now, True
            self._ask()
