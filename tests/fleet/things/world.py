"""Devices and descriptions that the tests of things share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from listen_embed.device.parts import Microphone
from listen_embed.fleet.things.capabilities import C, Device, Form, Model, Runtime
from listen_embed.fleet.things.describe_device import (
    describe_device,
    device_of_part,
    part_named,
    python_runtime,
)
from listen_embed.fleet.things.terms import thing_iri

NANO = "sea/32/nano"
# Where the build puts the official JSON Schema of Thing Descriptions; it is not ours to ship.
TD_SCHEMA = Path(__file__).parents[3] / ".td-schema" / "td-schema.json"


def board(name: str = "one", part: str = "nano33", **changes: Any) -> Device:
    """Return a device made of a known part."""
    return replace(device_of_part(part_named(part), name), **changes)


def gateway(name: str = "gateway", **changes: Any) -> Device:
    """Return a computer with a microphone and this package."""
    device = Device(
        iri=thing_iri(name), title=name, board="computer", processor="aarch64", system="Linux",
        ram=900_000_000, total_ram=2_000_000_000, flash=8_000_000_000, total_flash=16_000_000_000,
        has_fpu=True, microphones=(Microphone("usb", (44_100, 48_000)),),
        runtimes=(python_runtime(),),
    )  # fmt: skip
    return replace(device, **changes)


def interpreter(*operators: str) -> Runtime:
    """Return an interpreter that has some operators only."""
    return Runtime("tflm", frozenset(operators))


def written(**changes: Any) -> dict[str, Any]:
    """Return a Thing Description of a board, its micro-controller changed."""
    document = describe_device(board())
    document["ssn:hasSubSystem"][0] |= changes
    return document


def with_memory(*memories: dict[str, Any]) -> dict[str, Any]:
    """Return a Thing Description with these memories."""
    return written(**{"s3n:hasSystemCapability": {"ssn-system:hasSystemProperty": list(memories)}})


def ram(value: Any, unit: Any = None, kind: str = "le:RAM") -> dict[str, Any]:
    """Return memory as somebody else may have written it."""
    told = {"@type": ["s3n:Memory", kind], "qudt:numericValue": value}
    return told if unit is None else told | {"qudt:hasUnit": unit}


def form(**changes: Any) -> Form:
    """Return a form of C that is easily satisfied."""
    usual: dict[str, Any] = {"kind": C, "arithmetic": "float", "ram": 1000, "flash": 1000}
    return Form(**usual | {"needs_fpu": True, "rate": 16_000} | changes)


def model(*forms: Form, name: str = "made/1/up") -> Model:
    """Return a model of these forms."""
    return Model(iri=f"urn:test:{name}", name=name, digest="0" * 64, emb_dim=1, forms=forms)
