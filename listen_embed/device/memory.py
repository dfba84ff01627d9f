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
    numbers = list(range(len(blocks)))
    by_size = sorted(numbers, key=lambda number: -blocks[number].n_bytes)
    chance = random.Random(0)
    orders = [by_size, numbers, numbers[::-1]]
    orders += [chance.sample(numbers, len(numbers)) for _ in range(_N_ORDERS)]
    rivals = _rivals(blocks, plan)
    heights = [block.n_bytes for block in blocks]
    placed = min((_placed(order, rivals) for order in orders), key=lambda at: _top(at, heights))
    return Layout(
        {b.tensor: at for b, at in zip(blocks, placed, strict=True) if b.tensor is not None},
        {b.begin: at for b, at in zip(blocks, placed, strict=True) if b.tensor is None},
        _top(placed, heights),
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


def _top(placed: list[int], heights: list[int]) -> int:
    return max(at + height for at, height in zip(placed, heights, strict=True))


@dataclass(frozen=True)
class _Rival:
    """A block that lives while another one does, which must lie outside of an interval around it.

    `before` and `after` are the interval's ends, counted from where the rival begins; `may_be_same`
    says whether both may begin at the same byte all the same.
    """

    number: int
    before: int
    after: int
    may_be_same: bool


def _rivals(blocks: list[_Block], plan: Plan) -> list[list[_Rival]]:
    """Return the rivals of each block."""
    return [
        [
            _rival(block, number, other, plan)
            for number, other in enumerate(blocks)
            if other is not block and block.begin <= other.end and other.begin <= block.end
        ]
        for block in blocks
    ]


def _rival(block: _Block, number: int, other: _Block, plan: Plan) -> _Rival:
    before, after = -block.n_bytes, other.n_bytes
    if (lag := _lag(block, other, plan)) is not None:  # the block is written, the other read
        before = -min(lag, block.n_bytes)
    elif (lag := _lag(other, block, plan)) is not None:
        after = min(lag, other.n_bytes)
    may_be_same = _may_replace(block, other, plan) or _may_replace(other, block, plan)
    return _Rival(number, before, after, may_be_same)


def _lag(written: _Block, read: _Block, plan: Plan) -> int | None:
    """Return a step's lag where a block dies while the other one is made."""
    if not _follows(written, read):
        return None
    step = plan.steps[written.begin]
    return step.lags.get(read.tensor or 0) if step.output == written.tensor else None


def _may_replace(written: _Block, read: _Block, plan: Plan) -> bool:
    if not _follows(written, read):
        return False
    step = plan.steps[written.begin]
    return step.output == written.tensor and read.tensor in step.replaces


def _follows(written: _Block, read: _Block) -> bool:
    are_tensors = written.tensor is not None and read.tensor is not None
    return are_tensors and read.end == written.begin


def _placed(order: list[int], rivals: list[list[_Rival]]) -> list[int]:
    """Return where each block begins, if each in turn takes the lowest place that is left."""
    placed = [-1] * len(rivals)
    for number in order:
        there = [rival for rival in rivals[number] if placed[rival.number] >= 0]
        placed[number] = _lowest(there, placed)
    return placed


def _lowest(rivals: list[_Rival], placed: list[int]) -> int:
    """Return the lowest aligned offset inside none of the rivals' open intervals."""
    spans = [(placed[r.number] + r.before, placed[r.number] + r.after) for r in rivals]
    lowest = 0
    for begin, end in sorted(spans):
        if begin < lowest < end:
            lowest = _aligned(end)
    same = (placed[rival.number] for rival in rivals if rival.may_be_same)
    return min([lowest, *(at for at in same if _is_left(at, rivals, placed))])


def _is_left(at: int, rivals: list[_Rival], placed: list[int]) -> bool:
    """Whether a block may begin where one of its rivals does."""
    return all(
        not rival.before < at - placed[rival.number] < rival.after
        or (rival.may_be_same and at == placed[rival.number])
        for rival in rivals
    )
