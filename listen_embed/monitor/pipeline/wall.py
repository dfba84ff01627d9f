"""When a sample was heard: a sample clock tied to the wall clock again and again.

A microphone's 48000 Hz are 48000 Hz within some 50 ppm, which is 4 s a day, and a computer without
a battery-backed clock learns the time from the network minutes after it was switched on. So a live
source's clock is anchored anew when the two have drifted apart, and when the wall clock jumps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# Sound is late by what buffers and networks hold, never early: the least lateness of so much sound
# shows the drift.
_WINDOW_S = 60.0
_MOVE_S = 0.1
# Two windows must agree: sound that comes faster or slower than real time has no wall clock.
_STEADY_S = 0.1
_JUMP_S = 0.5


@dataclass(frozen=True, slots=True)
class Move:
    """By how many seconds a sample clock's anchor moves, and why."""

    seconds: float
    why: Literal["drift", "jump"]


class WallAnchor:
    """Watches how late blocks of one sample clock come.

    Parameters
    ----------
    now, monotonic : callables
        Seconds since 1970, and seconds that never jump.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now, self._monotonic = now, monotonic
        self._offset = now() - monotonic()
        self._since, self._least = 0.0, float("inf")
        self._before: float | None = None  # the least lateness of the window before

    def look(self, wall: float, sound_s: float, behind_s: float) -> Move | None:
        """Return how the anchor must move, if it must.

        Parameters
        ----------
        wall : float
            When the last sample was, by the present anchor.
        sound_s : float
            Its place on the sample clock, in seconds.
        behind_s : float
            How much sound came after it and waits.
        """
        now = self._now()
        if (jump := self._jump(now)) is not None:
            self._restart(sound_s)
            return Move(jump, "jump")
        self._least = min(self._least, now - behind_s - wall)
        if sound_s - self._since < _WINDOW_S:
            return None
        least, before, self._before = self._least, self._before, self._least
        self._begin_window(sound_s)
        if before is None or abs(least - before) > _STEADY_S or abs(least) < _MOVE_S:
            return None
        self._before = 0.0  # what is late now will be in time after the move
        return Move(least, "drift")

    def _jump(self, now: float) -> float | None:
        offset = now - self._monotonic()
        jump, self._offset = offset - self._offset, offset
        return jump if abs(jump) > _JUMP_S else None

    def _restart(self, sound_s: float) -> None:
        self._before = None
        self._begin_window(sound_s)

    def _begin_window(self, sound_s: float) -> None:
        self._since, self._least = sound_s, float("inf")
