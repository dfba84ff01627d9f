"""``listen_model.h`` and ``listen_model.c``: all that differs from model to model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from listen_embed.device import fixed, picture, values, waveform
from listen_embed.device.lowering import inputs_of, lower
from listen_embed.device.memory import Layout
from listen_embed.device.remembering import with_state
from listen_embed.device.steps import Mode, Plan, Step, Struct, constants_bytes
from listen_embed.device.text import array, define, in_comment, network, prototype
from listen_embed.device.widening import arranged
from listen_embed.errors import InputError
from listen_embed.framing import hop_in_samples
from listen_embed.graph import Graph, TensorInfo, macs, read_graph
from listen_embed.simplified import without_state
from listen_embed.spec import ModelSpec

MODES: tuple[Mode, ...] = ("xnn", "reference")
Samples = Literal["int16", "float32"]
SAMPLES: tuple[Samples, ...] = ("int16", "float32")

Arithmetic = Literal["float", "fixed"]
ARITHMETICS: tuple[Arithmetic, ...] = ("float", "fixed")
# Most that linked code, calls and state take on a Cortex-M at -O2, and the stack with a margin.
_CODE_BYTES, _STACK_BYTES = 18_944, 1_024
_CHOICES = (("mode", MODES), ("samples", SAMPLES), ("arithmetic", ARITHMETICS))

_HEADER = """\
/* {title}, as C. Written by listen-embed {version}; not to be edited.
 * Licence of the weights: {licence}. Source: {source}.
 */
#ifndef LISTEN_MODEL_H
#define LISTEN_MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* ---- the network ---- */
{network}

/* ---- how samples become what the network takes ---- */
{front_end}

typedef {value} listen_value;

{tables}

/* Run the network on the input that lies in its arena. */
{prototype};

/* Sizes that do not fit together stop the compiler here. */
typedef char listen_check_input[LISTEN_BANDS * LISTEN_STEPS == LISTEN_INPUT_SIZE ? 1 : -1];
typedef char listen_check_arena[LISTEN_ARENA_BYTES >= LISTEN_FRONT_END_BYTES ? 1 : -1];
typedef char listen_check_columns
    [LISTEN_LEFT_COLUMNS + LISTEN_INNER_COLUMNS + LISTEN_RIGHT_COLUMNS == LISTEN_STEPS ? 1 : -1];

#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
/* {title}: the constants, and the calls of its operators. Written by listen-embed. */
#include "listen_model.h"

#include "listen_kernels.h"
#include "listen_kernels32.h"

{tables}
{network}"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the C shall be like.

    Parameters
    ----------
    mode : {"xnn", "reference"}
        Whose rounding: ``xnn`` gives the embeddings of this package, ``reference`` those of
        TensorFlow Lite for Microcontrollers.
    hop_size : float, optional
        Seconds between frames, a multiple of the step between columns; None puts frames side by
        side. A model that streams has steps of its own.
    samples : {"int16", "float32"}
        What the device's microphone gives.
    arithmetic : {"float", "fixed"}
        Of the front end: ``fixed`` is for parts without a floating-point unit, several times as
        fast there; it takes int16.
    frame_size : float, optional
        Seconds that an embedding hears, 0.1 to 60; None is the model's own. RAM grows with it.
    """

    mode: Mode = "xnn"
    hop_size: float | None = None
    samples: Samples = "int16"
    arithmetic: Arithmetic = "float"
    frame_size: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES:
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}"
                )


@dataclass(frozen=True)
class Memory:
    """Bytes of flash that constants take, and of RAM that all else takes.

    That is arena, columns, samples, and what a network remembers.
    """

    constants: int
    arena: int
    columns: int
    samples: int
    state: int = 0

    @property
    def flash(self) -> int:
        """Bytes of flash that suffice for constants and code."""
        return self.constants + _CODE_BYTES

    @property
    def ram(self) -> int:
        """Bytes of RAM that suffice for all memory and the stack."""
        return self.arena + self.columns + self.samples + self.state + _STACK_BYTES


@dataclass(frozen=True)
class ModelSource:
    """The two files, and what is known about them before a compiler runs."""

    header: str
    source: str
    plan: Plan
    layout: Layout
    frame_hop: int
    memory: Memory
    macs: int
    digest: str
    is_float: bool


def model_source(
    model: bytes, spec: ModelSpec, options: Options, version: str, digest: str = ""
) -> ModelSource:
    """Return a model's own C.

    `model` and `spec` are of the frames' length already; `digest` is that of the model as it is
    published, by default theirs.

    Raises
    ------
    InputError
        A front end, an operator or a type that there is no C for.
    ConversionError
        The bytes are not a .tflite.
    """
    picture.check(spec.front_end)
    graph, state = without_state(read_graph(model), spec.state)
    _check_mode(spec, graph, options)
    plan, layout = arranged(with_state(lower(graph, options.mode), graph, state))
    hop = _frame_hop(spec, options)
    digest = digest or spec.digest(model)
    texts = {
        "title": in_comment(spec.name),
        "licence": in_comment(spec.licence),
        "source": in_comment(spec.source),
        "version": version,
        "value": values.kind_of(_input(graph)),
        "prototype": prototype(layout),
    }
    numbers = picture.constants(spec.front_end, hop)
    tables = picture.tables(spec.front_end)
    if options.arithmetic == "fixed":
        fixed.check(spec.front_end, _input(graph), options.samples)
        numbers |= fixed.constants(spec.front_end, _input(graph))
        tables = fixed.tables(spec.front_end)
    tables |= waveform.tables(spec.front_end)
    header = _HEADER.format(
        **texts,
        network=_defines(_network_constants(model, graph, plan, layout, spec, options, digest)),
        front_end=_defines(numbers),
        tables="\n".join(
            f"extern const {table.kind} {name}[{len(table.values)}];"
            for name, table in tables.items()
        ),
    )
    definitions = (array(name, table, "const") for name, table in tables.items())
    source = _SOURCE.format(
        title=texts["title"],
        tables="\n".join(definitions),
        network=network(plan, layout, options.mode),
    )
    memory = Memory(
        constants_bytes(plan) + sum(one.n_bytes for one in tables.values()),
        max(layout.n_bytes, picture.scratch_bytes(spec.front_end)),
        picture.column_bytes(spec.front_end, hop, values.is_float(_input(graph))),
        picture.sample_bytes(spec.front_end, hop, options.samples == "float32")
        + waveform.sample_bytes(spec.front_end, options.samples == "float32"),
        plan.state_bytes,
    )
    is_float = values.is_float(_input(graph))
    return ModelSource(header, source, plan, layout, hop, memory, macs(model), digest, is_float)


def _defines(constants: dict[str, Any]) -> str:
    return "\n".join(define(f"LISTEN_{name}", value) for name, value in constants.items())


def _frame_hop(spec: ModelSpec, options: Options) -> int:
    rate = spec.front_end.sample_rate
    if spec.streams:
        return _step(spec, options)
    if options.hop_size is None:
        step = spec.front_end.hop_samples
        return -(-spec.front_end.frame_samples // step) * step
    hop = hop_in_samples(options.hop_size, rate)
    if hop.denominator != 1:
        raise InputError(
            f"hop_size is {options.hop_size} s, no whole number of samples at {rate} Hz"
        )
    return int(hop)


def _check_mode(spec: ModelSpec, graph: Graph, options: Options) -> None:
    if values.is_float(_input(graph)) and options.mode == "reference":
        raise InputError(f"{spec.name} computes in float, where there is one rounding: mode is xnn")


def _step(spec: ModelSpec, options: Options) -> int:
    if options.hop_size not in (None, spec.step_seconds):
        raise InputError(
            f"hop_size is {options.hop_size} s; in C {spec.name} gives an embedding after each of "
            f"its steps of {spec.step_seconds:g} s: leave it out"
        )
    return spec.step_samples


def _network_constants(
    model: bytes, graph: Graph, plan: Plan, layout: Layout, spec: ModelSpec, options: Options,
    digest: str,
) -> dict[str, Any]:  # fmt: skip
    taken, given = _input(graph), graph.tensors[graph.outputs[0]]
    _check_fits(spec, graph)
    least = picture.scratch_bytes(spec.front_end)
    return {
        "REFERENCE": int(options.mode == "reference"),
        "SAMPLES_ARE_FLOAT": int(options.samples == "float32"),
        "FIXED_POINT": int(options.arithmetic == "fixed"),
        **_filter_constants(plan),
        "MACS": macs(model),
        "ARENA_BYTES": max(layout.n_bytes, least),
        "INPUT_AT": layout.tensors[plan.taken[0]],
        "INPUT_SIZE": math.prod(taken.shape),
        "OUTPUT_AT": layout.tensors[plan.given],
        "EMBEDDING_SIZE": math.prod(given.shape),
        "STATE_BYTES": plan.state_bytes,
        **values.constants(taken, given),
        "DIGEST": f'"{digest}"',
        **_wave_constants(graph, plan, layout, spec),
    }


def _wave_constants(graph: Graph, plan: Plan, layout: Layout, spec: ModelSpec) -> dict[str, Any]:
    if not waveform.has_wave(spec.front_end):
        return {"WAVE_SAMPLES": 0}
    (_, wave) = plan.taken
    return waveform.constants(spec.front_end, graph.tensors[wave], layout.tensors[wave])


def _input(graph: Graph) -> TensorInfo:
    return graph.tensors[inputs_of(graph)[0]]


def _check_fits(spec: ModelSpec, graph: Graph) -> None:
    front_end = spec.front_end
    wave = [front_end.wave_samples] if waveform.has_wave(front_end) else []
    wanted = [front_end.n_bands * front_end.n_steps, *wave, spec.emb_dim]
    ends = [graph.tensors[i] for i in (*inputs_of(graph), *graph.outputs)]
    if [math.prod(tensor.shape) for tensor in ends] != wanted:
        raise InputError(
            f"{spec.name}: front end and emb_dim come to {wanted} values, but the network takes "
            f"and gives {[tensor.shape for tensor in ends]}"
        )


def _filter_constants(plan: Plan) -> dict[str, int]:
    """Return what the kernels must be ready for."""
    kernels = [_kernel(step) for step in plan.steps]
    return {
        "MAX_ROWS": max((height for height, _, _ in kernels), default=1),
        "MAX_COLUMNS": max((width for _, width, _ in kernels), default=1),
        "ANY_FILTERS": int(any(is_any for _, _, is_any in kernels)),
        "ANY_PATCHES": int(any(map(_takes_patches, plan.steps))),
    }


def _takes_patches(step: Step) -> bool:
    """Whether a convolution gathers what is under its kernel."""
    first = step.arguments[0]
    if not isinstance(first, Struct) or first.kind != "listen_conv":
        return False
    place = first.fields["place"]
    assert isinstance(place, dict)
    sizes = (place["kernel_height"], place["kernel_width"], place["stride_y"], place["stride_x"])
    return sizes != (1, 1, 1, 1) or place["in_channels"] != first.fields["depth"]


def _kernel(step: Step) -> tuple[int, int, bool]:
    """Return a filter's height and width, and whether C has no words of its own for it."""
    first = step.arguments[0]
    if not isinstance(first, Struct) or first.kind != "listen_depthwise":
        return 1, 1, False
    place = first.fields["place"]
    assert isinstance(place, dict)
    height, width = place["kernel_height"], place["kernel_width"]
    is_quick = (height, width) == (3, 3) or width == 5
    is_any = not is_quick or place["stride_x"] > 2 or place["dilation_x"] != 1
    return height, width, is_any
