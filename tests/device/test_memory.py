"""Tensors in the arena: never two in one place at one time, but for what a step may write over."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listen_embed import registry, store
from listen_embed.device.lowering import lower
from listen_embed.device.memory import Layout, arrange
from listen_embed.device.steps import Memory, Plan, Scratch, Step
from listen_embed.device.widening import arranged
from listen_embed.graph import peak_bytes, read_graph


def step(
    taken: tuple[int, ...], given: int, lags: dict[int, int], scratch: int = 0, replaces: int = -1
) -> Step:
    arguments = (*map(Memory, taken), Memory(given), *([Scratch(scratch)] if scratch else []))
    return Step("", "f", arguments, taken, given, lags, replaces=frozenset({replaces}))


def check(plan: Plan, layout: Layout) -> None:
    """Walk through the steps and hold every pair of living blocks apart."""
    last = {plan.given: len(plan.steps)}
    for number, one in enumerate(plan.steps):
        last |= {i: max(number, last.get(i, 0)) for i in one.inputs}
    alive = {*plan.taken}
    for number, one in enumerate(plan.steps):
        alive |= {*one.inputs, one.output}
        spans = {i: (layout.tensors[i], layout.tensors[i] + plan.n_bytes[i]) for i in alive}
        if one.scratch_bytes:
            begin = layout.scratches[number]
            spans[-1] = (begin, begin + one.scratch_bytes)
        for (i, a), (j, b) in combinations(spans.items(), 2):
            lag = one.lags.get(i if j == one.output else j) if one.output in (i, j) else None
            dies = last.get(i if j == one.output else j, -1) == number
            behind = (a[0] - b[0]) if j == one.output else (b[0] - a[0])
            read = i if j == one.output else j
            replaces = one.output in (i, j) and read in one.replaces and behind == 0
            may_overlap = dies and (replaces or (lag is not None and behind >= lag))
            assert may_overlap or a[1] <= b[0] or b[1] <= a[0]
        assert max(end for _, end in spans.values()) <= layout.n_bytes
        alive = {i for i in alive if last.get(i, -1) > number}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.integers(0, 400), st.booleans(), st.booleans()),
        max_size=8,
    )
)
def test_no_two_blocks_meet(sizes: list[tuple[int, int, bool, bool]]) -> None:
    n_bytes = {0: 100} | {i + 1: size for i, (size, _, _, _) in enumerate(sizes)}
    steps = []
    for i, (_, lag, reads_first, replaces) in enumerate(sizes):
        taken = (i, 0) if reads_first and i else (i,)
        lags = {i: lag} if lag and not replaces else {}
        steps.append(step(taken, i + 1, lags, lag // 3, i if replaces else -1))
    plan = Plan(tuple(steps), n_bytes, (0,), len(sizes))
    if steps:
        check(plan, arrange(plan))


def test_an_output_lies_in_the_place_of_what_it_replaces() -> None:
    plan = Plan((step((0,), 1, {}, replaces=0),), {0: 400, 1: 300}, (0,), 1)
    layout = arrange(plan)
    assert layout.n_bytes == 400
    check(plan, layout)


@pytest.mark.parametrize(("name", "largest"), [("sea/32/nano", 14_300), ("sea/64/general", 79_300)])
def test_shipped_models_need_little(name: str, largest: int) -> None:
    content = store.load(registry.find(name))
    plan, layout = arranged(lower(read_graph(content)))
    check(plan, layout)
    assert layout.n_bytes <= largest < peak_bytes(content) / 2 + 1500
    assert arrange(plan) == layout
