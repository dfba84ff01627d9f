"""What a network remembers from step to step: memory of its own, read and written in its place."""

from __future__ import annotations

from dataclasses import replace

from listen_embed.device.steps import Plan
from listen_embed.device.values import is_float
from listen_embed.errors import InputError
from listen_embed.graph import Graph, TensorInfo
from listen_embed.simplified import Pairs


def with_state(plan: Plan, graph: Graph, pairs: Pairs) -> Plan:
    """Return a plan that keeps its state apart from the arena.

    Raises
    ------
    InputError
        A state is read after its next value was written over it, or is no float32.
    """
    state, at = {}, 0
    for before, after in pairs:
        _check_kind(graph.tensors[before])
        _check_order(plan, before, after, graph.tensors[before].name)
        state[before] = state[after] = at
        at += graph.tensors[before].size_bytes
    return replace(plan, state=state, state_bytes=at)


def _check_kind(state: TensorInfo) -> None:
    if not is_float(state):
        kind = state.type.lower()
        raise InputError(f"the state {state.name!r} is {kind}; in C a state is float32")


def _check_order(plan: Plan, before: int, after: int, name: str) -> None:
    reads = {number: step for number, step in enumerate(plan.steps) if before in step.inputs}
    writes = [number for number, step in enumerate(plan.steps) if after == step.output]
    # A step that may write where it has read may do both.
    late = [number for number, step in reads.items() if step.lags.get(before, 1) > 0]
    if not writes or max(reads, default=-1) > writes[0] or writes[0] in late:
        raise InputError(f"the state {name!r} is read after it is written; C keeps one value of it")
