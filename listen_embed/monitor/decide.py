"""From what single frames say to states and alarms: debouncing and hysteresis.

In: per hop, a label with its probability and an anomaly score. Out: a change, or nothing.
The whole memory is one dataclass of plain values, so a journal can keep and restore it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

# A change needs this share of the last frames; what is lets go only when something else has it.
_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one frame says: label, its probability in [0, 1], anomaly score (high = anomalous)."""

    label: str
    probability: float
    score: float


@dataclass(frozen=True, slots=True)
class Settings:
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

    @property
    def votes(self) -> int:
        """Frames of the window that must agree: more, too, than two labels by turns would get."""
        by_turns = math.ceil(self.window / 2)
        return min(self.window, max(math.ceil(_SHARE * self.window), by_turns + 1))


@dataclass(slots=True)
class Decision:
    """State and alarm as decided so far, and the frames that vote on the next change.

    Attributes
    ----------
    state : str or None
        The machine's state; None before the first decision.
    anomaly : bool
        Whether the alarm is on.
    labels : list of (hop, label)
        What the last frames said, oldest first.
    marks : list of (hop, mark)
        Whether they were anomalous (1), normal (-1), or in between (0).
    """

    state: str | None = None
    anomaly: bool = False
    labels: list[tuple[int, str]] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)

    def see(self, settings: Settings, hop: int, label: str) -> int | None:
        """Take a frame's label; return the hop since which the state is new, None if it is not."""
        self.labels = [*self.labels, (hop, label)][-settings.window :]
        winner, votes = Counter(name for _, name in self.labels).most_common(1)[0]
        if winner == self.state or votes < settings.votes:
            return None
        self.state = winner
        return next(at for at, name in self.labels if name == winner)

    def hear(self, settings: Settings, hop: int, score: float) -> int | None:
        """Take a frame's anomaly score; return the hop since which the alarm has changed."""
        normal = score < settings.threshold * settings.release
        mark = 1 if score >= settings.threshold else -1 if normal else 0
        self.marks = [*self.marks, (hop, mark)][-settings.window :]
        wanted = -1 if self.anomaly else 1
        agreeing = [at for at, said in self.marks if said == wanted]
        if len(agreeing) < settings.votes:
            return None
        self.anomaly = not self.anomaly
        return agreeing[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Decision:
        """Return what `to_dict` gave."""
        pairs = {name: [tuple(pair) for pair in values[name]] for name in ("labels", "marks")}
        return cls(values["state"], values["anomaly"], pairs["labels"], pairs["marks"])
