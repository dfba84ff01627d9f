"""The fleet's page, served until it is interrupted."""

from __future__ import annotations

import signal
import threading

from listen_embed.fleet.page.app import make_app
from listen_embed.fleet.page.room import FleetRoom
from listen_embed.monitor.page.server import AppServer


class FleetPage(AppServer):
    """The page's server, from what it shows; `address` and `token` as in `AppServer`."""

    def __init__(self, room: FleetRoom, address: str, token: str | None = None) -> None:
        super().__init__(lambda hosts: make_app(room, token=token, hosts=hosts), address, token)


def serve(room: FleetRoom, address: str, token: str | None) -> int:
    """Serve the page until a signal ends it, and close the room; return the exit code."""
    page = FleetPage(room, address, token)
    print(f"page: {page.url}  SPARQL: {page.url}sparql", flush=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        stop.wait()
    finally:
        page.close()
        room.close()
    return 0
