"""Fixtures of the fleet's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..monitor.conftest import make_broker  # noqa: F401 - a fixture
from ..monitor.world import end_all


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """End what a test started."""
    yield
    end_all()
