"""A device as a W3C Thing Description 1.1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from listen_embed.device.parts import PARTS, Part
from listen_embed.errors import InputError
from listen_embed.fleet.things.capabilities import PYTHON, C, Device, Runtime
from listen_embed.fleet.things.terms import OWN_CONTEXT, TD_CONTEXT, runtime_iri, thing_iri
from listen_embed.upstream.graph import schema

_MEMORIES = (("RAM", "total_ram", "ram"), ("Flash", "total_flash", "flash"))


def device_of_part(part: Part, name: str | None = None) -> Device:
    """Return what a device has that is made of a part that this package knows."""
    return Device(
        iri=thing_iri(name or part.name),
        title=name or part.title,
        board=part.name,
        processor=part.processor,
        system="none",
        ram=part.free_ram,
        flash=part.free_flash,
        total_ram=part.ram,
        total_flash=part.flash,
        has_fpu=part.has_fpu,
        clock_hz=part.clock_hz,
        microphones=part.microphones,
        runtimes=(Runtime(C),),
    )


def part_named(name: str) -> Part:
    """Return a part by its name; raise `InputError` with the names there are."""
    found = next((part for part in PARTS if part.name == name), None)
    if found is None:
        raise InputError(f"no part {name!r}; there are {', '.join(p.name for p in PARTS)}")
    return found


def python_runtime() -> Runtime:
    """Return this package as something that runs models: all of the schema's operators."""
    names = (name for name in vars(schema().BuiltinOperator) if name.isupper())
    return Runtime(PYTHON, frozenset(names) - {"CUSTOM", "DELEGATE"})


def describe_device(device: Device) -> dict[str, Any]:
    """Return a device's Thing Description.

    Memory has the classes ``s3n:Memory`` and ``le:RAM`` or ``le:Flash``, ``le:Free`` beside it
    where not all of it may be used, and stands in bytes.
    """
    told: dict[str, Any] = {
        "@context": [TD_CONTEXT, OWN_CONTEXT],
        "@type": "s3n:SmartSensor",
        "id": device.iri,
        "title": device.title,
        "securityDefinitions": {"nosec_sc": {"scheme": "nosec"}},
        "security": "nosec_sc",
        "ssn:hasSubSystem": [_controller(device), *_microphones(device)],
    }
    if device.base:
        told |= {"base": device.base, "properties": _properties()}
    return told


def _properties() -> dict[str, Any]:
    form = {"href": "status", "contentType": "application/json", "op": "observeproperty"}
    about = {"type": "object", "readOnly": True, "observable": True, "forms": [form]}
    return {"status": {"title": "model, version and health", **about}}


def _controller(device: Device) -> dict[str, Any]:
    told: dict[str, Any] = {
        "@type": "s3n:MicroController",
        "le:board": device.board,
        "le:processor": device.processor,
        "le:operatingSystem": device.system,
        "le:hasFloatingPointUnit": device.has_fpu,
        "le:runs": [_runtime(runtime) for runtime in device.runtimes],
        "s3n:hasSystemCapability": {
            "@type": "ssn-system:SystemCapability",
            "ssn-system:hasSystemProperty": list(_memories(device)),
        },
    }
    if device.clock_hz is not None:
        told["le:clock"] = quantity(device.clock_hz, "HZ")
    return told


def _memories(device: Device) -> Iterable[dict[str, Any]]:
    for kind, total, free in _MEMORIES:
        has, may_take = getattr(device, total), getattr(device, free)
        classes = ["s3n:Memory", f"le:{kind}"]
        if has is not None:
            yield {"@type": classes, **quantity(has, "BYTE")}
        if may_take is not None and may_take != has:
            yield {"@type": [*classes, "le:Free"], **quantity(may_take, "BYTE")}


def _runtime(runtime: Runtime) -> dict[str, Any]:
    told: dict[str, Any] = {"@id": runtime_iri(runtime.name)}
    if runtime.operators is not None and runtime.name != PYTHON:
        told["le:operator"] = sorted(runtime.operators)
    return told


def _microphones(device: Device) -> list[dict[str, Any]]:
    return [
        {
            "@type": ["sosa:Sensor", "le:Microphone"],
            "rdfs:label": one.name,
            "le:sampleRate": [quantity(rate, "HZ") for rate in one.rates],
        }
        for one in device.microphones
    ]


def quantity(value: int, unit: str) -> dict[str, Any]:
    """Return an amount with its unit, as QUDT says it."""
    return {"qudt:numericValue": value, "qudt:hasUnit": {"@id": f"unit:{unit}"}}
