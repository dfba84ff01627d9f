"""What the fleet's page answers: its files, the fleet, why a model does not run, SPARQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import resources
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from listen_embed.errors import InputError
from listen_embed.fleet.page.room import FleetRoom
from listen_embed.fleet.page.sparql import MEDIA_TYPE, answer
from listen_embed.monitor.page.guard import Guard

# Its files by the packages that have them: the style is the monitor's.
_FILES = {
    "fleet.html": ("listen_embed.fleet.page", "text/html"),
    "fleet.css": ("listen_embed.fleet.page", "text/css"),
    "fleet.js": ("listen_embed.fleet.page", "text/javascript"),
    "page.css": ("listen_embed.monitor.page", "text/css"),
}
_MAX_QUERY_BYTES = 20_000
# A query that runs long takes a core; more at once are turned away.
_MAX_QUERIES = 2


def make_app(room: FleetRoom, *, token: str | None, hosts: Sequence[str] = ()) -> Starlette:
    """Return the page as an ASGI application; see `listen_embed.monitor.page.app.make_app`."""
    known = frozenset({"localhost", *(host.lower() for host in hosts)})
    answers = _Answers(room)
    routes = [Route("/", _file), *(Route(f"/{name}", _file) for name in _FILES)]
    routes += [
        Route("/fleet", answers.fleet),
        Route("/why", answers.why),
        Route("/sparql", answers.sparql, methods=["GET", "POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, known, token)])


def _file(request: Request) -> Response:
    name = request.url.path.strip("/") or "fleet.html"
    package, kind = _FILES[name]
    return Response(resources.files(package).joinpath(name).read_bytes(), media_type=kind)


class _Answers:
    """The requests that are answered from a room."""

    def __init__(self, room: FleetRoom) -> None:
        self._room = room
        self._queries = asyncio.Semaphore(_MAX_QUERIES)

    def fleet(self, request: Request) -> Response:
        return JSONResponse(self._room.overview(request.query_params.get("wanted", "")))

    def why(self, request: Request) -> Response:
        try:
            return JSONResponse(self._room.why(request.query_params.get("device", "")))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)

    async def sparql(self, request: Request) -> Response:
        if self._queries.locked():
            return PlainTextResponse("other queries are running; ask again later\n", 503)
        async with self._queries:
            try:
                query = await _query(request)
                found = await run_in_threadpool(answer, self._room.registry, query)
            except InputError as error:
                return PlainTextResponse(f"{error}\n", 400)
        return Response(found, media_type=MEDIA_TYPE)


async def _query(request: Request) -> str:
    """Return the query of the SPARQL protocol's three ways."""
    if request.method == "GET":
        return _bounded(request.query_params.get("query", ""))
    if int(request.headers.get("content-length", _MAX_QUERY_BYTES + 1)) > _MAX_QUERY_BYTES:
        raise InputError(f"give a body of {_MAX_QUERY_BYTES:,} bytes at most")
    text = (await request.body()).decode(errors="replace")
    if request.headers.get("content-type", "").startswith("application/sparql-query"):
        return _bounded(text)
    return _bounded(parse_qs(text).get("query", [""])[0])


def _bounded(query: str) -> str:
    if not 0 < len(query) <= _MAX_QUERY_BYTES:
        raise InputError(f"give a query of 1 to {_MAX_QUERY_BYTES:,} characters")
    return query
