"""The live page: what the monitor hears and decides, in any browser, without internet.

In: hops and entries from the pipeline's thread. Out: ``/`` (one HTML file), ``/history`` (the last
hour as JSON), ``/live`` (server-sent events).

Every message is encoded once, whatever the number of viewers; each viewer has a short queue, and
one that cannot keep up is disconnected and comes back by itself. Addresses other than loopback
demand a token. Requests for unknown host names are refused (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from listen_embed.errors import InputError
from listen_embed.monitor.events import Entry
from listen_embed.monitor.journal import TracePoint
from listen_embed.monitor.pipeline import Hop

HOUR_S = 3600.0
_MAX_POINTS, _MAX_ENTRIES = 3700, 200
_VIEWER_QUEUE = 256
_MAX_VIEWERS = 32
_QUIET_S = 10.0
_COOKIE = "listen_embed_token"
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; "
        b"connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
_FILES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


class Hub:
    """The last hour in memory, and who is watching.

    The pipeline's thread writes (`hop`, `entries`); the page's thread reads and fans out.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        self._about = about
        self._points: deque[list[Any]] = deque(maxlen=_MAX_POINTS)
        self._entries: deque[dict[str, Any]] = deque(maxlen=_MAX_ENTRIES)
        self._viewers: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._second = -1
        self.problems: list[str] = []
        """Sinks that do not take events just now."""

    def load(self, entries: Sequence[Entry], points: Sequence[TracePoint]) -> None:
        """Start with what the journal holds."""
        self._entries.extend(entry.message() for entry in entries)
        self._points.extend(
            [
                round(p.wall, 3),
                p.label,
                _short(p.score),
                int(p.anomaly),
                _short(p.latency_ms),
                _text(p.spectrum),
            ]
            for p in points
        )

    def hop(self, hop: Hop) -> None:
        """Take a hop: every one goes to the viewers, one a second stays."""
        point = [
            round(hop.wall, 3),
            hop.state,
            _short(hop.judgement.score),
            int(hop.anomaly),
            _short(hop.latency_ms),
            _text(hop.spectrum),
        ]
        if int(hop.time_s) != self._second:
            self._second = int(hop.time_s)
            with self._lock:
                self._points.append(point)
        if self._viewers:
            now = {
                "time_s": round(hop.time_s, 3),
                "label": hop.judgement.label,
                "probability": round(hop.judgement.probability, 3),
                "dropped": hop.dropped,
                "behind_s": round(hop.behind_s, 2),
                "threshold": _short(hop.threshold),
                "problems": self.problems,
            }
            self._send("hop", {"point": point, **now})

    def entries(self, entries: Sequence[Entry]) -> None:
        """Take new events."""
        for entry in entries:
            message = entry.message()
            with self._lock:
                self._entries.append(message)
            if self._viewers:
                self._send("event", message)

    def _send(self, kind: str, message: dict[str, Any]) -> None:
        text = f"event: {kind}\ndata: {json.dumps(message)}\n\n"
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._fan_out, text)

    def _fan_out(self, text: str | None) -> None:
        for viewer in tuple(self._viewers):
            if text is None or viewer.full():
                self._viewers.discard(viewer)
                while not viewer.empty():
                    viewer.get_nowait()
                viewer.put_nowait(None)
            else:
                viewer.put_nowait(text)

    def history(self) -> dict[str, Any]:
        """Return the last hour."""
        with self._lock:
            points, entries = list(self._points), list(self._entries)
        return {"about": self._about, "points": points, "events": entries}

    async def watch(self) -> AsyncIterator[str]:
        """Yield server-sent events until the hub closes or the viewer is too slow."""
        self._loop = asyncio.get_running_loop()
        viewer: asyncio.Queue[str | None] = asyncio.Queue(_VIEWER_QUEUE)
        self._viewers.add(viewer)
        try:
            yield "retry: 1000\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(viewer.get(), _QUIET_S)
                except TimeoutError:
                    text = ": still here\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._viewers.discard(viewer)

    @property
    def n_viewers(self) -> int:
        """How many are watching."""
        return len(self._viewers)

    def close(self) -> None:
        """Send everybody home."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fan_out, None)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _text(column: bytes) -> str:
    return base64.b64encode(column).decode()


class _Guard:
    """Refuse foreign host names and missing tokens; add the security headers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str | None) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        host = request.url.hostname or ""
        if not (host in self._hosts or _is_address(host)):
            return PlainTextResponse(f"unknown host {host!r}\n", 421)
        if self._token is None or self._shown(request.cookies.get(_COOKIE, "")):
            return None
        if self._shown(request.headers.get("authorization", "").removeprefix("Bearer ")):
            return None
        if self._shown(request.query_params.get("token", "")):
            # The address line forgets the token, the browser keeps it.
            answer = RedirectResponse("/", 303)
            answer.set_cookie(_COOKIE, self._token, httponly=True, samesite="strict", path="/")
            return answer
        return PlainTextResponse("open /?token=... with the token of the monitor\n", 401)

    def _shown(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


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
    return Starlette(routes=routes, middleware=[Middleware(_Guard, known, token)])


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
