"""Scratch memory for weights: where there is room, and no arena that grows for it."""

from __future__ import annotations

import pytest

from listen_embed import registry, store
from listen_embed.device.lowering import lower
from listen_embed.device.memory import arrange
from listen_embed.device.steps import Step, Struct
from listen_embed.device.widening import arranged
from listen_embed.graph import read_graph

from .test_lowering import CASES, fully_connected


def is_wide(step: Step) -> bool:
    struct = step.arguments[0]
    return isinstance(struct, Struct) and bool(struct.fields.get("is_wide"))


@pytest.mark.parametrize("name", ["sea/32/nano", "sea/64/general"])
def test_no_arena_grows_by_more_than_a_kilobyte(name: str) -> None:
    plan = lower(read_graph(store.load(registry.find(name))))
    wide, layout = arranged(plan)
    assert layout.n_bytes <= arrange(plan).n_bytes + 1024
    assert sum(map(is_wide, wide.steps)) > 5


def test_a_small_network_has_room_for_small_weights() -> None:
    (step,) = arranged(lower(read_graph(fully_connected((0.04, 0.01, 0.08)))))[0].steps
    assert is_wide(step)


def test_large_weights_have_none() -> None:
    (step,) = arranged(lower(read_graph(CASES["deep"])))[0].steps
    assert not is_wide(step)
