"""Which devices are meant, and in which form a model goes to each."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

from listen_embed.errors import InputError
from listen_embed.fleet.things.capabilities import Device, Form, Model
from listen_embed.fleet.things.match import verdict
from listen_embed.fleet.things.registry import Registry

_SPARQL = re.compile(r"\s*(prefix|select)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A device, the form in which the model goes there, or why it does not."""

    device: Device
    form: Form | None
    why: str = ""


def meant(registry: Registry, query: str) -> list[Device]:
    """Return the devices that a query means.

    Parameters
    ----------
    registry : Registry
    query : str
        Names with wildcards (``"hall3-*"``), or a SPARQL SELECT whose first variable is devices.

    Raises
    ------
    InputError
        It means none.
    """
    if _SPARQL.match(query):
        named = {next(iter(row.values()), "") for row in registry.select(query)}
        chosen = [one for one in registry.devices() if one in named]
        devices = [registry.get(one) for one in chosen]
    else:
        everything = (registry.get(one) for one in registry.devices())
        devices = [one for one in everything if fnmatch.fnmatchcase(_name(one), query)]
    found = [one for one in devices if isinstance(one, Device)]
    if not found:
        known = len(registry.devices())
        raise InputError(f"{query!r} means none of the {known} devices; give names or a SELECT")
    return found


def _name(one: Device | Model) -> str:
    return one.name if isinstance(one, Device) else ""


def targets(model: Model, devices: Iterable[Device], kind: str) -> list[Target]:
    """Return in which form of a kind a model goes to each device."""
    return [_target(model, device, kind) for device in devices]


def _target(model: Model, device: Device, kind: str) -> Target:
    found = verdict(model, device)
    fitting = [form for form in found.forms if form.kind == kind]
    if fitting:
        return Target(device, fitting[0])
    reasons = (
        f"{name}: {'; '.join(why)}" for name, why in found.reasons.items() if name.startswith(kind)
    )
    return Target(device, None, " | ".join(reasons) or f"the model has no form {kind}")
