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
from collections.abc import AsyncIterator, Sequence
from typing import Any

from listen_embed.monitor.events import Entry
from listen_embed.monitor.pipeline import Hop
from listen_embed.monitor.trace import TracePoint

_MAX_POINTS, _MAX_ENTRIES = 3700, 200
_VIEWER_QUEUE = 256
_QUIET_S = 10.0


class Hub:
    """The last hour in memory, and who is watching.

    The pipeline's thread writes (`hop`, `entries`); the page's thread reads and fans out.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        self._about = about
        self._points: deque[list[Any]] = deque(maxlen=_MAX_POINTS)
        self._entries: deque[dict[str, Any]] = deque(maxlen=_MAX_ENTRIES)
        self._viewers: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._second = -1
        self.problems: list[str] = []
        """Sinks that do not take events just now."""

    def load(self, entries: Sequence[Entry], points: Sequence[TracePoint]) -> None:
        """Start with what the journal holds."""
        self._entries.extend(entry.message() for entry in entries)
        self._points.extend(packed(point) for point in points)

    def hop(self, hop: Hop) -> None:
        """Take a hop: every one goes to the viewers, one a second stays."""
        point = packed(hop.point)
        if int(hop.time_s) != self._second:
            self._second = int(hop.time_s)
            with self._lock:
                self._points.append(point)
        if self._viewers:
            now = {
                "time_s": round(hop.time_s, 3),
                "label": hop.judgement.label,
                "probability": round(hop.judgement.probability, 3),
                "dropped": hop.dropped,
                "behind_s": round(hop.behind_s, 2),
                "threshold": _short(hop.threshold),
                "problems": self.problems,
            }
            self._send("hop", {"point": point, **now})

    def entries(self, entries: Sequence[Entry]) -> None:
        """Take new events."""
        for entry in entries:
            message = entry.message()
            with self._lock:
                self._entries.append(message)
            if self._viewers:
                self._send("event", message)

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

    def history(self) -> dict[str, Any]:
        """Return the last hour."""
        with self._lock:
            points, entries = list(self._points), list(self._entries)
        return {"about": self._about, "points": points, "events": entries}

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
                    text = ": still here\n\n"
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


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def packed(point: TracePoint) -> list[Any]:
    """Return a point as the page takes it: wall, state, score, anomaly, latency, spectrum."""
    return [
        round(point.wall, 3),
        point.state,
        _short(point.score),
        int(point.anomaly),
        _short(point.latency_ms),
        base64.b64encode(point.spectrum).decode(),
    ]
