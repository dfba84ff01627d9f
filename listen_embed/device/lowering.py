"""The graph of a .tflite -> calls of the kernels in C, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from listen_embed.device import lowering8, lowering32
from listen_embed.device.context import Context
from listen_embed.device.folding import Folded, fold
from listen_embed.device.steps import Argument, Memory, Mode, Plan, Step
from listen_embed.device.tabling import with_tables
from listen_embed.errors import InputError
from listen_embed.graph import Graph
from listen_embed.simplified import without_dequantised

_Lowering = Callable[[Context], list[Step]]
_LOWERINGS = {
    "int8": lowering8.LOWERINGS,
    "float32": lowering32.LOWERINGS,
}


def lower(graph: Graph, mode: Mode = "xnn") -> Plan:
    """Return a graph as steps.

    Parameters
    ----------
    graph : Graph
        Of int8 or float32 tensors throughout, with one output, and one input or two.
        Constants of float graphs may be int8, and dequantised where they are used.
    mode : {"xnn", "reference"}
        Whose rounding the network keeps; tables are filled by its kernels.

    Raises
    ------
    InputError
        An operator, or a form of one, that there is no kernel for; every missing one is named.
    """
    graph = without_dequantised(graph)
    lowerings = _LOWERINGS[_type_of(graph)]
    folded = fold(graph)
    _check_operators(folded, lowerings)
    same = _aliases(graph, folded)
    steps: list[Step] = []
    for one in folded:
        if one.operator.name not in _ALIASING:
            made = lowering8.table if one.chain else lowerings[one.operator.name]
            steps += [_renamed(step, same) for step in made(Context(graph, one, mode))]
    steps = with_tables(steps, graph.outputs)
    n_bytes = {
        i: graph.tensors[i].size_bytes for step in steps for i in (*step.inputs, step.output)
    }
    taken, (given,) = inputs_of(graph), graph.outputs
    return Plan(tuple(steps), n_bytes, taken, same.get(given, given))


def inputs_of(graph: Graph) -> tuple[int, ...]:
    """Return a graph's inputs in the order of its signature: a log-mel, and a waveform."""
    return tuple(sorted(graph.inputs, key=lambda i: graph.tensors[i].name))


def _type_of(graph: Graph) -> str:
    """Return the type of all tensors that are computed."""
    for what, ends, most in (("input", graph.inputs, 2), ("output", graph.outputs, 1)):
        if not 1 <= len(ends) <= most:
            raise InputError(f"a network of ours has {most} {what} at most, this has {len(ends)}")
    used = {i for op in graph.operators for i in op.outputs} | set(graph.inputs)
    kinds = sorted({graph.tensors[i].type.lower() for i in used})
    if len(kinds) != 1 or kinds[0] not in _LOWERINGS:
        raise InputError(
            f"the network computes in {', '.join(kinds)}; C is made of networks that are int8 or "
            "float32 throughout: quantise it first (listen-embed specialize does)"
        )
    return kinds[0]


def _check_operators(folded: list[Folded], lowerings: dict[str, _Lowering]) -> None:
    names = {one.operator.name for one in folded}
    if missing := sorted(names - lowerings.keys() - _ALIASING):
        known = sorted(lowerings.keys() | _ALIASING)
        raise InputError(
            f"the network has {', '.join(missing)}, which there is no C for; "
            f"there is C for {', '.join(known)}"
        )


# -- tensors that share their memory -----------------------------------------------------------

# Operators that change nothing but the shape.
_ALIASING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})


def _aliases(graph: Graph, folded: list[Folded]) -> dict[int, int]:
    same: dict[int, int] = {}
    for one in folded:
        if one.operator.name in _ALIASING:
            taken, given = one.operator.inputs[0], one.operator.outputs[0]
            same[given] = same.get(taken, taken)
    return same


def _renamed(step: Step, same: dict[int, int]) -> Step:
    def named(argument: Argument) -> Argument:
        if isinstance(argument, Memory):
            return replace(argument, tensor=same.get(argument.tensor, argument.tensor))
        return argument

    return replace(
        step,
        arguments=tuple(map(named, step.arguments)),
        inputs=tuple(same.get(i, i) for i in step.inputs),
        output=same.get(step.output, step.output),
        lags={same.get(i, i): lag for i, lag in step.lags.items()},
        replaces=frozenset(same.get(i, i) for i in step.replaces),
    )
