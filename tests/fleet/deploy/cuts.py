"""A device whose power is cut: ``python -m tests.fleet.deploy.cuts FOLDER``, for the tests.

For every line on standard input, ``ACCESSES SECONDS``, a process installs one model after the other
and dies so many seconds after so many accesses to the folder, as if killed; then ``cut`` is said.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from listen_embed.fleet.deploy import package
from listen_embed.fleet.deploy.manifest import FileInfo, Manifest
from listen_embed.fleet.deploy.slots import Slots

from ..things.world import NANO
from .world import OTHER, fetching, manifest


def order(sequence: int) -> Manifest:
    """Return a manifest for files that no manifest before it had."""
    usual = manifest((NANO, OTHER)[sequence % 2], sequence)
    note = package.info(str(sequence).encode())
    return replace(usual, files={**usual.files, "note.txt": note})


def install(folder: str, accesses: int, seconds: float) -> None:
    """Install until the cut comes."""
    slots, usual, left = Slots(Path(folder)), fetching(), [accesses]

    def count(event: str, given: tuple[Any, ...]) -> None:
        if given and str(given[0]).startswith(folder):
            left[0] -= 1
            if left[0] == 0:
                signal.setitimer(signal.ITIMER_REAL, seconds)

    def fetch(wanted: FileInfo) -> bytes:
        note = str(sequence).encode()
        return note if package.info(note) == wanted else usual(wanted)

    sys.addaudithook(count)
    sequence = slots.state.sequence
    while True:
        sequence += 1
        slots.install(order(sequence), fetch)


def main(folder: str) -> None:
    """Do as the lines on standard input say."""
    fetching(), order(0), order(1)  # so that each process has them already
    for line in sys.stdin:
        accesses, seconds = line.split()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            install(folder, int(accesses), float(seconds))
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGALRM, status
        print("cut", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
