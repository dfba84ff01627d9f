"""Tests that build or emulate need the programs for it."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(autouse=True)
def _programs(request: pytest.FixtureRequest) -> None:
    """Skip a test where a program that its marker names is not installed."""
    for marker in request.node.iter_markers("needs"):
        for program in marker.args:
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
