"""What the page shows, and who is watching.

Every message is encoded once, whatever the number of viewers; each viewer has a short queue, and
one that cannot keep up is disconnected and comes back by itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from listen_embed.monitor.events import Entry
from listen_embed.monitor.pipeline import Hop
from listen_embed.monitor.trace import TracePoint

# Points that the journal may not have yet: more than a checkpoint's worth.
_MAX_POINTS = 600
_VIEWER_QUEUE = 256
_QUIET_S = 2.0


class Hub:
    """The present, and who is watching.

    The pipeline's thread writes (`hop`, `entries`); the page's thread reads and fans out.
    """

    def __init__(self) -> None:
        self._points: deque[TracePoint] = deque(maxlen=_MAX_POINTS)
        self._viewers: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._second = -1
        self._now: Hop | None = None
        self.alarm: dict[str, Any] | None = None
        """The last alarm's event, with ``over`` and ``acknowledged``."""
        self.status: dict[str, Any] = {"problems": [], "sinks": []}
        """What is wrong with the monitor, and how far its sinks are."""

    @property
    def now(self) -> Hop | None:
        """The last hop."""
        return self._now

    def hop(self, hop: Hop) -> None:
        """Take a hop: every one goes to the viewers, one a second stays."""
        self._now = hop
        if int(hop.time_s) != self._second:
            self._second = int(hop.time_s)
            with self._lock:
                self._points.append(hop.point)
        if self._viewers:
            self._send("hop", {"point": packed(hop.point), **self._present(hop)})

    def _present(self, hop: Hop) -> dict[str, Any]:
        return {
            "time_s": round(hop.time_s, 3),
            "rate": hop.rate,
            "label": hop.judgement.label,
            "probability": round(hop.judgement.probability, 3),
            "peak_db": round(hop.peak_db, 1),
            "dropped": hop.dropped,
            "behind_s": round(hop.behind_s, 2),
            "threshold": short(hop.threshold),
            "wrong": hop.wrong,
            **self.status,
        }

    def entries(self, entries: Iterable[Entry]) -> None:
        """Take new events."""
        for entry in entries:
            message = entry.message()
            if entry.event.kind == "anomaly":
                self._follow_alarm(message)
            if self._viewers and entry.event.kind != "heartbeat":
                self._send("event", message)

    def _follow_alarm(self, message: dict[str, Any]) -> None:
        if message["what"] == "begins":
            self.alarm = {**message, "over": None, "acknowledged": False}
        elif self.alarm is not None:
            self.alarm = {**self.alarm, "over": message["wall"]}
        self._send("alarm", self.alarm or {})

    def resume_alarm(self, entries: Sequence[Entry], acknowledged: int) -> None:
        """Start with the last alarm of the journal; those up to a number are acknowledged."""
        for entry in entries:
            if entry.event.kind == "anomaly":
                self._follow_alarm(entry.message())
        if self.alarm is not None and self.alarm["number"] <= acknowledged:
            self.alarm = {**self.alarm, "acknowledged": True}

    def acknowledge(self) -> int:
        """Note that somebody has seen the last alarm; return its number, 0 where there is none."""
        if self.alarm is None:
            return 0
        self.alarm = {**self.alarm, "acknowledged": True}
        self._send("alarm", self.alarm)
        return int(self.alarm["number"])

    def machine(self, about: dict[str, Any]) -> None:
        """Tell the viewers of another machine."""
        self._send("machine", about)

    def newest(self, since: float) -> list[TracePoint]:
        """Return the points since a moment that are still in memory."""
        with self._lock:
            return [point for point in self._points if point.wall >= since]

    def _send(self, kind: str, message: dict[str, Any]) -> None:
        text = f"event: {kind}\ndata: {json.dumps(message)}\n\n"
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._fan_out, text)

    def _fan_out(self, text: str | None) -> None:
        for viewer in tuple(self._viewers):
            if text is None or viewer.full():
                self._viewers.discard(viewer)
                while not viewer.empty():
                    viewer.get_nowait()
                viewer.put_nowait(None)
            else:
                viewer.put_nowait(text)

    async def watch(self) -> AsyncIterator[str]:
        """Yield server-sent events until the hub closes or the viewer is too slow."""
        self._loop = asyncio.get_running_loop()
        viewer: asyncio.Queue[str | None] = asyncio.Queue(_VIEWER_QUEUE)
        self._viewers.add(viewer)
        try:
            yield "retry: 1000\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(viewer.get(), _QUIET_S)
                except TimeoutError:
                    text = "event: quiet\ndata: {}\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._viewers.discard(viewer)

    @property
    def n_viewers(self) -> int:
        """How many are watching."""
        return len(self._viewers)

    def close(self) -> None:
        """Send everybody home."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fan_out, None)


# A packed point's places, in order.
FIELDS = ("wall", "state", "score", "anomaly", "latency_ms", "level_db", "x", "y", "spectrum")


def packed(point: TracePoint) -> list[Any]:
    """Return a point as the page takes it, see `FIELDS`."""
    return [
        round(point.wall, 3),
        point.state,
        short(point.score),
        int(point.anomaly),
        short(point.latency_ms),
        round(point.level_db, 1),
        None if point.x is None else short(point.x),
        None if point.y is None else short(point.y),
        base64.b64encode(point.spectrum).decode(),
    ]


def short(value: float) -> float:
    """Return a number to four digits."""
    return float(f"{value:.4g}")
