"""JSON lines, webhook, and the thread that delivers at least once and in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from listen_embed.errors import InputError
from listen_embed.monitor.events import Entry, Event, SinkError
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.sinks.json_lines import JsonLines
from listen_embed.monitor.sinks.sender import Sender, finish_all
from listen_embed.monitor.sinks.webhook import Webhook

from ..world import eventually


def event(sample: int) -> Event:
    return Event("s", "c", sample, 10, 1e9, "state", {"state": "a"})


class Flaky:
    """A sink that fails as it is told."""

    name = "flaky"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.numbers: list[int] = []

    def send(self, entries: Sequence[Entry]) -> None:
        self.numbers += [entry.number for entry in entries]
        if self.failures:
            self.failures -= 1
            raise SinkError("not today")

    def close(self) -> None:
        pass


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    book = Journal(tmp_path / "j.sqlite")
    yield book
    book.close()


def test_everything_arrives_in_order_across_restarts(journal: Journal) -> None:
    sink = Flaky()
    for start in (0, 100, 200):
        sender = Sender(sink, journal.path)
        sender.start()
        journal.append([event(start + n) for n in range(100)])
        sender.wake()
        assert sender.finish(10)
    assert sink.numbers == list(range(1, 301))


def test_a_failing_sink_gets_the_same_again_and_its_problem_is_known(journal: Journal) -> None:
    sink = Flaky(failures=2)
    sender = Sender(sink, journal.path)
    sender.start()
    journal.append([event(1), event(2)])
    sender.wake()
    eventually(lambda: sender.problem == "not today")
    eventually(lambda: journal.cursor("flaky") == 2)
    assert sender.finish(5)
    assert sender.problem is None
    assert sink.numbers == [1, 2] * 3


def test_what_a_dead_sink_leaves_goes_out_at_the_next_start(journal: Journal) -> None:
    sender = Sender(Flaky(failures=10**9), journal.path)
    sender.start()
    journal.append([event(1)])
    assert finish_all([sender], 0.2) == ["flaky"]
    alive = Flaky()
    sender = Sender(alive, journal.path)
    sender.start()
    assert finish_all([sender], 5.0) == []
    assert alive.numbers == [1]


def test_json_lines_are_appended_and_a_torn_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    JsonLines(str(path)).send([Entry(1, "r", event(1))])
    with open(path, "a") as file:
        file.write('{"torn')
    JsonLines(str(path)).send([Entry(2, "r", event(2))])
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2]


def test_json_lines_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    JsonLines("-").send([Entry(1, "r", event(1))])
    assert json.loads(capfd.readouterr().out)["number"] == 1


def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(SinkError):
        JsonLines(str(tmp_path / "no" / "events")).send([Entry(1, "r", event(1))])


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
    hook.send([Entry(1, "r", event(1)), Entry(2, "r", event(2))])
    hook.close()
    assert [key for key, _ in posted] == ["r-1", "r-2"]
    assert posted[0][1]["state"] == "a"
    assert "secret" not in hook.name


@pytest.mark.parametrize("answer", [500, 404, 302])
def test_any_other_answer_is_a_failure(
    receiver: tuple[str, list[object], list[int]], answer: int
) -> None:
    url, posted, answers = receiver
    answers.append(answer)
    hook = Webhook(url)
    with pytest.raises(SinkError, match=str(answer)):
        hook.send([Entry(1, "r", event(1))])
    hook.send([Entry(1, "r", event(1))])
    hook.close()
    assert len(posted) == 2


def test_no_server_is_a_failure_without_secrets() -> None:
    hook = Webhook("http://user:secret@127.0.0.1:1/hook?key=secret")
    with pytest.raises(SinkError) as caught:
        hook.send([Entry(1, "r", event(1))])
    hook.close()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host/x", "nonsense", "http://"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="http"):
        Webhook(url)
