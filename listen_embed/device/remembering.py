"""What a network remembers from step to step: memory of its own, read and written in its place."""

from __future__ import annotations

from dataclasses import replace

from listen_embed.device.steps import Plan
from listen_embed.errors import InputError
from listen_embed.graph import Graph
from listen_embed.runtime import StateNames

Pairs = tuple[tuple[int, int], ...]


def without_state(graph: Graph, names: StateNames) -> tuple[Graph, Pairs]:
    """Return a graph whose ends are those beside its state, and the state's tensors.

    Each pair is an input and the output that is its value in the next step.

    Raises
    ------
    InputError
        The graph has no such tensors, or they are not of one kind.
    """
    pairs = tuple(_pair(graph, before, after) for before, after in names)
    carried = {tensor for pair in pairs for tensor in pair}
    rest = replace(
        graph,
        inputs=tuple(i for i in graph.inputs if i not in carried),
        outputs=tuple(i for i in graph.outputs if i not in carried),
    )
    return rest, pairs


def _pair(graph: Graph, before: str, after: str) -> tuple[int, int]:
    taken = {graph.tensors[i].name: i for i in graph.inputs}
    given = {graph.tensors[i].name: i for i in graph.outputs}
    if before not in taken or after not in given:
        raise InputError(f"the network has no input {before!r} with an output {after!r}")
    a, b = graph.tensors[taken[before]], graph.tensors[given[after]]
    if (a.type, a.shape, a.scales, a.zero_points) != (b.type, b.shape, b.scales, b.zero_points):
        raise InputError(f"the state {before!r} is not of the kind of {after!r}")
    if a.type != "FLOAT32":
        raise InputError(f"the state {before!r} is {a.type.lower()}; in C a state is float32")
    return taken[before], given[after]


def with_state(plan: Plan, graph: Graph, pairs: Pairs) -> Plan:
    """Return a plan that keeps its state apart from the arena.

    Raises
    ------
    InputError
        A state is read after its next value was written over it.
    """
    state, at = {}, 0
    for before, after in pairs:
        _check_order(plan, before, after, graph.tensors[before].name)
        state[before] = state[after] = at
        at += graph.tensors[before].size_bytes
    return replace(plan, state=state, state_bytes=at)


def _check_order(plan: Plan, before: int, after: int, name: str) -> None:
    reads = {number: step for number, step in enumerate(plan.steps) if before in step.inputs}
    writes = [number for number, step in enumerate(plan.steps) if after == step.output]
    # A step that may write where it has read may do both.
    late = [number for number, step in reads.items() if step.lags.get(before, 1) > 0]
    if not writes or max(reads, default=-1) > writes[0] or writes[0] in late:
        raise InputError(f"the state {name!r} is read after it is written; C keeps one value of it")
