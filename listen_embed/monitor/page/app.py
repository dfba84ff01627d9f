"""What the page answers: its files, the past, the present, sound, and what a person may do.

Whatever changes something is a POST with the header ``x-listen-embed``, which no foreign page can
send without asking first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.monitor.page import exports
from listen_embed.monitor.page.guard import Guard
from listen_embed.monitor.page.room import RANGES_S, ControlRoom

MAX_VIEWERS = 32
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_FILES = ("page.html", "page.css", "page.js", "charts.js", "words.js", "map.js")
_LONGEST_S = 366 * 86400.0
_MAX_BODY = 4096
_STALE_S = 10.0


def make_app(room: ControlRoom, *, token: str | None, hosts: Sequence[str] = ()) -> Starlette:
    """Return the page as an ASGI application.

    Parameters
    ----------
    room : ControlRoom
        What to show, and what can be done.
    token : str or None
        What a viewer must know; None lets everybody in.
    hosts : sequence of str
        Host names by which the page may be asked for, besides localhost and IP addresses.
    """
    known = frozenset({"localhost", *(host.lower() for host in hosts)})
    answers = _Answers(room)
    routes = [Route("/", _file), *(Route(f"/{name}", _file) for name in _FILES)]
    for path, answer in answers.reads().items():
        routes.append(Route(path, answer))
    for path, answer in answers.deeds().items():
        routes.append(Route(path, answer, methods=["POST"]))
    return Starlette(routes=routes, middleware=[Middleware(Guard, known, token)])


def _file(request: Request) -> Response:
    name = request.url.path.strip("/") or "page.html"
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return Response(text, media_type=_TYPES[name.rpartition(".")[2]])


class _Answers:
    """The requests that are answered from a control room."""

    def __init__(self, room: ControlRoom) -> None:
        self._room = room

    def reads(self) -> dict[str, Any]:
        """Return what can be asked for."""
        return {
            "/history": self.history,
            "/live": self.live,
            "/summary": self.summary,
            "/machines": self.machines,
            "/recordings": self.recordings,
            "/recordings/{name}": self.recording,
            "/sound": self.sound,
            "/metrics": self.metrics,
            "/health": self.health,
            "/export/{what}": self.export,
        }

    def deeds(self) -> dict[str, Any]:
        """Return what can be done."""
        return {"/acknowledge": self.acknowledge, "/teach": self.teach, "/undo": self.undo}

    def history(self, request: Request) -> Response:
        seconds = _number(request, "seconds", RANGES_S[0])
        return JSONResponse(self._room.history(seconds))

    async def live(self, request: Request) -> Response:
        if self._room.hub.n_viewers >= MAX_VIEWERS:
            return PlainTextResponse("too many viewers\n", 503)
        return StreamingResponse(self._room.hub.watch(), media_type="text/event-stream")

    def summary(self, request: Request) -> Response:
        return JSONResponse(self._room.summary())

    def machines(self, request: Request) -> Response:
        return JSONResponse(self._room.peers.summaries())

    def recordings(self, request: Request) -> Response:
        return JSONResponse(self._room.recordings())

    def recording(self, request: Request) -> Response:
        kept = self._room.keeper.files().values() if self._room.keeper else ()
        for path in kept:
            if path.name == request.path_params["name"]:
                return FileResponse(path, media_type="audio/flac")
        return PlainTextResponse("no such recording\n", 404)

    def sound(self, request: Request) -> Response:
        now = time.time()
        try:
            if self._room.ring is None:
                raise InputError("no sound is kept; give --keep-audio")
            since, until = _number(request, "since", now), _number(request, "until", now)
            sound = self._room.ring.cut(since, until)
        except InputError as error:
            return PlainTextResponse(f"{error}\n", 404)
        named = {"content-disposition": f'inline; filename="sound-{since:.0f}.flac"'}
        return Response(sound.flac(), media_type="audio/flac", headers=named)

    def metrics(self, request: Request) -> Response:
        text = exports.metrics(self._room.name, self._present(), self._room.about()["states"])
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    def health(self, request: Request) -> Response:
        """Answer 200 while sound comes in, 503 where it does not."""
        age = self._room.summary()["age_s"]
        good = age is not None and age < _STALE_S
        return JSONResponse({"ok": good, "age_s": age}, 200 if good else 503)

    def _present(self) -> dict[str, Any]:
        hub, now = self._room.hub, self._room.hub.now
        point = now.point if now else None
        return {
            **self._room.summary(),
            "level_db": point.level_db if point else None,
            "latency_s": point.latency_ms / 1000 if point else None,
            "dropped": now.dropped if now else None,
            "time_s": now.time_s if now else None,
            "sinks": hub.status["sinks"],
        }

    def export(self, request: Request) -> Response:
        until = _number(request, "until", time.time() + 86400)
        since = _number(request, "since", until - 2 * 86400)
        what = request.path_params["what"]
        if what in _EVENT_EXPORTS:
            write, kind = _EVENT_EXPORTS[what]
            text = write(self._room.events(since, until, 1_000_000))
        elif what in _TRACE_EXPORTS:
            write_trace, kind = _TRACE_EXPORTS[what]
            text = write_trace(self._room.trace(since, until))
        else:
            names = ", ".join((*_EVENT_EXPORTS, *_TRACE_EXPORTS))
            return PlainTextResponse(f"give one of {names}\n", 404)
        named = {"content-disposition": f'attachment; filename="{what}"'}
        return Response(text, media_type=kind, headers=named)

    async def acknowledge(self, request: Request) -> Response:
        return await self._do(request, lambda asked: {"number": self._room.acknowledge()})

    async def teach(self, request: Request) -> Response:
        return await self._do(request, self._teach)

    def _teach(self, asked: dict[str, Any]) -> dict[str, Any]:
        room = self._room
        room.check_learns()
        since, until = float(asked["since"]), float(asked["until"])
        if not (math.isfinite(since) and math.isfinite(until)):
            raise InputError("since and until must be moments")
        lesson = room.learn(str(asked["label"]).strip(), since, until)
        room.hub.machine(room.about())
        return {
            "label": lesson.label,
            "seconds": round(lesson.seconds, 2),
            "took_s": round(lesson.took_s, 2),
            "about": room.about(),
        }

    async def undo(self, request: Request) -> Response:
        return await self._do(request, self._undo)

    def _undo(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._room.undo()
        self._room.hub.machine(self._room.about())
        return {"about": self._room.about()}

    async def _do(self, request: Request, deed: Any) -> Response:
        """Do what a person asks for in a thread; whatever is wrong with it is said."""
        if "x-listen-embed" not in request.headers:
            return PlainTextResponse("the header x-listen-embed is missing\n", 403)
        try:
            asked = await _body(request)
            return JSONResponse(await run_in_threadpool(deed, asked))
        except (ListenEmbedError, KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)


_EVENT_EXPORTS = {
    "events.csv": (exports.events_csv, "text/csv"),
    "events.json": (exports.events_json, "application/json"),
    "audacity.txt": (exports.audacity_labels, "text/plain"),
}
_TRACE_EXPORTS = {
    "trace.csv": (exports.trace_csv, "text/csv"),
    "trace.json": (exports.trace_json, "application/json"),
}


async def _body(request: Request) -> dict[str, Any]:
    if int(request.headers.get("content-length", _MAX_BODY + 1)) > _MAX_BODY:
        raise InputError(f"give a body of {_MAX_BODY} bytes at most")
    asked = await request.json()
    if not isinstance(asked, dict):
        raise InputError("give a JSON object")
    return asked


def _number(request: Request, name: str, usual: float) -> float:
    try:
        value = float(request.query_params.get(name, usual))
    except ValueError:
        return usual
    return (
        value if math.isfinite(value) and (name != "seconds" or 0 < value < _LONGEST_S) else usual
    )
