"""Functions of one value inside the convolution before them: looked up as each value is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from listen_embed.device.steps import Array, Memory, Step, Struct, Table, int8

_KINDS = ("listen_conv", "listen_depthwise")
_ZERO = 128  # where a table has the function of zero


def with_tables(steps: list[Step], outputs: Sequence[int]) -> list[Step]:
    """Return steps of which some convolutions look up what was a step behind them.

    Parameters
    ----------
    steps : list of Step
    outputs : sequence of int
        Tensors that are read when all steps have run.
    """
    makers = {step.output: step for step in steps}
    readers = [tensor for step in steps for tensor in step.inputs] + [*outputs]
    joined: dict[int, Step] = {}
    for step in steps:
        maker = makers.get(step.inputs[0]) if step.function == "listen_table_run" else None
        if maker is not None and _can_look_up(maker) and readers.count(maker.output) == 1:
            joined[maker.output] = _looking_up(maker, step)
    absorbed = {step.output for step in joined.values()}
    return [joined.get(step.output, step) for step in steps if step.output not in absorbed]


def _can_look_up(step: Step) -> bool:
    return isinstance(step.arguments[0], Struct) and step.arguments[0].kind in _KINDS


def _looking_up(maker: Step, step: Step) -> Step:
    struct, function = maker.arguments[0], step.arguments[0]
    assert isinstance(struct, Struct) and isinstance(function, Array)
    steps = struct.fields["steps"]
    assert isinstance(steps, dict)
    before = steps["table"]
    values = function.values
    if isinstance(before, Table):
        values = values[before.values.values.astype(int) + _ZERO]
    fields = {**struct.fields, "steps": {**steps, "table": Table(int8(values))}}
    memories = (
        replace(one, tensor=step.output)
        if isinstance(one, Memory) and one.tensor == maker.output
        else one
        for one in maker.arguments[1:]
    )
    return replace(
        maker,
        title=f"{maker.title} + {step.title}",
        arguments=(Struct(struct.kind, fields), *memories),
        output=step.output,
    )
