"""Where each tensor lies in the arena, so that all of them together need little of it.

A tensor lives from the step that writes it to the last that reads it; tensors that never live at
once may share memory. And a step that reads its input row by row may write over the rows that it
has read, so input and output overlap as far as the step's lag allows.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from listen_embed.device.steps import Plan

_ALIGNMENT = 4
_N_ORDERS = 200  # in which the tensors are placed; the best one wins


@dataclass(frozen=True)
class Layout:
    """Byte offsets into the arena, of tensors and of each step's scratch memory; and of a state."""

    tensors: Mapping[int, int]
    scratches: Mapping[int, int]
    n_bytes: int
    state: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Block:
    """Memory that is taken from one step to another."""

    tensor: int | None
    begin: int
    end: int
    n_bytes: int


def arrange(plan: Plan) -> Layout:
    """Return the smallest arrangement found; the same for the same plan."""
    blocks = _blocks(plan)
    lags = {(s.output, i, n): lag for n, s in enumerate(plan.steps) for i, lag in s.lags.items()}
    by_size = sorted(blocks, key=lambda block: -block.n_bytes)
    orders = [by_size, blocks, blocks[::-1]]
    chance = random.Random(0)
    orders += [chance.sample(blocks, len(blocks)) for _ in range(_N_ORDERS)]
    placed = min((_placed(order, lags) for order in orders), key=_height)
    return Layout(
        {block.tensor: at for block, at in placed.items() if block.tensor is not None},
        {block.begin: at for block, at in placed.items() if block.tensor is None},
        _height(placed),
        plan.state,
    )


def _blocks(plan: Plan) -> list[_Block]:
    first, last = dict.fromkeys(plan.taken, 0), {plan.given: len(plan.steps)}
    for number, step in enumerate(plan.steps):
        first.setdefault(step.output, number)
        for tensor in (*step.inputs, step.output):
            last[tensor] = max(number, last.get(tensor, 0))
    tensors = [
        _Block(i, first[i], last[i], _aligned(plan.n_bytes[i]))
        for i in first
        if i not in plan.state
    ]
    needs = [(n, step.scratch_bytes) for n, step in enumerate(plan.steps) if step.scratch_bytes]
    return tensors + [_Block(None, n, n, _aligned(size)) for n, size in needs]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _height(placed: Mapping[_Block, int]) -> int:
    return max(at + block.n_bytes for block, at in placed.items())


def _placed(order: list[_Block], lags: Mapping[tuple[int, int, int], int]) -> dict[_Block, int]:
    placed: dict[_Block, int] = {}
    for block in order:
        taken = [_forbidden(block, other, at, lags) for other, at in placed.items()]
        placed[block] = _lowest([span for span in taken if span is not None])
    return placed


def _lowest(forbidden: list[tuple[int, int]]) -> int:
    """Return the lowest aligned offset inside none of these open intervals."""
    at = 0
    for begin, end in sorted(forbidden):
        if begin < at < end:
            at = _aligned(end)
    return at


def _forbidden(
    block: _Block, other: _Block, at: int, lags: Mapping[tuple[int, int, int], int]
) -> tuple[int, int] | None:
    """Return between which offsets a block would disturb another one."""
    if block.end < other.begin or other.end < block.begin:
        return None
    before, after = at - block.n_bytes, at + other.n_bytes
    if (lag := _lag(block, other, lags)) is not None:  # the block is written, the other read
        before = at - min(lag, block.n_bytes)
    elif (lag := _lag(other, block, lags)) is not None:
        after = at + min(lag, other.n_bytes)
    return before, after


def _lag(written: _Block, read: _Block, lags: Mapping[tuple[int, int, int], int]) -> int | None:
    """Return a step's lag where a block dies while the other one is made."""
    if written.tensor is None or read.tensor is None or read.end != written.begin:
        return None
    return lags.get((written.tensor, read.tensor, written.begin))
