"""The table of parts: sizes that make sense, and the floating-point units that boards have."""

from __future__ import annotations

import pytest

from listen_embed.device.boards import BOARDS
from listen_embed.device.parts import PARTS, Part


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_has_more_than_is_free(part: Part) -> None:
    assert 0 < part.free_flash < part.flash
    assert 0 < part.free_ram < part.ram
    assert all(rate > 0 for one in part.microphones for rate in one.rates)


def test_names_are_told_apart() -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_floating_point_units_are_those_that_boards_are_built_for() -> None:
    built = {board.processor: "-mfloat-abi=hard" in board.flags for board in BOARDS}
    shared = [part for part in PARTS if part.processor in built]
    assert {part.processor for part in shared} >= {"cortex-m3", "cortex-m4"}
    assert all(part.has_fpu == built[part.processor] for part in shared)
