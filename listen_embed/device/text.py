"""Numbers, arrays and structs as C99."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np

from listen_embed.device.memory import Layout
from listen_embed.device.steps import (
    Argument,
    Array,
    Channels,
    Exact,
    Factor,
    Factors,
    Fields,
    Memory,
    Mode,
    Plan,
    Scratch,
    Step,
    Struct,
    Table,
)
from listen_embed.errors import InputError

_LINE = 96


def float_literal(value: float) -> str:
    """Return a C float: nine significant digits, which tell every float32, and a decimal point."""
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    if not np.isfinite(single):
        raise InputError(f"{value!r} does not fit a C float")
    digits = f"{single:.9g}"
    mantissa, separator, exponent = digits.partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}{separator}{exponent}f"


def in_comment(text: str) -> str:
    """Return a text in ASCII that cannot end a comment, nor escape from it by a trigraph."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    harmless = re.sub(r"[*\\]|\?(?=\?)", "", plain)
    return " ".join(harmless.split()) or "not stated"


def define(name: str, value: Any) -> str:
    """Return one line of a header."""
    return f"#define {name} {float_literal(value) if isinstance(value, float) else value}"


def array(name: str, content: Array, storage: str = "static const") -> str:
    """Return the definition of constant values."""
    return _array(name, content.kind, map(_literal, content.values.tolist()), storage)


def _array(name: str, kind: str, literals: Iterator[str], storage: str = "static const") -> str:
    items = list(literals)
    return f"{storage} {kind} {name}[{len(items)}] = {{\n{_wrapped(items)}\n}};\n"


def _wrapped(items: list[str]) -> str:
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > _LINE:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


def _literal(value: float | int) -> str:
    if isinstance(value, float):
        return float_literal(value)
    return "INT32_MIN" if value == -(1 << 31) else str(value)


def _limit(value: float) -> str:
    """Return the C of an endless limit, from math.h."""
    return "-INFINITY" if value < 0 else "INFINITY"


def _factor(one: Factor, mode: Mode) -> str:
    if mode == "reference":
        return f"{{{one.multiplier}, {one.shift}}}"
    return float_literal(one.single)


def network(plan: Plan, layout: Layout, mode: Mode) -> str:
    """Return the constants of all steps, and the function that runs them one after the other."""
    constants, calls = [], []
    for number, step in enumerate(plan.steps):
        writer = _StepWriter(number, layout, mode)
        call = writer.call(step)
        constants.append("\n".join(writer.definitions))
        calls.append(f"    /* {step.title} */\n    {call}")
    body = "\n".join(calls)
    return "\n".join(constants) + f"\n{prototype(layout)}\n{{\n{body}\n}}\n"


def prototype(layout: Layout) -> str:
    """Return the head of the function that runs a network."""
    state = ", int8_t *state" if layout.state else ""
    return f"void listen_network(int8_t *arena{state})"


class _StepWriter:
    """Write the constants of one step, and its call."""

    def __init__(self, number: int, layout: Layout, mode: Mode) -> None:
        self.definitions: list[str] = []
        self._number = number
        self._layout = layout
        self._mode = mode

    def call(self, step: Step) -> str:
        arguments = ", ".join(map(self._argument, step.arguments))
        call = f"{step.function}({arguments});"
        if step.repeats == 1:
            return call
        return (
            f"for (int32_t image = 0; image < {step.repeats}; image++) {{\n        {call}\n    }}"
        )

    def _argument(self, argument: Argument) -> str:
        if isinstance(argument, Struct):
            return f"&{self._struct(argument)}"
        if isinstance(argument, Array):
            return self._constant("values", argument)
        if isinstance(argument, Memory):
            return self._place(argument)
        if isinstance(argument, Scratch):
            return f"arena + {self._layout.scratches[self._number]}"
        return str(argument)

    def _place(self, memory: Memory) -> str:
        if memory.tensor in self._layout.state:
            return f"state + {self._layout.state[memory.tensor] + memory.offset}"
        begin = f"arena + {self._layout.tensors[memory.tensor] + memory.offset}"
        return begin + (f" + image * {memory.stride}" if memory.stride else "")

    def _struct(self, struct: Struct) -> str:
        name = f"step_{self._number}"
        body = self._fields(struct.fields, "    ")
        self.definitions.append(f"static const {struct.kind} {name} = {{\n{body}\n}};\n")
        return name

    def _fields(self, fields: Fields, indent: str) -> str:
        return "\n".join(
            f"{indent}.{name} = {self._value(name, value)}," for name, value in fields.items()
        )

    def _value(self, name: str, value: Any) -> str:
        if isinstance(value, Array):
            return self._constant(name.rpartition(".")[2], value)
        if isinstance(value, float):
            return float_literal(value) if math.isfinite(value) else _limit(value)
        if isinstance(value, Exact):
            one = value.factors
            if isinstance(one, Factors):
                return self._factors(name, one, "listen_exact", "reference")
            return _factor(one, "reference")
        if isinstance(value, Factors):
            return self._factors(name, value, "listen_factor", self._mode)
        if isinstance(value, Factor):
            return _factor(value, self._mode)
        if isinstance(value, Channels):
            return self._channels(name, value)
        if isinstance(value, Table):
            return f"{self._constant(name, value.values)} + 128"
        if isinstance(value, tuple):
            return "{" + ", ".join(map(str, value)) + "}"
        if isinstance(value, dict):
            inner = (f".{key} = {self._value(key, one)}" for key, one in value.items())
            return "{" + ", ".join(inner) + "}"
        return str(value)

    def _constant(self, what: str, content: Array) -> str:
        name = self._named(what)
        self.definitions.append(array(name, content))
        return name

    def _factors(self, what: str, factors: Factors, kind: str, mode: Mode) -> str:
        name = self._named(what)
        literals = (_factor(one, mode) for one in factors.each)
        self.definitions.append(_array(name, kind, literals))
        return name

    def _channels(self, what: str, channels: Channels) -> str:
        name = self._named(what)
        rates = (
            _factor(rate, "reference") if isinstance(rate, Factor) else _literal(rate)
            for rate in channels.rates
        )
        pairs = zip(map(_literal, channels.biases), rates, strict=True)
        literals = (f"{{{bias}, {rate}}}" for bias, rate in pairs)
        self.definitions.append(_array(name, "listen_channel", literals))
        return name

    def _named(self, what: str) -> str:
        taken = sum(f" {what}_{self._number}" in text for text in self.definitions)
        return f"{what}_{self._number}" + (f"_{taken}" if taken else "")
