"""Who may see the page: foreign host names and missing tokens are refused."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_COOKIE = "listen_embed_token"
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; "
        b"connect-src 'self'; img-src 'self' data:; media-src 'self' blob:; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Refuse foreign host names and missing tokens; add the security headers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str | None) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
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
