"""The computer that this runs on, as a device."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from listen_embed.device.parts import Microphone
from listen_embed.errors import InputError
from listen_embed.fleet.things.capabilities import Device
from listen_embed.fleet.things.describe_device import python_runtime
from listen_embed.fleet.things.terms import thing_iri


def this_computer(
    name: str | None = None,
    microphones: tuple[Microphone, ...] = (),
    folder: Path | None = None,
) -> Device:
    """Return what this computer has: memory that is free now, disk, and this package.

    Parameters
    ----------
    name : str, optional
        None takes the host's.
    microphones : tuple of Microphone
        They cannot be found out without opening them.
    folder : path, optional
        On the disk where models shall stand; None takes the current one.
    """
    called = name or platform.node() or "computer"
    disk = shutil.disk_usage(folder or Path())
    return Device(
        iri=thing_iri(called),
        title=called,
        board="computer",
        processor=platform.machine(),
        system=platform.system(),
        total_flash=disk.total,
        flash=disk.free,
        has_fpu=True,
        microphones=microphones,
        runtimes=(python_runtime(),),
        ram=_memory("SC_AVPHYS_PAGES"),
        total_ram=_memory("SC_PHYS_PAGES"),
    )


def _memory(pages: str) -> int | None:
    if pages not in os.sysconf_names:  # macOS does not count free pages
        return None
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def microphone(text: str) -> Microphone:
    """Return the microphone of ``NAME=RATE,RATE``.

    Raises
    ------
    InputError
        The text has another form.
    """
    name, _, rates = text.partition("=")
    try:
        found = tuple(sorted({int(rate) for rate in rates.split(",")}))
    except ValueError:
        found = ()
    if not name or not found or found[0] <= 0:
        raise InputError(f"--microphone {text!r}: give NAME=RATE,RATE in Hz, desk=16000,48000")
    return Microphone(name, found)
