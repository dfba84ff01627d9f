"""Fixtures of the fleet's tests: a real broker."""

from __future__ import annotations

from ..monitor.conftest import broker, make_broker

__all__ = ["broker", "make_broker"]
