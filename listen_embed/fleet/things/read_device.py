"""A device from a Thing Description, ours or another's, its amounts in bytes and hertz."""

from __future__ import annotations

from typing import Any

from pyoxigraph import NamedNode

from listen_embed.device.parts import Microphone
from listen_embed.errors import InputError
from listen_embed.fleet.things.capabilities import PYTHON, C, Device, Runtime
from listen_embed.fleet.things.describe_device import python_runtime
from listen_embed.fleet.things.terms import iri, runtime_iri, short_name
from listen_embed.fleet.things.triples import Node, Triples
from listen_embed.fleet.things.units import BYTES, HERTZ, amount

_VALUES = ("qudt:numericValue", "schema:value")
_UNITS = ("qudt:hasUnit", "qudt:unit", "schema:unitCode")
_CLASSES = {"RAM": ("le:RAM", "s3n_extend:RAM"), "Flash": ("le:Flash", "s3n_extend:Flash")}
_MAX_MICROPHONES = 64


def is_device(told: Triples, about: str) -> bool:
    """Whether a description is that of a device."""
    classes = told.classes(NamedNode(about))
    return bool(classes & {iri("s3n:SmartSensor"), iri("sosa:Platform"), iri("td:Thing")})


def read_device(told: Triples, about: str) -> Device:
    """Return what a device has.

    Read are our terms and those of the vocabulary's authors; memory without a kind is RAM. A
    number may be tagged with a language and stand in any unit, but one must be stated.

    Raises
    ------
    InputError
        An amount without a unit, in an unknown one, or stated twice; it says which.
    """
    try:
        return _device(told, about)
    except InputError as error:
        raise InputError(f"{short_name(about)}: {error}") from error


def _device(told: Triples, about: str) -> Device:
    thing = NamedNode(about)
    chip = _controller(told)
    total_ram, ram = _memory(told, "RAM")
    total_flash, flash = _memory(told, "Flash")
    clock = told.one(chip, "le:clock")
    return Device(
        iri=about,
        title=told.text(thing, "td:title", "rdfs:label") or short_name(about),
        board=told.text(chip, "le:board"),
        processor=told.text(chip, "le:processor"),
        system=told.text(chip, "le:operatingSystem"),
        ram=ram,
        flash=flash,
        total_ram=total_ram,
        total_flash=total_flash,
        has_fpu=told.flag(chip, "le:hasFloatingPointUnit"),
        clock_hz=None if clock is None else quantity(told, clock, "the clock", HERTZ),
        microphones=tuple(sorted(_microphones(told), key=lambda one: one.name)),
        runtimes=tuple(_runtime(told, one) for one in told.all(chip, "le:runs")),
        base=told.text(thing, "td:baseURI"),
    )


def _controller(told: Triples) -> Node:
    found = told.of_class("s3n:MicroController")
    if len(found) != 1:
        raise InputError(f"it has {len(found)} nodes s3n:MicroController; describe one")
    return found[0]


def _memory(told: Triples, kind: str) -> tuple[int | None, int | None]:
    """Return the bytes of a kind of memory: all, and those that a model may take."""
    nodes = [node for node in told.of_class("s3n:Memory") if _is_of_kind(told, node, kind)]
    nodes = [node for node in nodes if told.all(node, *_VALUES)]
    free = [node for node in nodes if iri("le:Free") in told.classes(node)]
    total = _only(told, [node for node in nodes if node not in free], kind)
    may_take = _only(told, free, f"free {kind}")
    if total is not None and may_take is not None and may_take > total:
        raise InputError(f"{may_take:,} bytes of {kind} are free, more than there are ({total:,})")
    return total, total if may_take is None else may_take


def _is_of_kind(told: Triples, node: Node, kind: str) -> bool:
    classes = told.classes(node)
    if any(iri(one) in classes for one in _CLASSES[kind]):
        return True
    stated = {iri(one) for names in _CLASSES.values() for one in names}
    return kind == "RAM" and not classes & stated


def _only(told: Triples, nodes: list[Node], what: str) -> int | None:
    found = {quantity(told, node, what, BYTES) for node in nodes}
    if len(found) > 1:
        said = " and ".join(f"{one:,} bytes" for one in sorted(found))
        raise InputError(f"{what} is stated as {said}; state one")
    return found.pop() if found else None


def quantity(
    told: Triples,
    node: Node,
    what: str,
    table: dict[str, int],
    values: tuple[str, ...] = _VALUES,
) -> int:
    """Return a node's amount in the table's base unit.

    Raises
    ------
    InputError
        It has none, none with a unit, or several.
    """
    value = told.one(node, *values)
    if value is None:
        raise InputError(f"{what} has no value; state {values[0]} and {_UNITS[0]}")
    return amount(what, str(value.value), _unit(told.one(node, *_UNITS)), table)


def _unit(stated: Any | None) -> str | None:
    return None if stated is None else str(stated.value)


def _microphones(told: Triples) -> list[Microphone]:
    nodes = told.of_class("le:Microphone")
    if len(nodes) > _MAX_MICROPHONES:
        raise InputError(f"it has {len(nodes)} microphones; {_MAX_MICROPHONES} are allowed")
    return [_microphone(told, node) for node in nodes]


def _microphone(told: Triples, node: Node) -> Microphone:
    name = told.text(node, "rdfs:label")
    what = f"the sample rate of microphone {name!r}"
    stated = told.all(node, "le:sampleRate")
    if not stated:
        raise InputError(f"{what} is not stated; add le:sampleRate")
    return Microphone(name, tuple(sorted({quantity(told, one, what, HERTZ) for one in stated})))


def _runtime(told: Triples, node: Node) -> Runtime:
    name = short_name(str(node.value))
    if node.value == runtime_iri(PYTHON):
        return python_runtime()
    if name == C:
        return Runtime(C)
    return Runtime(name, frozenset(str(one.value) for one in told.all(node, "le:operator")))
