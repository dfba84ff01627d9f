"""Everything that a running monitor can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MonitorConfig:
    """What ``listen-embed monitor run`` takes; see its ``--help``."""

    head: str
    source: str
    journal: str = "monitor.sqlite"
    name: str = "machine"
    hop_s: float = 0.1
    debounce_s: float = 1.0
    threshold: float = 3.0
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
