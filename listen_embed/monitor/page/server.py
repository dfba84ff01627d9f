"""The page's web server, in a thread of its own."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Sequence
from importlib import resources

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from listen_embed.errors import InputError
from listen_embed.monitor.page.guard import Guard
from listen_embed.monitor.page.hub import Hub

_MAX_VIEWERS = 32
_FILES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


def make_app(hub: Hub, *, token: str | None, hosts: Sequence[str] = ()) -> Starlette:
    """Return the page as an ASGI application.

    Parameters
    ----------
    hub : Hub
        What to show.
    token : str or None
        What a viewer must know; None lets everybody in.
    hosts : sequence of str
        Host names by which the page may be asked for, besides localhost and IP addresses.
    """
    known = frozenset({"localhost", *(host.lower() for host in hosts)})

    async def file(request: Request) -> Response:
        name = _FILES[request.url.path]
        text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
        return Response(text, media_type=_TYPES[name.rpartition(".")[2]])

    async def history(request: Request) -> Response:
        return JSONResponse(hub.history())

    async def live(request: Request) -> Response:
        if hub.n_viewers >= _MAX_VIEWERS:
            return PlainTextResponse("too many viewers\n", 503)
        return StreamingResponse(hub.watch(), media_type="text/event-stream")

    routes = [Route(path, file) for path in _FILES]
    routes += [Route("/history", history), Route("/live", live)]
    return Starlette(routes=routes, middleware=[Middleware(Guard, known, token)])


class Page:
    """The page's server in a thread of its own.

    Parameters
    ----------
    hub : Hub
        What to show.
    address : str
        ``host:port``; port 0 takes a free one.
    token : str or None
        Demanded from every viewer; must be given where `host` is not loopback.

    Raises
    ------
    InputError
        The address is none or taken, or the token is missing or short.
    """

    def __init__(self, hub: Hub, address: str, token: str | None = None) -> None:
        host, port = _split(address)
        if not _is_loopback(host) and not token:
            raise InputError(
                f"--page {address}: others can reach this address; "
                "give --token (16 characters or more), or use 127.0.0.1"
            )
        if token is not None and len(token) < 16:
            raise InputError(f"--token has {len(token)} characters; give 16 or more")
        self._hub = hub
        self._socket = _bind(host, port, address)
        self.url = f"http://{host}:{self._socket.getsockname()[1]}/"
        names = (host, socket.gethostname(), f"{socket.gethostname()}.local")
        app = make_app(hub, token=token, hosts=names)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            limit_concurrency=4 * _MAX_VIEWERS,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """Stop serving."""
        self._hub.close()
        self._server.should_exit = True
        self._thread.join(timeout=5.0)
        self._socket.close()


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
