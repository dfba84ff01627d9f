"""Whether sound has to be given up because too much of it waits."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from listen_embed.monitor.events import Remark

_CAUGHT_UP_S = 0.3
# An episode is over when this much sound was heard without giving any up.
_CALM_S = 5.0


class Load(Enum):
    """What is to be done with a block."""

    HEAR = auto()
    GIVE_UP = auto()
    HEAR_AGAIN = auto()  # the first block after some were given up


class Overload:
    """Gives up sound from the moment too much waits until it is caught up with.

    Parameters
    ----------
    limit_s : float
        Seconds of sound that may wait.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._caught_up_s = min(_CAUGHT_UP_S, limit_s / 2)
        self._gives_up = False
        self._lost_before: int | None = None  # hops lost before the episode; None: there is none
        self._calm_from: int | None = None  # the sample at which the episode is over

    def look(self, behind_s: float) -> Load:
        """Return what to do with the block at hand while `behind_s` of sound wait."""
        if not self._gives_up and behind_s <= self._limit_s:
            return Load.HEAR
        if not self._gives_up or behind_s > self._caught_up_s:
            self._gives_up = True
            return Load.GIVE_UP
        self._gives_up = False
        return Load.HEAR_AGAIN

    def begin(self, sample: int, behind_s: float, lost: int) -> Iterator[Remark]:
        """Yield the remark that an episode begins, unless it has; `lost` hops were lost before."""
        if self._lost_before is None:
            self._lost_before = lost
            yield Remark("overload", sample, {"what": "begins", "behind_s": round(behind_s, 3)})

    def calm_down(self, sample: int, rate: int) -> None:
        """Let the episode, if there is one, end when enough is heard from `sample` on."""
        if self._lost_before is not None and not self._gives_up:
            self._calm_from = sample + round(_CALM_S * rate)

    def end(self, sample: int, lost: int) -> Iterator[Remark]:
        """Yield the remark that the episode is over, if it is at `sample`."""
        if self._lost_before is not None and self._calm_from is not None:
            if sample < self._calm_from:
                return
            counts = {"lost_hops": lost - self._lost_before, "dropped_hops": lost}
            self._lost_before = self._calm_from = None
            yield Remark("overload", sample, {"what": "ends", **counts}, checkpoint=True)
