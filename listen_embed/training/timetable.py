"""How long a call will take, stage by stage, told before it starts and while it goes on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

_FORMAT = (
    "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} "
    "[{elapsed}<{remaining}, {left_in_all} left in all{postfix}]"
)


class Timetable:
    """The stages of a call, and what each is expected to take.

    Parameters
    ----------
    expected : mapping of str to float
        Seconds of each stage, in their order.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self.expected = dict(expected)
        self._over: set[str] = set()

    def announce(self) -> None:
        """Print all stages and how long they are expected to take."""
        _tell(f"{len(self.expected)} stages, about {in_words(sum(self.expected.values()))} in all:")
        for number, (stage, seconds) in enumerate(self.expected.items(), start=1):
            _tell(f"  {number} {stage}, about {in_words(seconds)}")

    def begin(self, stage: str) -> None:
        """Print which stage begins; all before it are over."""
        stages = list(self.expected)
        self._over = set(stages[: stages.index(stage)])
        left = in_words(self.expected[stage] + self.after(stage))
        _tell(f"{stages.index(stage) + 1} of {len(stages)}: {stage}; about {left} left in all")

    def after(self, stage: str) -> float:
        """Return the seconds of all stages behind one."""
        stages = list(self.expected)
        behind = stages[stages.index(stage) + 1 :] if stage in stages else []
        return sum(self.expected[name] for name in behind)

    def bar(self, stage: str, **how: Any) -> Any:
        """Return a stage's progress bar; it tells what is left of all stages too."""
        return _Bar(desc=stage, bar_format=_FORMAT, behind=self.after(stage), **how)


# False for no bars, True for bars that know of their own stage only.
Shown = bool | Timetable


def bar(shown: Shown, stage: str, **how: Any) -> Any:
    """Return a stage's progress bar, of tqdm's kind; `how` is for tqdm."""
    if isinstance(shown, Timetable):
        return shown.bar(stage, **how)
    return tqdm(desc=stage, disable=not shown, **how)


def begin(shown: Shown, stage: str) -> None:
    """Print which stage begins, where there is a timetable."""
    if isinstance(shown, Timetable):
        shown.begin(stage)


def in_words(seconds: float) -> str:
    """Return a duration as people say it: ``40 s``, ``12 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Bar(tqdm):  # type: ignore[misc]
    """A bar that adds the stages behind it to its own remaining time."""

    def __init__(self, *, behind: float, **how: Any) -> None:
        self._behind = behind
        super().__init__(**how)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the bar's format can name."""
        known: dict[str, Any] = super().format_dict
        done = known["n"] - known["initial"]
        rate = known["rate"] or (done / known["elapsed"] if known["elapsed"] else None)
        own = (known["total"] - known["n"]) / rate if rate else None
        known["left_in_all"] = "?" if own is None else in_words(own + self._behind)
        return known


def _tell(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
