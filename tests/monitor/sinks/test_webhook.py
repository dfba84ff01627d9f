"""The webhook: every event posted, anything but success tried again, no secrets told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from listen_embed.errors import InputError
from listen_embed.monitor.events import SinkError
from listen_embed.monitor.sinks.webhook import Webhook

from ..world import entry


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[str, dict[str, object]]], list[int]]]:
    """A web server that keeps what is posted and answers what it is told."""
    posted: list[tuple[str, dict[str, object]]] = []
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            posted.append((self.headers["Idempotency-Key"], body))
            self.send_response(answers.pop(0) if answers else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook?key=secret", posted, answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_webhook_posts_every_event(receiver: tuple[str, list[object], list[int]]) -> None:
    url, posted, _ = receiver
    hook = Webhook(url)
    hook.send([entry(1), entry(2)])
    hook.close()
    assert [key for key, _ in posted] == ["run-1", "run-2"]
    assert posted[0][1]["state"] == "Mode1"
    assert "secret" not in hook.name


@pytest.mark.parametrize("answer", [500, 404, 302])
def test_any_other_answer_is_a_failure(
    receiver: tuple[str, list[object], list[int]], answer: int
) -> None:
    url, posted, answers = receiver
    answers.append(answer)
    hook = Webhook(url)
    with pytest.raises(SinkError, match=str(answer)):
        hook.send([entry(1)])
    hook.send([entry(1)])
    hook.close()
    assert len(posted) == 2


def test_no_server_is_a_failure_without_secrets() -> None:
    hook = Webhook("http://user:secret@127.0.0.1:1/hook?key=secret")
    with pytest.raises(SinkError) as caught:
        hook.send([entry(1)])
    hook.close()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host/x", "nonsense", "http://"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="http"):
        Webhook(url)
