"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Return the same random numbers in every test."""
    return np.random.default_rng(440)


@pytest.fixture
def shared() -> Path:
    """Return the folder of reference data beside the repository; skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder of reference data beside the repository")
    return folder
