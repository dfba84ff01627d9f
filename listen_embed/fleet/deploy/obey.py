"""What a device checks before it does what a manifest says."""

from __future__ import annotations

from datetime import UTC, datetime

from listen_embed.fleet.deploy.manifest import Manifest
from listen_embed.fleet.deploy.refusal import Refusal
from listen_embed.fleet.deploy.slots import Fetch, Slots
from listen_embed.fleet.things.capabilities import Device
from listen_embed.fleet.things.match import shortfalls

# Clocks may differ by so many seconds.
_SKEW_S = 600


def obey(manifest: Manifest, device: Device, slots: Slots, now: float, fetch: Fetch) -> None:
    """Check a manifest whose signature was checked, and do what it says.

    Raises
    ------
    Refusal
        It is another device's, expired or from the future, not newer than what was obeyed before,
        or asks for what this device has not; it says which.
    """
    check(manifest, device, slots.state.sequence, now)
    if manifest.action == "rollback":
        slots.roll_back(manifest)
    else:
        slots.install(manifest, fetch)


def check(manifest: Manifest, device: Device, sequence: int, now: float) -> None:
    """Raise `Refusal` for a manifest that this device must not obey now."""
    if manifest.target != device.iri:
        raise Refusal(f"the manifest is for {manifest.target}, this is {device.iri}")
    if manifest.sequence <= sequence:
        raise Refusal(
            f"the manifest's sequence {manifest.sequence} is not above {sequence}: old, or replayed"
        )
    if now > manifest.expires:
        raise Refusal(f"the manifest expired at {_said(manifest.expires)}; it is {_said(now)} here")
    if now < manifest.issued - _SKEW_S:
        raise Refusal(
            f"the manifest was issued at {_said(manifest.issued)}, but it is {_said(now)} here; "
            "set this device's clock"
        )
    if manifest.needs is not None and (lacks := shortfalls(manifest.needs, device)):
        raise Refusal(f"{manifest.model} does not run here: {'; '.join(lacks)}")


def _said(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
