"""What a network becomes on the way to C: calls of kernels, each with all of its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

_SIZES = {"int8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "float": 4}

Mode = Literal["xnn", "reference"]


@dataclass(frozen=True, eq=False)
class Array:
    """Constant values in flash; ``kind`` is the C type of one, which may be a factor's."""

    kind: str
    values: NDArray[Any]

    @property
    def n_bytes(self) -> int:
        """Bytes in flash."""
        return len(self.values) * _SIZES[self.kind]


@dataclass(frozen=True)
class Factor:
    """A real factor, for both roundings: single precision, and multiplier * 2^(shift - 31)."""

    single: float
    multiplier: int
    shift: int


@dataclass(frozen=True)
class Factors:
    """One factor for each channel."""

    each: tuple[Factor, ...]


@dataclass(frozen=True)
class Exact:
    """Factors that are whole multipliers in both roundings: one, or one for each channel."""

    factors: Factor | Factors


@dataclass(frozen=True)
class Channels:
    """Of each channel what listen_channel is: a bias, and a rate, which may be a factor's."""

    biases: tuple[int, ...]
    rates: tuple[Factor | int, ...]


@dataclass(frozen=True)
class Table:
    """A function of int8, from -128 on, of which C knows the middle."""

    values: Array


@dataclass(frozen=True)
class Memory:
    """A tensor of the graph, in the arena, from one of its bytes on.

    Where a step is repeated, each repetition begins `stride` bytes behind the one before.
    """

    tensor: int
    offset: int = 0
    stride: int = 0


@dataclass(frozen=True)
class Scratch:
    """Memory that one step needs while it runs, aligned to four bytes."""

    n_bytes: int


Field: TypeAlias = (
    "int | float | Factor | tuple[int, ...] | Array | Factors | Exact | Channels | Table"
    " | Mapping[str, Field]"
)
Fields: TypeAlias = Mapping[str, Field]


@dataclass(frozen=True)
class Struct:
    """Constants of one call, in flash: a struct of listen_kernels.h."""

    kind: str
    fields: Fields


Argument: TypeAlias = Struct | Array | Memory | Scratch | int


@dataclass(frozen=True)
class Step:
    """One call of a kernel.

    Attributes
    ----------
    title : str
        The operators of the graph that it stands for.
    function : str
        Of listen_kernels.h.
    arguments : tuple
        In the order of the C function; the output is last among the tensors.
    inputs : tuple of int
        Tensors that are read.
    output : int
        The tensor that is written.
    lags : mapping of int to int
        For an input whose memory the output may overwrite while the step runs: how many bytes after
        the output it must begin at least. An input without a lag must lie apart.
    repeats : int
        How often it runs: once for each image of a batch.
    replaces : set of int
        Inputs in whose very place the output may lie, from the same byte on.
    """

    title: str
    function: str
    arguments: tuple[Argument, ...]
    inputs: tuple[int, ...]
    output: int
    lags: Mapping[int, int]
    repeats: int = 1
    replaces: frozenset[int] = frozenset()

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch memory."""
        return sum(a.n_bytes for a in self.arguments if isinstance(a, Scratch))


@dataclass(frozen=True)
class Plan:
    """A network as steps, with the bytes of every tensor that takes memory.

    Its inputs come in the order of its signature. Tensors of a state have places in memory of its
    own, which outlasts a run.
    """

    steps: tuple[Step, ...]
    n_bytes: Mapping[int, int]
    taken: tuple[int, ...]
    given: int
    state: Mapping[int, int] = field(default_factory=dict)
    state_bytes: int = 0


def int8(values: NDArray[Any]) -> Array:
    """Return int8 constants."""
    return Array("int8_t", np.ascontiguousarray(values, np.int8).ravel())


def int32(values: NDArray[Any]) -> Array:
    """Return int32 constants."""
    return Array("int32_t", np.ascontiguousarray(values, np.int32).ravel())


def constants_bytes(plan: Plan) -> int:
    """Return the bytes of flash that the arrays of all steps take."""
    return sum(_bytes_of(argument) for step in plan.steps for argument in step.arguments)


def _bytes_of(value: Any) -> int:
    if isinstance(value, Array):
        return value.n_bytes
    if isinstance(value, Factors):
        return 4 * len(value.each)
    if isinstance(value, Exact):
        return 2 * _bytes_of(value.factors)
    if isinstance(value, Channels):
        return sum(8 if isinstance(rate, int) else 12 for rate in value.rates)
    if isinstance(value, Table):
        return value.values.n_bytes
    if isinstance(value, Struct):
        return _bytes_of(value.fields)
    if isinstance(value, Mapping):
        return sum(map(_bytes_of, value.values()))
    return 0
