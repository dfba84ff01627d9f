"""Rounds over a real broker, with TLS and a rule for each device."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from listen_embed.errors import InputError
from listen_embed.fleet.keys import as_text, verifier
from listen_embed.fleet.learning import mqtt
from listen_embed.fleet.learning.coordinator import Coordinator, Members
from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.node import Node
from listen_embed.fleet.learning.record import Record
from listen_embed.fleet.learning.reptile import Plan
from listen_embed.monitor.broker import OPTIONS, Connection, parse

from ...monitor.test_broker import certificate
from ...monitor.world import Broker, eventually
from .world import device, prior

MakeBroker = Callable[..., Broker]
DOCS = Path(__file__).parents[3] / "docs" / "FLEET.md"
NAMES = ("n0", "n1", "n2")


@dataclass
class Fleet:
    """A coordinator and nodes as threads, each with a key and a certificate of its own."""

    folder: Path
    broker: Broker
    rounds: int = 20
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list)
    ended: dict[str, Any] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = {n: Ed25519PrivateKey.generate() for n in ("coordinator", *NAMES)}

    def url(self, who: str) -> str:
        folder = self.folder
        return (
            f"mqtts://127.0.0.1:{self.broker.port}/fleet?ca={folder}/ca.crt"
            f"&cert={folder}/{who}.crt&key={folder}/{who}.key"
        )

    def coordinator(self, at_once: int = 3) -> Coordinator:
        model, agreement = prior()
        keys = {name: verifier(as_text(self.keys[name].public_key())) for name in NAMES}
        plan, record = Plan(self.rounds, 1.0, 0.5), Record(self.folder / "fleet.sqlite")
        return Coordinator(model, agreement, plan, Members(keys, at_once), record)

    def serve(self, coordinator: Coordinator, **options: Any) -> bool:
        return mqtt.serve(
            self.url("coordinator"), coordinator, self.keys["coordinator"].sign, self.stop,
            say=self.said.append, **options,
        )  # fmt: skip

    def make(self, name: str, agreement: Agreement) -> Node:
        model, _ = prior()
        x, y = device(int(name[1:]))
        return Node(name, model, agreement, x, y, sign=self.keys[name].sign)

    def begin(self, name: str, make: Callable[[Agreement], Node] | None = None) -> threading.Event:
        """Start a node; return what stops it."""
        stop = threading.Event()
        verify = verifier(as_text(self.keys["coordinator"].public_key()))

        def run() -> None:
            made = make or (lambda agreed: self.make(name, agreed))
            try:
                self.ended[name] = mqtt.take_part(self.url(name), name, made, verify, stop,
                                                  say=self.said.append)  # fmt: skip
            except InputError as error:
                self.ended[name] = error

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        return stop

    def join(self) -> None:
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()


def rules() -> str:
    """Return the rules that docs/FLEET.md gives for mosquitto."""
    found = re.search(r"```\n(user coordinator\n.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def fleet(make_broker: MakeBroker, tmp_path: Path) -> Fleet:
    authority = certificate(tmp_path, "ca", None)
    for name in ("server", "coordinator", *NAMES):
        certificate(tmp_path, name, authority)
    (tmp_path / "acl").write_text(rules())
    broker = make_broker(
        f"cafile {tmp_path}/ca.crt\ncertfile {tmp_path}/server.crt\n"
        f"keyfile {tmp_path}/server.key\nrequire_certificate true\n"
        f"use_identity_as_username true\nacl_file {tmp_path}/acl",
        anonymous="false",
    )
    return Fleet(tmp_path, broker)


def test_three_nodes_learn_twenty_rounds_together(fleet: Fleet) -> None:
    coordinator = fleet.coordinator()
    for name in NAMES:
        fleet.begin(name)
    begun = time.monotonic()
    assert fleet.serve(coordinator, wait_for=3)
    fleet.join()
    assert time.monotonic() - begun < 20
    assert coordinator._record.remarks() == []
    for name in NAMES:
        agreement, start = fleet.ended[name]
        assert np.array_equal(start.vector, coordinator.state.vector) and start.round == 20
        x, y = device(77)
        model, _ = prior()
        few, rest = slice(0, 4), slice(4, None)
        right = model.adapt(start.vector, x[few], y[few]).predict(x[rest]) == y[rest]
        assert agreement.labels[0] == "drill" and right.mean() > 0.6


def test_a_node_that_is_lost_mid_round_holds_nobody_up(fleet: Fleet) -> None:
    fleet.rounds = 3
    coordinator = fleet.coordinator()
    fleet.begin("n0"), fleet.begin("n1")
    connection = Connection(parse(fleet.url("n2"), OPTIONS), lambda client: None)
    connection.open()  # it is there, and says nothing
    connection.wait_up()
    connection.client.publish("fleet/members/n2/here", b"1", 1, True).wait_for_publish(5)
    assert fleet.serve(coordinator, wait_for=3, timeout_s=0.5)
    connection.close()
    fleet.join()
    lost = [row for row in coordinator._record.remarks() if "lost" in row[2]]
    assert lost == [(r, "n2", "lost: it was asked and did not answer") for r in range(3)]
    assert fleet.said.count("round 1 is over, lost: n2") == 1


def test_one_node_cannot_speak_as_another(fleet: Fleet) -> None:
    """Neither through the broker's rules nor past them."""
    heard: list[str] = []
    spy = Connection(parse(fleet.url("coordinator"), OPTIONS),
                     lambda client: client.subscribe("fleet/members/#", 1))  # fmt: skip
    spy.client.on_message = lambda c, d, message: heard.append(message.topic)
    spy.open()
    spy.wait_up()
    bad = Connection(parse(fleet.url("n1"), OPTIONS), lambda client: None)
    bad.open()
    bad.wait_up()
    for topic in ("members/n0/update", "start", "agreement", "members/n1/update"):
        bad.client.publish(f"fleet/{topic}", b"x", 1).wait_for_publish(5)
    eventually(lambda: heard)
    time.sleep(0.2)
    assert heard == ["fleet/members/n1/update"]
    bad.close()
    spy.close()
    coordinator = fleet.coordinator()
    question = coordinator.ask(NAMES)
    node = fleet.make("n1", coordinator.founding.agreement)
    node.bound_to = coordinator.founding.digest
    said = coordinator.take("n0", node.answer(question.start))
    assert said == "the update is 'n1''s, but came from 'n0'"


def test_a_broker_that_is_started_anew_loses_nothing(fleet: Fleet) -> None:
    fleet.rounds = 30
    coordinator = fleet.coordinator()
    for name in NAMES:
        fleet.begin(name)

    def restart() -> None:
        eventually(lambda: coordinator.state.round >= 3)
        fleet.broker.stop(kill=True)
        fleet.broker.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    assert fleet.serve(coordinator, wait_for=3, timeout_s=5)
    restarting.join()
    fleet.join()
    assert coordinator.state.round == 30
    assert all(fleet.ended[name] is not None for name in NAMES)


def test_a_node_says_why_it_cannot_take_part(fleet: Fleet) -> None:
    fleet.rounds = 2
    coordinator = fleet.coordinator()

    def other(agreement: Agreement) -> Node:
        raise InputError("the embedder is 'sea/32', in this fleet it is 'sea/64'")

    fleet.begin("n0"), fleet.begin("n1", other)
    assert fleet.serve(coordinator, wait_for=1)
    fleet.join()
    assert "in this fleet it is 'sea/64'" in str(fleet.ended["n1"])


def test_what_a_false_coordinator_says_is_not_believed(fleet: Fleet) -> None:
    fleet.rounds = 2
    coordinator = fleet.coordinator()
    stop = fleet.begin("n0")
    fleet.keys["coordinator"] = Ed25519PrivateKey.generate()
    serving = threading.Thread(target=lambda: fleet.serve(coordinator, timeout_s=0.3))
    serving.start()
    eventually(lambda: any("not signed by this fleet's coordinator" in said for said in fleet.said))
    stop.set()
    fleet.stop.set()
    serving.join(10)
    fleet.join()
    assert fleet.ended["n0"] is None


def test_odd_names_are_refused() -> None:
    with pytest.raises(InputError, match="without /"):
        mqtt.take_part("mqtt://h/t", "a/b", None, None, threading.Event())  # type: ignore[arg-type]
