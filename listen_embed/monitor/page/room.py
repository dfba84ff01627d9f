"""What the page's server is given: the monitor behind it, as far as a page may reach."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from listen_embed.errors import InputError
from listen_embed.monitor.audio_ring import AlarmKeeper, AudioRing
from listen_embed.monitor.correcting import Corrector
from listen_embed.monitor.events import Entry, Kind
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.page.hub import FIELDS, Hub, packed
from listen_embed.monitor.page.peers import Peers
from listen_embed.monitor.teaching import Lesson, Teacher
from listen_embed.monitor.trace import STEPS_S, TracePoint

# Points that a browser gets at most for a range, about one a pixel of a large screen.
_MAX_POINTS = 3700
_MAX_EVENTS = 1000
_DAY_S = 86400.0
_FOREVER = 1e12
_NO_ALARMS = [kind for kind in get_args(Kind) if kind != "anomaly"]
RANGES_S = (600, 3600, 86400, 30 * 86400)


@dataclass
class ControlRoom:
    """What is shown and what can be done on the page.

    Attributes
    ----------
    hub : Hub
        The present.
    journal : str
        Path of the past.
    name, source : str
        The machine's name, and where its sound comes from.
    threshold : float
        Score of an alarm.
    teacher : Teacher or None
        Learns all again from the page; None: nobody may teach.
    ring : AudioRing or None
    keeper : AlarmKeeper or None
    peers : Peers
        Other machines' monitors.
    corrector : Corrector or None
        Learns corrections at once, in the teacher's place.
    """

    hub: Hub
    journal: str
    name: str = "machine"
    source: str = ""
    threshold: float = 1.0
    teacher: Teacher | None = None
    ring: AudioRing | None = None
    keeper: AlarmKeeper | None = None
    peers: Peers = field(default_factory=lambda: Peers([]))
    corrector: Corrector | None = None

    def about(self) -> dict[str, Any]:
        """Return what does not change from second to second."""
        learner = self.corrector or self.teacher
        machine = learner.machine if learner else None
        drawn = machine.profile.embedding_map if machine else None
        return {
            "name": self.name,
            "source": self.source,
            "threshold": self.threshold,
            "fields": FIELDS,
            "ranges_s": RANGES_S,
            "states": machine.states if machine else [],
            "places": dict(drawn.places) if drawn else {},
            "can_teach": bool(self.corrector or self._can_teach()),
            "can_undo": bool(learner and learner.can_undo),
        }

    def _can_teach(self) -> bool:
        return bool(self.teacher and self.teacher.machine.examples is not None and self.ring)

    def check_learns(self) -> None:
        """Raise `InputError` if nothing here can be taught."""
        if self.corrector is None and self.teacher is None:
            raise InputError("this monitor does not learn from its page")

    def learn(self, label: str, since: float, until: float) -> Lesson:
        """Learn what was heard between two moments as a label; raise `InputError` if it cannot."""
        if self.corrector is not None:
            return self.corrector.correct(label, since, until)
        if self.teacher is None or self.ring is None:
            raise InputError("this monitor does not learn from its page")
        sound = self.ring.cut(since, until)
        return self.teacher.teach(label, sound.floats(), sound.rate)

    def undo(self) -> None:
        """Take the last lesson back; raise `InputError` if there is none."""
        self.check_learns()
        learner = self.corrector or self.teacher
        assert learner is not None
        learner.undo()

    def history(self, seconds: float) -> dict[str, Any]:
        """Return the points and events of the last seconds, as many as fit a screen."""
        until = time.time() + _DAY_S  # a clock that is ahead shall not hide the present
        since = self._latest() - seconds
        points = self.trace(since, until)
        return {
            "about": self.about(),
            "since": since,
            "points": [packed(point) for point in points],
            "events": [entry.message() for entry in self.events(since, until)],
            "alarm": self.hub.alarm,
        }

    def _latest(self) -> float:
        return self.hub.now.point.wall if self.hub.now else time.time()

    def trace(self, since: float, until: float) -> list[TracePoint]:
        """Return the points between two moments, in the shortest step that is not too many."""
        span = min(until, self._latest()) - since
        step_s = next((s for s in STEPS_S if span / s <= _MAX_POINTS), STEPS_S[-1])
        newest = self.hub.newest(since) if step_s == STEPS_S[0] else []
        journal = Journal(self.journal, durable=False)
        try:
            older = journal.trace(since, newest[0].wall if newest else until, step_s)
        finally:
            journal.close()
        return older + newest

    def events(self, since: float, until: float, limit: int = _MAX_EVENTS) -> Sequence[Entry]:
        """Return the newest events between two moments, in order, heart-beats left out."""
        journal = Journal(self.journal, durable=False)
        try:
            return journal.events(since, until, limit, without=["heartbeat"])
        finally:
            journal.close()

    def recordings(self) -> dict[int, str]:
        """Return the names of kept sound by the number of the alarm."""
        kept = self.keeper.files() if self.keeper else {}
        return {number: path.name for number, path in sorted(kept.items())}

    def resume(self) -> None:
        """Show the last alarm of the journal again, acknowledged or not."""
        journal = Journal(self.journal, durable=False)
        try:
            alarms = journal.events(0.0, _FOREVER, 2, without=_NO_ALARMS)
            self.hub.resume_alarm(alarms, int(journal.remembered("acknowledged") or 0))
        finally:
            journal.close()

    def acknowledge(self) -> int:
        """Note that somebody has seen the last alarm."""
        number = self.hub.acknowledge()
        journal = Journal(self.journal, durable=False)
        try:
            journal.remember("acknowledged", str(number))
        finally:
            journal.close()
        return number

    def summary(self) -> dict[str, Any]:
        """Return this machine as other machines' pages show it."""
        now, alarm = self.hub.now, self.hub.alarm
        ringing = bool(alarm and alarm["over"] is None)
        return {
            "name": self.name,
            "state": now.point.state if now else None,
            "score": now.point.score if now else None,
            "threshold": self.threshold,
            "alarm": ringing,
            "acknowledged": bool(alarm and alarm["acknowledged"]),
            "heard_at": now.point.wall if now else None,
            "age_s": None if now is None else max(0.0, time.time() - now.point.wall),
            "problems": self.hub.status["problems"],
        }
