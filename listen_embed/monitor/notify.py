"""Tell systemd that the monitor is up and that sound comes in.

In: the environment that systemd gives a ``Type=notify`` service. Out: datagrams to its socket.
Source: systemd's manual, sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Systemd:
    """The service manager, if there is one; does nothing without.

    Parameters
    ----------
    environment : mapping
        Where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked for.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._every_s = int(microseconds) / 2e6 if ours and microseconds.isdigit() else None
        self._next = 0.0

    def ready(self, status: str) -> None:
        """Say that the monitor listens."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """Say that sound came in; twice in the time after which systemd would start it anew."""
        if self._every_s is not None and (now := time.monotonic()) >= self._next:
            self._next = now + self._every_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the end has begun: what is left is being delivered."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(text.encode(), address)
        except OSError:
            return  # a manager that does not listen is no reason to stop
