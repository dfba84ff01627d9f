"""Fixtures of the fleet's tests: a real broker, and nothing that is left running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..monitor.conftest import broker, make_broker
from ..monitor.world import end_all

__all__ = ["broker", "make_broker"]


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """End what a test started."""
    yield
    end_all()
