"""Scratch memory for weights in 16 bits, where a network has it to spare.

A processor that multiplies two pairs of 16 bits at once widens weights of eight bits anew for each
pair of pixels. Where the tensors that live leave enough of the arena, they are widened once.
"""

from __future__ import annotations

from dataclasses import replace

from listen_embed.device.memory import Layout, arrange
from listen_embed.device.steps import Array, Plan, Scratch, Step, Struct

_SMALL = 1024  # bytes that are worth a larger arena


def arranged(plan: Plan) -> tuple[Plan, Layout]:
    """Return a plan with scratch memory for weights where there is room, and its arrangement."""
    narrow = arrange(plan)
    wide = _widened(plan, narrow.n_bytes)
    layout = arrange(wide)
    if layout.n_bytes > narrow.n_bytes + _SMALL:
        return plan, narrow
    return wide, layout


def _widened(plan: Plan, n_bytes: int) -> Plan:
    alive = _alive(plan)
    rooms = (max(_SMALL, n_bytes - taken) for taken in alive)
    steps = (_with_room(step, room) for step, room in zip(plan.steps, rooms, strict=True))
    return replace(plan, steps=tuple(steps))


def _alive(plan: Plan) -> list[int]:
    """Return the bytes of all tensors that live while each step runs."""
    first, last = dict.fromkeys(plan.taken, 0), {plan.given: len(plan.steps)}
    for number, step in enumerate(plan.steps):
        first.setdefault(step.output, number)
        last |= {tensor: max(number, last.get(tensor, 0)) for tensor in step.inputs}
    return [
        sum(plan.n_bytes[i] for i in first if first[i] <= number <= last.get(i, first[i]))
        for number in range(len(plan.steps))
    ]


def _with_room(step: Step, room: int) -> Step:
    struct = step.arguments[0]
    if not isinstance(struct, Struct) or struct.kind != "listen_conv":
        return step
    weights = struct.fields["weights"]
    assert isinstance(weights, Array)
    scratch = Scratch(step.scratch_bytes + 2 * weights.n_bytes)
    if scratch.n_bytes > room:
        return step
    wide = Struct(struct.kind, {**struct.fields, "is_wide": 1})
    return replace(step, arguments=(wide, *step.arguments[1:-1], scratch))
