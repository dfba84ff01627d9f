"""The live page's server: who gets in, what it costs, what it answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from listen_embed.errors import InputError
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.page import ControlRoom, Hub, Page
from listen_embed.monitor.page.peers import Peers

from ..world import Blocks, cut, entry, eventually, hop, listen, point, sound

TOKEN = "0123456789abcdef"
# Reading the authorities' certificates takes longer than all that is asked here.
fetch, post = (partial(ask, verify=False) for ask in (httpx.get, httpx.post))


@pytest.fixture
def room(tmp_path: Path) -> ControlRoom:
    Journal(tmp_path / "j.sqlite").close()
    return ControlRoom(Hub(), str(tmp_path / "j.sqlite"), "lathe 1", "file:x")


@pytest.fixture
def hub(room: ControlRoom) -> Hub:
    return room.hub


@pytest.fixture
def page(room: ControlRoom) -> Iterator[Page]:
    page = Page(room, "127.0.0.1:0")
    yield page
    page.close()


def get(page: Page, path: str, **options: object) -> httpx.Response:
    return fetch(page.url + path, timeout=10, **options)


FILES = (
    ("", "text/html"),
    ("page.js", "text/javascript"),
    ("charts.js", "text/javascript"),
    ("map.js", "text/javascript"),
    ("words.js", "text/javascript"),
    ("page.css", "text/css"),
)


def test_all_files_are_served_and_nothing_else(page: Page) -> None:
    for path, kind in FILES:
        answer = get(page, path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    for path in ("page.py", "%2e%2e/page.py", "../setup.cfg", "page.css/../page.py", "static/"):
        assert get(page, path).status_code in (400, 404)
    assert post(page.url).status_code == 405


def test_the_page_needs_nothing_from_elsewhere(page: Page) -> None:
    for path, _ in FILES:
        assert "://" not in get(page, path).text.replace("http://www.w3.org", "")


def test_foreign_host_names_are_refused(page: Page) -> None:
    assert get(page, "history", headers={"Host": "evil.example"}).status_code == 421
    assert get(page, "history", headers={"Host": "localhost:80"}).status_code == 200
    assert get(page, "history", headers={"Host": "[::1]:80"}).status_code == 200


def test_the_past_comes_from_the_journal_and_the_newest_from_memory(
    page: Page, room: ControlRoom
) -> None:
    journal = Journal(room.journal)
    journal.append([entry(1).event], trace=[point(1e9 - n) for n in range(100, 0, -1)])
    journal.close()
    for index in range(30):
        room.hub.hop(hop(index))
    past = get(page, "history", params={"seconds": 600}).json()
    walls = [row[0] for row in past["points"]]
    assert walls == [*range(10**9 - 100, 10**9), 1e9, 1e9 + 1, 1e9 + 2]
    assert past["about"]["fields"][:4] == ["wall", "state", "score", "anomaly"]
    assert past["events"][0]["state"] == "Mode1"


def test_a_range_has_as_many_points_as_a_screen_can_show(room: ControlRoom) -> None:
    journal = Journal(room.journal)
    with journal._transaction():
        journal._insert_points(60, [point(1e9 + n) for n in range(20, 82800, 60)])
        journal._insert_points(1, [point(1e9 + n) for n in range(82800, 86400)])
    journal.close()
    room.hub.hop(replace(hop(0), point=point(1e9 + 86400)))
    for seconds, step, most in ((600, 1, 601), (3600, 1, 3601), (86400, 60, 1442)):
        begun = time.thread_time()
        walls = [row[0] for row in room.history(seconds)["points"]]
        assert time.thread_time() - begun < 0.5
        assert most - 2 <= len(walls) <= most
        assert np.median(np.diff(walls)) == step


def test_the_journal_feeds_the_page(tmp_path: Path) -> None:
    listen(Blocks(*cut(sound(("low", 12.0)), 800)), tmp_path / "j.sqlite")
    past = ControlRoom(Hub(), str(tmp_path / "j.sqlite")).history(600)
    assert len(past["points"]) == 11
    assert {row[1] for row in past["points"]} <= {None, "low"}
    assert {event["kind"] for event in past["events"]} == {"source", "state"}  # no heart-beats


def test_an_alarm_is_followed_acknowledged_and_remembered(page: Page, room: ControlRoom) -> None:
    begins = entry(7, "anomaly", what="begins", state="Mode1", score=2.0, since_sample=0)
    journal = Journal(room.journal)
    journal.append([begins.event])
    journal.close()
    room.hub.entries([begins])
    assert get(page, "summary").json()["alarm"] is True
    assert post(page.url + "acknowledge").status_code == 403  # a foreign page could do that
    deed = {"x-listen-embed": "1"}
    said = post(page.url + "acknowledge", json={}, headers=deed).json()
    assert said == {"number": 7}
    assert room.hub.alarm is not None
    assert room.hub.alarm["acknowledged"]
    journal = Journal(room.journal)
    assert journal.remembered("acknowledged") == "7"
    journal.remember("acknowledged", "1")  # the number that the journal gave it
    journal.close()
    again = ControlRoom(Hub(), room.journal)
    again.resume()
    assert again.hub.alarm is not None
    assert (again.hub.alarm["over"], again.hub.alarm["acknowledged"]) == (None, True)
    room.hub.entries([entry(8, "anomaly", what="ends", state="Mode1", score=0.1)])
    assert get(page, "summary").json()["alarm"] is False


def test_one_page_shows_several_machines(page: Page, room: ControlRoom, tmp_path: Path) -> None:
    room.hub.hop(hop(5))
    other = ControlRoom(Hub(), room.journal, "lathe 2", peers=Peers([page.url.rstrip("/")]))
    second = Page(other, "127.0.0.1:0")
    eventually(lambda: get(second, "machines").json()[0].get("name") == "lathe 1")
    found = get(second, "machines").json()
    assert (found[0]["state"], found[0]["alarm"], found[0]["problem"]) == ("Mode1", False, None)
    second.close()
    with pytest.raises(InputError, match="--peer"):
        Peers(["ftp://x"])


def test_a_monitor_without_sound_is_not_healthy(page: Page, room: ControlRoom) -> None:
    assert get(page, "health").status_code == 503
    room.hub.hop(replace(hop(0), point=point(time.time())))
    assert get(page, "health").json()["ok"] is True


def test_deeds_that_cannot_be_done_say_why(page: Page) -> None:
    deed = {"x-listen-embed": "1"}
    for path in ("teach", "undo"):
        answer = post(page.url + path, json={}, headers=deed)
        assert answer.status_code == 400
        assert "does not learn" in answer.json()["error"]
    assert post(page.url + "undo", json=[1], headers=deed).status_code == 400
    assert post(page.url + "undo", content=b"x" * 5000, headers=deed).status_code == 400
    assert get(page, "sound").status_code == 404
    assert get(page, "recordings/../j.sqlite").status_code == 404


def test_beyond_loopback_a_token_is_demanded(room: ControlRoom) -> None:
    with pytest.raises(InputError, match="give --token"):
        Page(room, "0.0.0.0:0")
    with pytest.raises(InputError, match="16 or more"):
        Page(room, "0.0.0.0:0", "short")
    page = Page(room, "0.0.0.0:0", TOKEN)
    local = page.url.replace("0.0.0.0", "127.0.0.1")
    for path in ("", "history", "live", "page.js", "sound", "metrics", "export/events.csv"):
        assert fetch(local + path).status_code == 401
        assert fetch(local + path, params={"token": "x" * 16}).status_code == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert fetch(local + "history", headers=bearer).status_code == 200
    with httpx.Client(verify=False) as browser:
        answer = browser.get(local, params={"token": TOKEN})
        assert answer.status_code == 303
        assert TOKEN not in answer.headers["location"]
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=strict" in answer.headers["set-cookie"]
        assert browser.get(local + "history").status_code == 200
    page.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", ":80", "127.0.0.1:99999"])
def test_addresses_that_are_none_are_refused(room: ControlRoom, address: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        Page(room, address)


def test_a_taken_port_is_one_clear_error(room: ControlRoom) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InputError, match="give another port"),
    ):
        Page(room, f"127.0.0.1:{taken.getsockname()[1]}")


class Viewer(threading.Thread):
    """Somebody who keeps all server-sent events."""

    def __init__(self, page: Page) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[str, dict[str, object]]] = []
        self._page = page
        self.start()

    def run(self) -> None:
        with httpx.stream("GET", self._page.url + "live", timeout=30, verify=False) as answer:
            kind = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    self.seen.append((kind, json.loads(line[6:])))


def test_every_viewer_sees_every_hop_and_event(page: Page, hub: Hub) -> None:
    viewers = [Viewer(page) for _ in range(3)]
    eventually(lambda: hub.n_viewers == 3)
    for index in range(50):
        hub.hop(hop(index))
    hub.entries([entry(1, state="Mode2")])
    for viewer in viewers:
        eventually(lambda: len(viewer.seen) == 51)  # noqa: B023
        assert [kind for kind, _ in viewer.seen] == ["hop"] * 50 + ["event"]
        assert viewer.seen[-1][1]["state"] == "Mode2"
    page.close()
    for viewer in viewers:
        viewer.join(5)
        assert not viewer.is_alive()


def test_a_viewer_who_does_not_read_is_sent_away_and_costs_nothing(page: Page, hub: Hub) -> None:
    host, port = page.url.removeprefix("http://").strip("/").split(":")
    sleeper = socket.create_connection((host, int(port)))
    sleeper.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    eventually(lambda: hub.n_viewers == 1)
    begun = time.perf_counter()
    for index in range(30_000):
        hub.hop(hop(index))
        if index % 200 == 0:
            time.sleep(0.001)
    assert time.perf_counter() - begun < 20
    eventually(lambda: hub.n_viewers == 0)
    sleeper.close()


def test_a_second_viewer_costs_the_pipeline_nothing(page: Page, hub: Hub) -> None:
    """The pipeline's part is one message however many watch: its calls are counted."""
    calls: list[str] = []
    viewers = [Viewer(page)]
    eventually(lambda: hub.n_viewers == 1)
    send = hub._send
    hub._send = lambda kind, message: (calls.append(kind), send(kind, message))[1]
    hub.hop(hop(0))
    viewers.append(Viewer(page))
    eventually(lambda: hub.n_viewers == 2)
    hub.hop(hop(10))
    assert calls == ["hop", "hop"]
