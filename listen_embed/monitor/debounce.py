"""From what single frames say to states and alarms: debouncing and hysteresis.

In: per hop, a label with its probability and an anomaly score. Out: a change, or nothing.
Its memory is plain values, so a journal can keep and restore it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# A change needs this share of the last frames; what is lets go only when something else has it.
_SHARE = 0.6
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one frame says: label, its probability in [0, 1], anomaly score (high = anomalous)."""

    label: str
    probability: float
    score: float


@dataclass(frozen=True, slots=True)
class DebounceRules:
    """How fast and how surely decisions are made.

    Attributes
    ----------
    window : int
        Frames that vote; 1 means that every frame decides by itself.
    threshold : float
        Anomaly score from which a frame counts as anomalous.
    release : float
        Share of `threshold` below which a frame counts as normal again, 0 to 1.
    """

    window: int
    threshold: float
    release: float = 0.8

    @classmethod
    def over(cls, seconds: float, frame_s: float, hop_s: float, threshold: float) -> DebounceRules:
        """Return rules by which so many seconds of sound vote.

        Frames that lie across a change hear both states and may look like a third: the window has
        room for them besides, so that they cannot win a vote.
        """
        window = round((seconds + max(0.0, frame_s - hop_s)) / hop_s)
        return cls(max(1, window), threshold)

    @property
    def votes(self) -> int:
        """Frames of the window that must agree: more, too, than two labels by turns would get."""
        by_turns = math.ceil(self.window / 2)
        return min(self.window, max(math.ceil(_SHARE * self.window), by_turns + 1))

    def mark(self, score: float) -> int:
        """Return whether a score is anomalous (1), normal (-1), or in between (0)."""
        if score >= self.threshold:
            return 1
        return -1 if score < self.threshold * self.release else 0


class Debouncer:
    """State and alarm as decided so far, and the frames that vote on the next change.

    Parameters
    ----------
    rules : DebounceRules
        How it decides.
    memory : mapping
        What `memory` of an earlier one returned; empty to start anew.

    Attributes
    ----------
    state : str or None
        The machine's state; None before the first decision.
    anomaly : bool
        Whether the alarm is on.
    """

    def __init__(self, rules: DebounceRules, memory: Mapping[str, Any] = _NOTHING) -> None:
        self.rules = rules
        self.state: str | None = memory.get("state")
        self.anomaly: bool = memory.get("anomaly", False)
        self._labels = self._last(memory.get("labels", []))  # (place, label), oldest first
        self._marks = self._last(memory.get("marks", []))  # (place, mark)

    def _last(self, votes: Iterable[Sequence[Any]]) -> deque[tuple[int, Any]]:
        return deque(((place, vote) for place, vote in votes), self.rules.window)

    def take_label(self, place: int, label: str) -> int | None:
        """Take a frame's label; return the place since which the state is new, None if it is not.

        `place` is any number that rises from frame to frame.
        """
        self._labels.append((place, label))
        winner, votes = Counter(name for _, name in self._labels).most_common(1)[0]
        if winner == self.state or votes < self.rules.votes:
            return None
        self.state = winner
        return next(at for at, name in self._labels if name == winner)

    def take_score(self, place: int, score: float) -> int | None:
        """Take a frame's anomaly score; return the place since which the alarm has changed."""
        self._marks.append((place, self.rules.mark(score)))
        wanted = -1 if self.anomaly else 1
        agreeing = [at for at, mark in self._marks if mark == wanted]
        if len(agreeing) < self.rules.votes:
            return None
        self.anomaly = not self.anomaly
        return agreeing[0]

    def memory(self) -> dict[str, Any]:
        """Return all that it knows as plain values for JSON."""
        votes = {"labels": list(self._labels), "marks": list(self._marks)}
        return {"state": self.state, "anomaly": self.anomaly, **votes}
