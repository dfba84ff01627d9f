"""The live page: who gets in, what it costs, and what a person sees in a real browser."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from listen_embed.errors import InputError
from listen_embed.monitor.debounce import Judgement
from listen_embed.monitor.events import Entry, Event
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.page import Hub, Page
from listen_embed.monitor.pipeline import Hop

from ..world import Blocks, cut, eventually, free_port, listen, needs, point, sound

TOKEN = "0123456789abcdef"
ABOUT = {"name": "lathe 1", "source": "file:x", "threshold": 3.0}


def hop(index: int, state: str = "Mode1") -> Hop:
    return Hop(
        clock="c",
        index=index,
        time_s=index / 10,
        rate=16000,
        point=point(1e9 + index / 10, state),
        judgement=Judgement(state, 0.9, 0.5),
        peak_db=-12.0,
        threshold=1.0,
        dropped=0,
        behind_s=0.0,
        wrong=(),
    )


def entry(number: int, **data: object) -> Entry:
    return Entry(number, "run", Event("s", "c", number, 10, 1e9 + number, "state", data))


@pytest.fixture
def hub() -> Hub:
    return Hub(dict(ABOUT))


@pytest.fixture
def page(hub: Hub) -> Iterator[Page]:
    page = Page(hub, "127.0.0.1:0")
    yield page
    page.close()


def get(page: Page, path: str, **options: object) -> httpx.Response:
    return httpx.get(page.url + path, timeout=10, **options)


def test_all_files_are_served_and_nothing_else(page: Page) -> None:
    for path, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        answer = get(page, path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    for path in ("page.py", "%2e%2e/page.py", "../setup.cfg", "page.css/../page.py", "static/"):
        assert get(page, path).status_code in (400, 404)
    assert httpx.post(page.url).status_code == 405


def test_the_page_needs_nothing_from_elsewhere(page: Page) -> None:
    for path in ("", "page.js", "page.css"):
        assert "://" not in get(page, path).text.replace("http://www.w3.org", "")


def test_foreign_host_names_are_refused(page: Page) -> None:
    assert get(page, "history", headers={"Host": "evil.example"}).status_code == 421
    assert get(page, "history", headers={"Host": "localhost:80"}).status_code == 200
    assert get(page, "history", headers={"Host": "[::1]:80"}).status_code == 200


def test_the_last_hour_comes_from_the_journal(page: Page, hub: Hub) -> None:
    old = point(1e9, score=2.5, anomaly=True, latency_ms=0.4, spectrum=b"\0\xff")
    hub.load([entry(1, state="Mode1")], [old])
    hub.hop(hop(0))
    hub.entries([entry(2, state="Mode2")])
    past = get(page, "history").json()
    assert past["about"] == ABOUT
    assert [event["number"] for event in past["events"]] == [1, 2]
    assert past["points"][0] == [1e9, "Mode1", 2.5, 1, 0.4, "AP8="]
    assert len(past["points"]) == 2


def test_history_keeps_one_point_a_second_and_an_hour_at_most(hub: Hub) -> None:
    for index in range(45_000):
        hub.hop(hop(index))
    assert len(hub.history()["points"]) == 3700


def test_beyond_loopback_a_token_is_demanded(hub: Hub) -> None:
    with pytest.raises(InputError, match="give --token"):
        Page(hub, "0.0.0.0:0")
    with pytest.raises(InputError, match="16 or more"):
        Page(hub, "0.0.0.0:0", "short")
    page = Page(hub, "0.0.0.0:0", TOKEN)
    local = page.url.replace("0.0.0.0", "127.0.0.1")
    for path in ("", "history", "live", "page.js"):
        assert httpx.get(local + path).status_code == 401
        assert httpx.get(local + path, params={"token": "x" * 16}).status_code == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.get(local + "history", headers=bearer).status_code == 200
    with httpx.Client() as browser:
        answer = browser.get(local, params={"token": TOKEN})
        assert answer.status_code == 303
        assert TOKEN not in answer.headers["location"]
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=strict" in answer.headers["set-cookie"]
        assert browser.get(local + "history").status_code == 200
    page.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", ":80", "127.0.0.1:99999"])
def test_addresses_that_are_none_are_refused(hub: Hub, address: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        Page(hub, address)


def test_a_taken_port_is_one_clear_error(hub: Hub) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InputError, match="give another port"),
    ):
        Page(hub, f"127.0.0.1:{taken.getsockname()[1]}")


class Viewer(threading.Thread):
    """Somebody who keeps all server-sent events."""

    def __init__(self, page: Page) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[str, dict[str, object]]] = []
        self._page = page
        self.start()

    def run(self) -> None:
        with httpx.stream("GET", self._page.url + "live", timeout=30) as answer:
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


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    program = needs("chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield chromium
        chromium.close()


class Feed(threading.Thread):
    """Hops at ten a second, as a live source gives them."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(daemon=True)
        self._hub = hub
        self.stop = threading.Event()
        self.start()

    def run(self) -> None:
        index = 36000
        while not self.stop.wait(0.05):
            self._hub.hop(hop(index, "Mode1" if index // 30 % 2 else "Mode2"))
            index += 1


def test_a_person_sees_live_values_and_can_click(
    page: Page, hub: Hub, browser: object, tmp_path: Path
) -> None:
    hub.load(
        [entry(1, state="Mode1", detail="<b>bold</b>")],
        [point(1e9 + n, anomaly=n > 3000, spectrum=bytes(48)) for n in range(3600)],
    )
    feed = Feed(hub)
    view = browser.new_page(viewport={"width": 900, "height": 1000})
    problems: list[str] = []
    view.on("console", lambda message: message.type == "error" and problems.append(message.text))
    view.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    view.on("request", lambda request: requests.append(request.url))
    view.goto(page.url)
    view.wait_for_function("() => document.getElementById('state').textContent.startsWith('Mode')")
    assert view.inner_text("#name") == "lathe 1"
    assert view.inner_text("#link") == "live"
    before = view.inner_text("#clock")
    view.wait_for_function(
        "(text) => document.getElementById('clock').textContent !== text", arg=before
    )
    assert view.locator("#events b").count() == 0  # details are text, never HTML
    assert "<b>bold</b>" in view.inner_text("#events")
    hub.entries([entry(2, state="Mode7")])
    view.wait_for_function("() => document.querySelectorAll('#events tr').length === 2")
    assert view.inner_text("#events tr:first-child").split("\t")[0] == "2"
    minute = view.screenshot(path=tmp_path / "minute.png")
    view.click("#long")
    assert view.get_attribute("#long", "aria-pressed") == "true"
    view.wait_for_timeout(200)
    assert view.screenshot(path=tmp_path / "hour.png") != minute
    drawn = (
        "(id) => new Set(document.getElementById(id).getContext('2d')"
        ".getImageData(0, 0, 800, 30).data).size"
    )
    for canvas in ("spectrogram", "states", "scores"):
        assert view.evaluate(drawn, canvas) > 2, canvas
    view.click("#pause")
    assert view.get_attribute("#pause", "aria-pressed") == "true"
    assert all(url.startswith((page.url, "data:")) for url in requests)
    assert problems == []
    feed.stop.set()
    feed.join()
    view.close()


def test_it_is_readable_on_a_phone(page: Page, hub: Hub, browser: object) -> None:
    feed = Feed(hub)
    phone = browser.new_page(viewport={"width": 360, "height": 740}, device_scale_factor=2)
    phone.goto(page.url)
    phone.wait_for_function("() => document.getElementById('state').textContent.startsWith('Mode')")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    for button in phone.locator("button").all():
        box = button.bounding_box()
        assert box["height"] >= 30
    feed.stop.set()
    feed.join()
    phone.close()


def test_the_browser_comes_back_after_the_monitor_did(hub: Hub, browser: object) -> None:
    port = free_port()
    first = Page(hub, f"127.0.0.1:{port}")
    view = browser.new_page()
    view.goto(first.url)
    view.wait_for_function("() => document.getElementById('link').textContent === 'live'")
    first.close()
    view.wait_for_function("() => document.getElementById('link').textContent === 'connecting'")
    again = Page(Hub({**ABOUT, "name": "back again"}), f"127.0.0.1:{port}")
    view.wait_for_function("() => document.getElementById('name').textContent === 'back again'")
    view.close()
    again.close()


def test_the_journal_feeds_the_page(tmp_path: Path) -> None:
    listen(Blocks(*cut(sound(("low", 12.0)), 800)), tmp_path / "j.sqlite")
    hub = Hub(dict(ABOUT))
    book = Journal(tmp_path / "j.sqlite")
    now = time.time()
    hub.load(book.events(now - 3600, now + 60, 200), book.trace(now - 3600, now + 60))
    book.close()
    past = hub.history()
    assert len(past["points"]) == 11
    assert {point[1] for point in past["points"]} <= {None, "low"}
    assert any(event["kind"] == "state" for event in past["events"])
