"""What the fleet's page answers, and what a person sees of it in a browser."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from listen_embed import registry as models
from listen_embed.fleet.deploy import topics
from listen_embed.fleet.deploy.status import Status, seal
from listen_embed.fleet.page import app, sparql
from listen_embed.fleet.page import room as room_
from listen_embed.fleet.page.room import FleetRoom
from listen_embed.fleet.page.serve import FleetPage
from listen_embed.fleet.things.describe_device import describe_device
from listen_embed.fleet.things.describe_model import describe_model
from listen_embed.fleet.things.registry import Registry
from listen_embed.monitor.broker import Connection, parse

from ...monitor.world import Broker, eventually, needs
from ..deploy.world import KEY, STRANGER, VERIFY
from ..things.world import NANO, board, gateway

HOSTILE = "<b>x</b>"


@pytest.fixture(scope="module")
def described() -> Registry:
    found = Registry()
    found.add(describe_model(models.find(NANO)))
    for device in (board("nano one"), board("deaf", microphones=()), gateway(HOSTILE)):
        found.add(describe_device(device))
    return found


@pytest.fixture
def page(described: Registry) -> Iterator[FleetPage]:
    page = FleetPage(FleetRoom(described), "127.0.0.1:0")
    yield page
    page.close()


def test_the_overview_counts_and_finds(page: FleetPage) -> None:
    fleet = httpx.get(f"{page.url}fleet").json()
    assert (fleet["n_devices"], fleet["n_online"], fleet["connected"]) == (3, 0, False)
    (model,) = fleet["models"]
    assert (model["name"], model["n_able"], model["n_running"]) == (NANO, 2, 0)
    assert model["forms"] == {"c-fixed": 1, "c-float": 1, "tflite": 1}
    found = httpx.get(f"{page.url}fleet", params={"wanted": "NANO"}).json()
    assert [one["name"] for one in found["devices"]] == ["nano one"]


def test_why_a_model_does_not_run(page: FleetPage) -> None:
    (said,) = httpx.get(f"{page.url}why", params={"device": board("deaf").iri}).json()
    assert said["forms"] == []
    assert said["reasons"]["c-fixed"] == ["microphone: needs one of 16,000 Hz, has none"]
    answer = httpx.get(f"{page.url}why", params={"device": "nobody"})
    assert answer.status_code == 404
    assert "0 things are called 'nobody'" in answer.json()["error"]


def test_a_device_that_changed_is_matched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_, "_MATCH_EVERY_S", 0.0)
    found = Registry()
    found.add(describe_model(models.find(NANO)))
    room = FleetRoom(found)
    counts = []
    for device in (board(), board(ram=9), board()):
        found.add(describe_device(device))
        counts.append(room.overview()["models"][0]["n_able"])
    assert counts == [1, 0, 1]


SELECT = "SELECT ?t ?ram WHERE { ?d td:title ?t ; le:ram ?ram FILTER(?ram < 300000) } ORDER BY ?t"


def test_sparql_is_answered_in_all_three_ways(page: FleetPage) -> None:
    url = f"{page.url}sparql"
    answers = [
        httpx.get(url, params={"query": SELECT}),
        httpx.post(url, data={"query": SELECT}),
        httpx.post(url, content=SELECT, headers={"content-type": "application/sparql-query"}),
    ]
    for answer in answers:
        assert answer.headers["content-type"].startswith("application/sparql-results+json")
        table = answer.json()
        assert table["head"]["vars"] == ["t", "ram"]
        titles = [one["t"]["value"] for one in table["results"]["bindings"]]
        assert titles == ["deaf", "nano one"]
        assert table["results"]["bindings"][0]["ram"] == {
            "type": "literal", "value": "240000",
            "datatype": "http://www.w3.org/2001/XMLSchema#integer",
        }  # fmt: skip
    asked = httpx.get(url, params={"query": "ASK { ?d a s3n:SmartSensor }"}).json()
    assert asked == {"head": {}, "boolean": True}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("INSERT DATA { <urn:a> <urn:b> <urn:c> }", "no SPARQL query"),
        ("SELECT * { SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } }", "leave SERVICE out"),
        ("", "give a query of 1 to 20,000 characters"),
        ("x" * 20_001, "give a body of 20,000 bytes at most"),
    ],
)
def test_what_is_no_question_is_refused(page: FleetPage, query: str, said: str) -> None:
    kind = {"content-type": "application/sparql-query"}
    answer = httpx.post(f"{page.url}sparql", content=query, headers=kind)
    assert answer.status_code == 400
    assert said in answer.text


ALL = "?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l . ?m ?n ?o"


def test_a_query_that_never_ends_is_ended(page: FleetPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparql, "answer", partial(sparql.answer, longest_s=1.5))
    monkeypatch.setattr(app, "answer", sparql.answer)
    before = children()
    for endless in (
        f"SELECT (COUNT(*) AS ?count) {{ {ALL} }}",
        f"SELECT * {{ {ALL} FILTER(STRLEN(STR(?a)) + STRLEN(STR(?o)) < 0) }}",
        f"ASK {{ {ALL} FILTER(STRLEN(STR(?a)) + STRLEN(STR(?o)) < 0) }}",
    ):
        begun = time.monotonic()
        answer = httpx.get(f"{page.url}sparql", params={"query": endless}, timeout=30)
        assert (answer.status_code, answer.text) == (
            400,
            "it takes longer than 1.5 s; ask for less\n",
        )
        assert time.monotonic() - begun < 10
        assert children() == before
    asked = httpx.get(f"{page.url}sparql", params={"query": "ASK { ?d a s3n:SmartSensor }"})
    assert asked.json()["boolean"] is True


def children() -> set[str]:
    """Return the processes that this one has started."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_foreign_hosts_and_missing_tokens_are_refused(described: Registry) -> None:
    page = FleetPage(FleetRoom(described), "127.0.0.1:0", "a token of sixteen")
    try:
        assert httpx.get(f"{page.url}fleet").status_code == 401
        token = {"authorization": "Bearer a token of sixteen"}
        assert httpx.get(f"{page.url}fleet", headers=token).status_code == 200
        foreign = token | {"host": "evil.example"}
        assert httpx.get(f"{page.url}fleet", headers=foreign).status_code == 421
    finally:
        page.close()


@pytest.fixture
def live(described: Registry, broker: Broker) -> Iterator[FleetPage]:
    """A page that hears devices: one that is well and learns, and one that describes badly."""
    digest = "ab" * 32
    well = Status(time=time.time(), model=NANO, digest=digest, sequence=7, learning="bearing, 12")
    refusing = Status(time=1.0, health="hot", refused_sequence=3, refused="the manifest expired")
    told = {
        ("nano one", "status"): seal(well, "nano one", KEY.sign),
        ("nano one", "online"): b"true",
        ("deaf", "status"): seal(refusing, "deaf", KEY.sign),
        ("vague", "td"): b'{"id": "vague"}',
        ("vague", "status"): b'{"time": 3}',
        ("foreign", "status"): seal(well, "foreign", STRANGER.sign),
    }
    connection = Connection(parse(f"{broker.url}/fleet"), lambda client: None)
    connection.open()
    connection.deliver(
        [(topics.thing("fleet", *about), said, True) for about, said in told.items()]
    )
    members = dict.fromkeys(("nano one", "deaf", "vague", "foreign"), VERIFY)
    room = FleetRoom(described, f"{broker.url}/fleet", members)
    page = FleetPage(room, "127.0.0.1:0")
    yield page
    page.close()
    room.close()
    connection.close()


def test_what_devices_say_is_shown(live: FleetPage) -> None:
    def fleet() -> Any:
        return httpx.get(f"{live.url}fleet").json()

    eventually(lambda: fleet()["n_devices"] == 5 and fleet()["n_learning"] == 1)
    eventually(lambda: len(fleet()["problems"]) == 3)
    found = fleet()
    assert found["connected"]
    assert (found["n_online"], found["n_unwell"], found["n_refused"]) == (1, 1, 1)
    assert found["models"][0]["n_running"] == 1
    assert found["problems"] == [
        "foreign: the status is not signed by the key of 'foreign': foreign, or changed",
        "vague: a description's id is 'vague'; give an absolute IRI",
        "vague: the status is not signed",
    ]
    vague = next(one for one in found["devices"] if one["name"] == "vague")
    assert (vague["health"], vague["id"]) == ("unknown", "")


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
def look(browser: Any, live: FleetPage) -> Iterator[Callable[..., Any]]:
    """Open the page; whatever goes wrong in the browser fails the test."""
    problems: list[str] = []
    views: list[Any] = []

    def open_page(width: int = 1280, **options: Any) -> Any:
        view = browser.new_page(viewport={"width": width, "height": 900}, **options)
        view.on("console", lambda m: m.type == "error" and problems.append(m.text))
        view.on("pageerror", lambda error: problems.append(str(error)))
        view.on(
            "request", lambda r: r.url.startswith((live.url, "data:")) or problems.append(r.url)
        )
        view.goto(live.url)
        view.wait_for_function("() => document.getElementById('n_learning').textContent === '1'")
        views.append(view)
        return view

    yield open_page
    for view in views:
        view.close()
    # A refused query is an answer, not a fault, but the browser logs it.
    assert [text for text in problems if "400 (Bad Request)" not in text] == []


def test_a_person_sees_devices_models_and_why(look: Callable[..., Any]) -> None:
    view = look()
    assert view.inner_text("#link") == "live"
    line = view.locator("#devices tr", has_text="nano one").inner_text()
    for part in ("online", NANO, "abababababab · 7", "ok", "s ago", "bearing, 12"):
        assert part in line
    assert (
        "refused: the manifest expired" in view.locator("#devices tr", has_text="deaf").inner_text()
    )
    silent = view.locator("#devices tr", has_text=HOSTILE).inner_text()
    assert "described" in silent
    assert "never" in silent
    assert "2 (c-fixed 1, c-float 1, tflite 1)" in view.inner_text("#models")
    assert "absolute IRI" in view.inner_text("#problems")
    view.get_by_role("button", name="deaf").click()
    view.wait_for_selector("#why:not([hidden])")
    assert "microphone: needs one of 16,000 Hz, has none" in view.inner_text("#reasons")
    view.fill("#wanted", "bearing")
    view.wait_for_function("() => document.getElementById('shown').textContent === '1 of 1'")


def test_names_are_texts_and_never_html(look: Callable[..., Any]) -> None:
    view = look()
    assert HOSTILE in view.inner_text("#devices")
    assert view.locator("#devices b").count() == 0


def test_queries_are_asked_on_the_page(look: Callable[..., Any]) -> None:
    view = look()
    view.get_by_role("button", name="ask").click()
    view.wait_for_function("() => document.getElementById('answer-said').textContent === '3 rows'")
    assert "240000" in view.inner_text("#answer")
    view.fill("#query", "DROP ALL")
    view.get_by_role("button", name="ask").click()
    view.wait_for_selector("#answer-said.bad")
    assert "no SPARQL query" in view.inner_text("#answer-said")


def test_a_lost_registry_cannot_look_alive(look: Callable[..., Any], live: FleetPage) -> None:
    view = look()
    view.evaluate("() => { window.fetch = () => Promise.reject(new Error('away')); }")
    view.wait_for_function("() => document.body.classList.contains('is-stale')", timeout=60_000)
    assert "no data for" in view.inner_text("#stale")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_to_complain_of(
    look: Callable[..., Any], width: int, scheme: str
) -> None:
    package = pytest.importorskip("axe_playwright_python")
    view = look(width, color_scheme=scheme)
    view.evaluate((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = view.evaluate("() => axe.run().then((said) => said.violations)")
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []
    assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
