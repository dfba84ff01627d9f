"""A real HTTP server on loopback that can also misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], None]


class Web:
    """What the server answers, and what it was asked.

    `files` are served whole; `answers` are functions that write to the open connection and come
    first; everything else is 404. Both go by path, which starts with a slash.
    """

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.requests.append(handler.path)
        if handler.path in self.answers:
            self.answers[handler.path](handler)
        elif handler.path in self.files:
            send(handler, self.files[handler.path].read_bytes())
        else:
            send(handler, b"not here", status=404)


def send(
    handler: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, length: int | None = None
) -> None:
    """Send a body, with its length or a false one."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def serving() -> Iterator[Web]:
    """Run a server until the block ends."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # as some tests want, the client may have had enough
            with suppress(BrokenPipeError, ConnectionResetError):
                web.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
