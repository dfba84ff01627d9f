"""A fleet on a real broker: two hundred devices, refusals by name, a broker that goes away."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from listen_embed import registry
from listen_embed.fleet.deploy import package, rollout, topics
from listen_embed.fleet.deploy.manifest import seal
from listen_embed.fleet.deploy.node import Node
from listen_embed.fleet.deploy.slots import Slots
from listen_embed.fleet.deploy.status import seal as seal_status
from listen_embed.fleet.deploy.targets import Target, meant, targets
from listen_embed.fleet.deploy.watch import Watch
from listen_embed.fleet.things.capabilities import TFLITE, Model
from listen_embed.fleet.things.describe_model import model_of_spec
from listen_embed.fleet.things.registry import Registry
from listen_embed.monitor.broker import parse

from ...monitor.world import Broker, eventually
from ..things.world import NANO, gateway
from .world import KEY, OTHER, STRANGER, TRUSTED, Everybody, files, manifest

N_DEVICES, N_SMALL = 200, 5
WAIT_S = 240.0


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {name: model_of_spec(registry.find(name)) for name in (NANO, OTHER)}


@pytest.fixture
def start(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Start devices; end them."""
    nodes: list[Node] = []

    def start(name: str, **has: object) -> Node:
        device = gateway(name, **has)
        node = Node(parse(f"{broker.url}/fleet"), device, Slots(tmp_path / name), TRUSTED, KEY.sign)
        nodes.append(node)
        node.open()
        return node

    yield start
    for node in nodes:
        node.close()


@pytest.fixture
def watch(broker: Broker) -> Iterator[Watch]:
    watch = Watch(parse(f"{broker.url}/fleet"), Everybody())
    yield watch
    watch.close()


def order(now: float | None = None) -> rollout.Order:
    return rollout.Order(KEY, 3600.0, time.time() if now is None else now)


def found_by(watch: Watch, n: int) -> Registry:
    """Return a registry of the devices once so many have described themselves."""

    def is_whole(seen: object) -> bool:
        assert isinstance(seen, dict)
        return sum(bool(one.description and one.status) for one in seen.values()) >= n

    assert watch.wait_for(is_whole, WAIT_S)
    found = Registry()
    for one in watch.things().values():
        found.add(one.description)
    return found


def bring(watch: Watch, model: Model, chosen: list[Target], now: float) -> list[rollout.Outcome]:
    sent = rollout.deploy(watch, model, files(model.name), chosen, order(now))
    return rollout.await_all(watch, sent, WAIT_S)


def test_two_hundred_devices_get_a_model_and_give_it_back(
    start: Callable[..., Node], watch: Watch, models: dict[str, Model]
) -> None:
    nodes = [
        start(f"hall{i % 4}-{i}", **({"ram": 1000} if i < N_SMALL else {}))
        for i in range(N_DEVICES)
    ]
    found = found_by(watch, N_DEVICES)
    chosen = targets(models[NANO], meant(found, "hall*"), TFLITE)
    left_out = [one for one in chosen if one.form is None]
    assert len(left_out) == N_SMALL
    assert all("RAM: needs" in one.why for one in left_out)
    now = time.time()
    outcomes = bring(watch, models[NANO], chosen, now)
    assert [one for one in outcomes if one.why] == []
    assert len(outcomes) == N_DEVICES - N_SMALL
    query = 'SELECT ?d { ?d a s3n:SmartSensor ; td:title ?t FILTER(STRSTARTS(?t, "hall3-")) }'
    some = targets(models[OTHER], meant(found, query), TFLITE)
    assert {one.why for one in bring(watch, models[OTHER], some, now + 1)} == {""}
    runs = [node.status().model for node in nodes]
    fitting = [one for one in some if one.form is not None]
    assert runs.count(OTHER) == len(fitting) >= 48
    assert runs.count("") == N_SMALL
    devices = [one.device for one in fitting]
    back = rollout.roll_back(watch, devices, order(now + 2))
    assert {one.why for one in rollout.await_all(watch, back, WAIT_S)} == {""}
    assert [node.status().model for node in nodes].count(NANO) == N_DEVICES - N_SMALL


def test_refusals_name_the_cause_and_change_nothing(
    start: Callable[..., Node], watch: Watch, models: dict[str, Model]
) -> None:
    node = start("gateway")
    found_by(watch, 1)
    now = int(time.time())
    good = dataclasses.replace(manifest(sequence=now), issued=now, expires=now + 60)
    base = watch.connection.address.topic
    for name, content in files().items():
        topic = topics.file(base, good.files[name].sha256)
        watch.connection.deliver([(topic, content, True)])

    def answer(envelope: bytes) -> str:
        before = len(said)
        watch.connection.deliver([(topics.thing(base, "gateway", "deploy"), envelope, True)])
        eventually(lambda: len(said) > before, WAIT_S)
        return said[-1]

    said: list[str] = []
    tell = node.tell
    node.tell = lambda: (said.append(node.status().refused), tell())  # type: ignore[method-assign]
    foreign, late = seal(good, STRANGER), dataclasses.replace(good, expires=now - 5)
    other = dataclasses.replace(good, digest=models[OTHER].digest)
    wrong_size = {n: dataclasses.replace(f, size=f.size + 1) for n, f in good.files.items()}
    assert "which is not trusted here" in answer(foreign)
    assert "the manifest expired at" in answer(seal(late, KEY))
    assert "are another embedder's" in answer(seal(other, KEY))
    resized = dataclasses.replace(good, files=wrong_size)
    assert "is not the promised file" in answer(seal(resized, KEY))
    assert node.status().model == ""
    assert answer(seal(good, KEY)) == ""
    assert node.status().model == NANO
    older = dataclasses.replace(good, sequence=now - 1)
    assert "is not above" in answer(seal(older, KEY))
    assert answer(b"{").startswith("the manifest is no JSON: ")
    assert (node.status().model, node.status().sequence) == (NANO, now)


def test_a_broker_that_goes_away_delays_only(
    start: Callable[..., Node], watch: Watch, broker: Broker, models: dict[str, Model]
) -> None:
    nodes = [start(f"far-{i}") for i in range(3)]
    found = found_by(watch, 3)
    chosen = targets(models[NANO], meant(found, "far-*"), TFLITE)
    time.sleep(1.5)  # so that the broker has saved what it knows
    broker.stop(kill=True)
    eventually(lambda: not any(node.status().model for node in nodes), 1)
    broker.start()
    outcomes = bring(watch, models[NANO], chosen, time.time())
    assert [one.why for one in outcomes] == ["", "", ""]


def test_a_device_that_was_away_gets_what_waits_for_it(
    start: Callable[..., Node], watch: Watch, models: dict[str, Model], tmp_path: Path
) -> None:
    first = start("late")
    found = found_by(watch, 1)
    first.close()
    eventually(lambda: not watch.things()["late"].online)
    chosen = targets(models[NANO], meant(found, "late"), TFLITE)
    sent = rollout.deploy(watch, models[NANO], files(), chosen, order())
    (outcome,) = rollout.await_all(watch, sent, 0.5)
    assert "waits for it at the broker" in outcome.why
    start("late")
    (outcome,) = rollout.await_all(watch, sent, WAIT_S)
    assert outcome.why == ""
    assert package.infos(files()) == sent["late"].files


def test_a_status_that_its_device_did_not_sign_changes_nothing(
    start: Callable[..., Node], watch: Watch
) -> None:
    node = start("gateway")
    found_by(watch, 1)
    topic = topics.thing(watch.connection.address.topic, "gateway", "status")
    older = dataclasses.replace(node.status(), time=1.0)
    before = watch.things()["gateway"].status
    for content, why in (
        (node.status().json(), "the status is not signed"),
        (seal_status(node.status(), "gateway", STRANGER.sign), "foreign, or changed"),
        (seal_status(older, "gateway", KEY.sign), "replayed, or the device's clock was set back"),
    ):
        watch.connection.deliver([(topic, content, True)])
        eventually(lambda why=why: why in watch.things()["gateway"].problem)
        assert watch.things()["gateway"].status == before
    node.tell()
    eventually(lambda: watch.things()["gateway"].problem == "")
