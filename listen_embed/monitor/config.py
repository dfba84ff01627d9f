"""Everything that a running monitor can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from listen_embed.errors import InputError

_DAY_S, _HOUR_S = 86400.0, 3600.0
# The longest that each may be; seconds.
_MOST_S = {"hop_s": _HOUR_S, "debounce_s": _HOUR_S, "heartbeat_s": _DAY_S, "checkpoint_s": _HOUR_S}


@dataclass(frozen=True)
class MonitorConfig:
    """What ``listen-embed monitor run`` takes; see its ``--help``."""

    head: str
    source: str
    journal: str = "monitor.sqlite"
    name: str = "machine"
    hop_s: float = 0.1
    debounce_s: float = 1.0
    threshold: float | None = None
    heartbeat_s: float = 10.0
    checkpoint_s: float = 10.0
    mqtt: Sequence[str] = ()
    sparkplug: Sequence[str] = ()
    jsonl: Sequence[str] = ()
    webhook: Sequence[str] = ()
    page: str | None = None
    token: str | None = None
    drain_s: float = 10.0
    keep_days: float = 30.0
    threads: int | None = 1
    keep_audio: str | None = None
    keep_audio_mb: float = 500.0
    ring_s: float = 120.0
    peer: Sequence[str] = ()

    def check(self) -> None:
        """Raise `InputError` for a number that is out of range."""
        for name, most in _MOST_S.items():
            value = getattr(self, name)
            if not 0.001 <= value <= most:
                raise InputError(f"{name} is {value!r}; give seconds from 0.001 to {most:g}")
