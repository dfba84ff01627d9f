"""The page in a real browser: what a person sees, at a desk and on a phone, with any input."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from listen_embed.monitor.audio_ring import AudioRing
from listen_embed.monitor.block import Block
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.page import ControlRoom, Hub, Page
from listen_embed.monitor.run import make_embedder
from listen_embed.monitor.teaching import Teacher

from ..world import entry, free_port, hop, needs, point, sound

STATES = ("high", "low", "off")
PICTURES = Path(__file__).with_name("pictures")
# Fonts differ between computers: pictures are compared after shrinking, colour by colour.
_SHRINK, _MEAN_DIFFERENCE = (90, 60), 6.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = needs("chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def room(tmp_path: Path, machine_file: Path) -> ControlRoom:
    """A machine that can be taught, with ten minutes of history and a minute of sound."""
    path = tmp_path / "machine.npz"
    path.write_bytes(machine_file.read_bytes())
    journal = Journal(tmp_path / "j.sqlite")
    now = time.time()
    begun = now - 600
    states = [STATES[n // 60 % 3] for n in range(600)]
    journal.append(
        [
            replace(
                entry(n, state=states[n], since_sample=n, detail="<b>x</b>").event, wall=begun + n
            )
            for n in range(0, 600, 60)
        ],
        trace=[
            point(begun + n, states[n], score=0.3 + 0.1 * np.sin(n / 9), anomaly=200 < n < 230)
            for n in range(600)
        ],
    )
    journal.close()
    machine, ring = Machine.load(path), AudioRing(120.0)
    samples = sound(("low", 60.0), rate=16000)
    ring.add(Block(samples, 16000, 0), now - 60)
    teacher = Teacher(machine, path, lambda hop_s: make_embedder(machine, hop_s), lambda _: None)
    return ControlRoom(Hub(), str(tmp_path / "j.sqlite"), "lathe 1", "file:x", 1.0, teacher, ring)


@pytest.fixture
def page(room: ControlRoom) -> Iterator[Page]:
    page = Page(room, "127.0.0.1:0")
    yield page
    page.close()


class Feed(threading.Thread):
    """Hops at ten a second, as a live source gives them."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(daemon=True)
        self._hub = hub
        self.stop = threading.Event()
        self.start()

    def run(self) -> None:
        index = 0
        while not self.stop.wait(0.1):
            moment = point(time.time(), STATES[index // 30 % 3])
            self._hub.hop(replace(hop(index), point=moment, rate=16000))
            index += 1


@pytest.fixture
def feed(room: ControlRoom) -> Iterator[Feed]:
    feed = Feed(room.hub)
    yield feed
    feed.stop.set()
    feed.join()


@pytest.fixture
def look(browser: Any, page: Page) -> Iterator[Callable[..., Any]]:
    """Open the page; whatever goes wrong in the browser fails the test."""
    problems: list[str] = []
    views: list[Any] = []

    def open_page(width: int = 1280, height: int = 900, **options: Any) -> Any:
        view = browser.new_page(viewport={"width": width, "height": height}, **options)
        view.on("console", lambda m: m.type == "error" and problems.append(m.text))
        view.on("pageerror", lambda error: problems.append(str(error)))
        view.on(
            "request", lambda r: r.url.startswith((page.url, "data:")) or problems.append(r.url)
        )
        view.goto(page.url)
        view.wait_for_function("() => document.getElementById('name').textContent === 'lathe 1'")
        views.append(view)
        return view

    yield open_page
    for view in views:
        view.close()
    # A refused label is an answer, not a fault, but the browser logs it.
    assert [text for text in problems if "400 (Bad Request)" not in text] == []


def _wait_text(view: Any, id: str, text: str) -> None:
    view.wait_for_function(
        "([id, text]) => document.getElementById(id).textContent.includes(text)", arg=[id, text]
    )


def test_a_person_sees_the_present_with_units(look: Callable[..., Any], feed: Feed) -> None:
    view = look()
    view.wait_for_function("() => document.getElementById('score').textContent === '0.50'")
    assert view.inner_text("#link") == "live"
    assert view.inner_text("#level") == "-30"
    assert view.get_attribute("#level-meter", "aria-valuenow") == "-30"
    assert "0.7" in view.inner_text("#latency")
    assert [i.inner_text() for i in view.locator("#legend span").all()] == list(STATES)
    drawn = (
        "(id) => new Set(document.getElementById(id).getContext('2d')"
        ".getImageData(0, 0, 1e3, 250).data).size"
    )
    for canvas in ("spectrogram", "states", "scores", "levels", "map"):
        assert view.evaluate(drawn, canvas) > 2, canvas


def test_events_are_told_in_words_and_never_as_html(look: Callable[..., Any], feed: Feed) -> None:
    view = look()
    _wait_text(view, "events", "high for 1 min")
    assert "heartbeat" not in view.inner_text("#events")
    assert view.locator("#events b").count() == 0


def test_one_cursor_reads_all_panels(look: Callable[..., Any], feed: Feed) -> None:
    view = look()
    view.wait_for_selector("#events li")
    box = view.locator("#spectrogram").bounding_box()
    view.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    _wait_text(view, "readout", "kHz")
    said = view.inner_text("#readout")
    assert "score 0." in said
    assert "dB" in said
    assert "ms" in said
    assert any(state in said for state in STATES)


def test_the_keyboard_moves_the_cursor_and_chooses(look: Callable[..., Any], feed: Feed) -> None:
    view = look()
    view.wait_for_selector("#events li")
    view.focus("#timelines")
    for _ in range(3):
        view.keyboard.press("ArrowLeft")
    _wait_text(view, "readout", "score")
    for _ in range(3):
        view.keyboard.press("Shift+ArrowLeft")
    _wait_text(view, "stretch", "15.0 s")
    view.keyboard.press("Escape")
    _wait_text(view, "stretch", "Drag over")


def test_a_lost_monitor_cannot_look_alive(look: Callable[..., Any], feed: Feed) -> None:
    view = look()
    view.wait_for_function("() => document.getElementById('score').textContent === '0.50'")
    assert view.is_hidden("#stale")
    feed.stop.set()
    _wait_text(view, "stale", "no data for 4 s")
    assert view.evaluate("document.body.classList.contains('is-stale')")
    assert view.title() == "(no data) lathe 1"
    assert "grayscale" in view.evaluate("getComputedStyle(document.querySelector('main')).filter")


def test_an_alarm_cannot_be_missed_and_can_be_acknowledged(
    look: Callable[..., Any], feed: Feed, room: ControlRoom
) -> None:
    view = look()
    view.wait_for_selector("#events li")
    assert view.is_hidden("#alarm")
    icon = view.get_attribute("#favicon", "href")
    begins = entry(99, "anomaly", what="begins", state="low", score=2.0, since_sample=99)
    room.hub.entries([replace(begins, event=replace(begins.event, wall=time.time()))])
    _wait_text(view, "alarm-title", "ALARM")
    assert view.is_visible("#alarm.ringing")
    assert view.title() == "⚠ ALARM – lathe 1"
    assert view.get_attribute("#favicon", "href") != icon
    assert view.get_attribute("#alarm", "role") == "alert"
    view.click("#acknowledge")
    view.wait_for_selector("#alarm.seen")
    assert room.hub.alarm is not None
    assert room.hub.alarm["acknowledged"]
    ends = entry(100, "anomaly", what="ends", state="low", score=0.1)
    room.hub.entries([replace(ends, event=replace(ends.event, wall=time.time()))])
    view.wait_for_selector("#alarm", state="hidden")


def test_a_stretch_is_taught_from_the_page_and_taken_back(
    look: Callable[..., Any], feed: Feed, room: ControlRoom
) -> None:
    view = look()
    view.wait_for_selector("#events li")
    view.click("#last10")
    view.fill("#label", "Mode 9")
    view.click("#learn")
    _wait_text(view, "lesson", "learnt in")
    _wait_text(view, "legend", "Mode 9")
    assert room.teacher is not None
    assert "Mode 9" in Machine.load(room.teacher._path).classifier.labels
    view.click("#undo")
    _wait_text(view, "lesson", "taken back")
    assert "Mode 9" not in Machine.load(room.teacher._path).classifier.labels
    view.click("#last10")
    view.fill("#label", "../x")
    view.click("#learn")
    _wait_text(view, "lesson", "give letters")


def test_a_day_is_there_within_a_second(look: Callable[..., Any], room: ControlRoom) -> None:
    journal, now = Journal(room.journal), time.time()
    with journal._transaction():
        moments = range(86400, 660, -60)
        journal._insert_points(60, [point(now - n, STATES[n // 3600 % 3]) for n in moments])
    journal.close()
    room.hub.hop(replace(hop(0), point=point(now)))
    view = look()
    ink = (
        "() => { const c = document.getElementById('states'), d = c.getContext('2d')"
        ".getImageData(60, c.height / 2, 40, 1).data; return d[3] === 255 && d[159] === 255; }"
    )
    took = []
    for _ in range(3):  # the best of three: other programs may be at work here
        view.click("[data-range='600']")
        begun = time.perf_counter()
        view.click("[data-range='86400']")
        view.wait_for_function(ink)
        took.append(time.perf_counter() - begun)
    assert min(took) < 1.0
    assert view.get_attribute("[data-range='86400']", "aria-pressed") == "true"


@pytest.mark.parametrize("width", [360, 390])
def test_it_is_readable_on_a_phone(look: Callable[..., Any], feed: Feed, width: int) -> None:
    phone = look(width, 780, device_scale_factor=2, has_touch=True, is_mobile=True)
    phone.wait_for_function("() => document.getElementById('score').textContent === '0.50'")
    assert phone.evaluate("document.documentElement.scrollWidth") <= width
    for button in phone.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 28


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_to_complain_of(
    look: Callable[..., Any], feed: Feed, room: ControlRoom, width: int, scheme: str
) -> None:
    package = pytest.importorskip("axe_playwright_python")
    begins = entry(99, "anomaly", what="begins", state="low", score=2.0, since_sample=99)
    room.hub.entries([begins])
    view = look(width, color_scheme=scheme, reduced_motion="reduce")
    view.wait_for_selector("#alarm.ringing")
    view.evaluate((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = view.evaluate("() => axe.run().then((said) => said.violations)")
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []


def test_colours_belong_to_labels_and_stay(look: Callable[..., Any], feed: Feed) -> None:
    colours = (
        "() => [...document.querySelectorAll('#legend rect')].map((r) => r.getAttribute('fill'))"
    )
    first, second = look(), look()
    for view in (first, second):
        view.wait_for_selector("#legend rect")
    assert first.evaluate(colours) == second.evaluate(colours)
    assert len(set(first.evaluate(colours))) == len(STATES)


@pytest.mark.parametrize(("name", "width"), [("desk", 1280), ("phone", 390)])
def test_it_looks_as_it_did(
    browser: Any, room: ControlRoom, tmp_path: Path, name: str, width: int
) -> None:
    """With `LISTEN_EMBED_PICTURES=1` the pictures are drawn anew; look at them before keeping."""
    image = pytest.importorskip("PIL.Image")
    page = Page(room, "127.0.0.1:0")
    past = room.history(600)
    shift = past["points"][-1][0] - 1.7e9
    for row in past["points"]:
        row[0] = round(row[0] - shift, 1)
    room.history = lambda seconds: {**past, "events": []}  # type: ignore[method-assign]
    view = browser.new_page(viewport={"width": width, "height": 900}, timezone_id="UTC")
    view.goto(page.url)
    view.wait_for_function("() => document.querySelector('#legend rect')")
    room.hub.hop(replace(hop(0), point=point(1.7e9 + 0.1, "low"), rate=16000))
    view.wait_for_function("() => document.getElementById('score').textContent === '0.50'")
    view.wait_for_timeout(300)
    view.screenshot(path=tmp_path / "now.png")
    view.close()
    page.close()
    now = image.open(tmp_path / "now.png").convert("RGB").resize(_SHRINK)
    kept = PICTURES / f"{name}.png"
    if os.environ.get("LISTEN_EMBED_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        now.save(kept)
    difference = np.abs(np.asarray(now, float) - np.asarray(image.open(kept), float))
    assert difference.mean() < _MEAN_DIFFERENCE


def test_the_browser_comes_back_after_the_monitor_did(browser: Any, room: ControlRoom) -> None:
    port = free_port()
    first = Page(room, f"127.0.0.1:{port}")
    view = browser.new_page()
    view.goto(first.url)
    view.wait_for_function("() => document.getElementById('link').textContent === 'live'")
    first.close()
    view.wait_for_function("() => document.getElementById('link').textContent === 'connecting'")
    room.name = "back again"
    again = Page(room, f"127.0.0.1:{port}")
    view.wait_for_function("() => document.getElementById('name').textContent === 'back again'")
    view.close()
    again.close()


def test_sound_of_the_page_is_flac(page: Page, room: ControlRoom) -> None:
    assert room.ring is not None
    since = room.ring.span()[0]  # type: ignore[index]
    answer = httpx.get(page.url + "sound", params={"since": since + 10, "until": since + 15})
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == "audio/flac"
    assert (rate, len(samples)) == (16000, 80000)
