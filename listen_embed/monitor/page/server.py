"""The page's web server, in a thread of its own."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn

from listen_embed.errors import InputError
from listen_embed.monitor.page.app import MAX_VIEWERS, make_app
from listen_embed.monitor.page.room import ControlRoom


class AppServer:
    """An ASGI application's server in a thread of its own.

    Parameters
    ----------
    make : callable
        Gives the application, from the host names by which it may be asked for.
    address : str
        ``host:port``; port 0 takes a free one.
    token : str or None
        Demanded from every viewer; must be given where `host` is not loopback.

    Raises
    ------
    InputError
        The address is none or taken, or the token is missing or short.
    """

    def __init__(
        self, make: Callable[[Sequence[str]], Any], address: str, token: str | None = None
    ) -> None:
        host, port = check_address(address, token)
        self._socket = _bind(host, port, address)
        self.url = f"http://{host}:{self._socket.getsockname()[1]}/"
        config = uvicorn.Config(
            make(_names(host)),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            limit_concurrency=4 * MAX_VIEWERS,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(timeout=5.0)
        self._socket.close()


class Page(AppServer):
    """The page's server, from what it shows; `address` and `token` as in `AppServer`."""

    def __init__(self, room: ControlRoom, address: str, token: str | None = None) -> None:
        self._room = room
        super().__init__(lambda hosts: make_app(room, token=token, hosts=hosts), address, token)

    def close(self) -> None:
        """Stop serving, and asking other monitors."""
        self._room.hub.close()
        self._room.peers.close()
        super().close()


def check_address(address: str, token: str | None) -> tuple[str, int]:
    """Return host and port; raise `InputError` for none, or where a token is missing or short."""
    host, port = _split(address)
    if not _is_loopback(host) and not token:
        raise InputError(
            f"--page {address}: others can reach this address; "
            "give --token (16 characters or more), or use 127.0.0.1"
        )
    if token is not None and len(token) < 16:
        raise InputError(f"--token has {len(token)} characters; give 16 or more")
    return host, port


def _names(host: str) -> Sequence[str]:
    return host, socket.gethostname(), f"{socket.gethostname()}.local"


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError(f"--page {address!r}: give HOST:PORT, for example 127.0.0.1:8777")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(f"--page {address}: {error}; give another port") from error
