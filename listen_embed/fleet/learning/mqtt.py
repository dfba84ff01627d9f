"""Rounds over MQTT, for small devices.

Topics below the one in the URL: ``agreement`` and ``start`` from the coordinator, retained;
``members/NAME/here``, retained, with a last will; ``members/NAME/update``; ``members/NAME/refused``
with the reason. A broker needs to let a node write only below its own name, see docs/FLEET.md.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import paho.mqtt.client as paho

from listen_embed.errors import InputError
from listen_embed.fleet.keys import Sign, Verify
from listen_embed.fleet.learning.coordinator import Coordinator
from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.messages import Founding, Question
from listen_embed.fleet.learning.node import Node, Start
from listen_embed.fleet.learning.updates import RefusalError
from listen_embed.monitor.broker import OPTIONS, Address, Connection, parse

_log = logging.getLogger(__name__)
Say = Callable[[str], None]
_POLL_S = 0.1
_FLUSH_S = 5.0
_MAX_WAITING = 1000


class _Message(NamedTuple):
    topic: str
    payload: bytes


class _Door:
    """A connection whose messages wait in a queue.

    Parameters
    ----------
    address : Address
    topics : list of str
        What to hear, below the address's topic.
    here : str
        Topic, below the address's, that says whether this end is there; empty for none.
    """

    def __init__(self, address: Address, topics: list[str], here: str = "") -> None:
        self._base, self._topics, self._here = address.topic, topics, here
        self._waiting: queue.Queue[_Message] = queue.Queue(_MAX_WAITING)
        self._connection = Connection(address, self._up)
        self._said: dict[str, bytes] = {}
        client = self._connection.client
        client.on_message = self._heard
        if here:
            client.will_set(f"{self._base}/{here}", b"0", 1, True)

    def __enter__(self) -> _Door:
        self._connection.open()
        self._connection.wait_up()
        return self

    def __exit__(self, *_: object) -> None:
        if self._here:
            self.tell(self._here, b"0", retain=True)
        self._connection.close()

    def _up(self, client: paho.Client) -> None:
        """Say again what a broker that was started anew may have forgotten."""
        for topic in self._topics:
            client.subscribe(f"{self._base}/{topic}", 1)
        if self._here:
            client.publish(f"{self._base}/{self._here}", b"1", 1, True)
        for topic, payload in self._said.items():
            client.publish(f"{self._base}/{topic}", payload, 1, True)

    def _heard(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        found = _Message(message.topic.removeprefix(f"{self._base}/"), bytes(message.payload))
        try:
            self._waiting.put_nowait(found)
        except queue.Full:
            _log.warning("%s: too many messages wait; one is dropped", found.topic)

    def tell(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish, with QoS 1; what is retained is said again after every connect."""
        if retain:
            self._said[topic] = payload
        sent = self._connection.client.publish(f"{self._base}/{topic}", payload, 1, retain)
        self._connection.flush(sent)

    def hear(self, stop: threading.Event) -> Iterator[_Message | None]:
        """Yield messages as they come, None now and then, until `stop` is set."""
        while not stop.is_set():
            try:
                yield self._waiting.get(timeout=_POLL_S)
            except queue.Empty:
                yield None


def serve(
    url: str,
    coordinator: Coordinator,
    sign: Sign,
    stop: threading.Event,
    *,
    timeout_s: float = 10.0,
    wait_for: int = 1,
    say: Say = lambda text: None,
) -> bool:
    """Hold the rounds that are left; return whether all are over.

    Parameters
    ----------
    url : str
        ``mqtt[s]://[user@]host[:port]/topic?options``.
    coordinator : Coordinator
    sign : callable
        By the coordinator's key.
    stop : threading.Event
        Ends it between two messages.
    timeout_s : float
        So long a round waits for a node; one whose connection breaks is not waited for.
    wait_for : int
        A round begins when so many nodes are there.
    say : callable
        Told of every round and every refusal.

    Raises
    ------
    ListenEmbedError
        The broker cannot be reached.
    """
    door = _Door(parse(url, OPTIONS), ["members/+/here", "members/+/update"])
    with door:
        door.tell("agreement", coordinator.founding.pack(sign), retain=True)
        _Rounds(door, coordinator, sign, timeout_s, wait_for, say).hold(stop)
    return coordinator.is_done


class _Rounds:
    """The rounds of a coordinator behind a door."""

    def __init__(
        self,
        door: _Door,
        coordinator: Coordinator,
        sign: Sign,
        timeout_s: float,
        wait_for: int,
        say: Say,
    ) -> None:
        self._door, self._coordinator, self._sign = door, coordinator, sign
        self._timeout_s, self._wait_for, self._say = timeout_s, wait_for, say
        self._present: set[str] = set()
        self._until = 0.0
        self._asked = False

    def hold(self, stop: threading.Event) -> None:
        """Hold rounds until all are over, or `stop` is set."""
        for message in self._door.hear(stop):
            if message is not None:
                self._take(message)
            if self._asked and self._is_over():
                self._end_round()
            if self._coordinator.is_done:
                self._ask()  # tells everybody that it is
                return
            if not self._asked and len(self._present) >= self._wait_for:
                self._ask()

    def _is_over(self) -> bool:
        late = time.monotonic() > self._until
        return late or not self._coordinator.missing & self._present

    def _ask(self) -> None:
        question = self._coordinator.ask(self._present)
        message = question.pack(self._coordinator.founding, self._sign)
        self._door.tell("start", message, retain=True)
        self._asked, self._until = True, time.monotonic() + self._timeout_s

    def _end_round(self) -> None:
        round_, lost = self._coordinator.state.round, self._coordinator.missing
        self._coordinator.end_round()
        self._asked = False
        self._say(
            f"round {round_} is over" + (f", lost: {', '.join(sorted(lost))}" if lost else "")
        )

    def _take(self, message: _Message) -> None:
        _, _, rest = message.topic.partition("members/")
        node, _, what = rest.rpartition("/")
        if what == "here":
            (self._present.add if message.payload == b"1" else self._present.discard)(node)
        elif what == "update":
            refusal = self._coordinator.take(node, message.payload)
            if refusal is not None:
                self._say(f"refused: {refusal}")
                self._door.tell(f"members/{node}/refused", refusal.encode())


MakeNode = Callable[[Agreement], Node]


def take_part(
    url: str,
    name: str,
    make_node: MakeNode,
    verify: Verify,
    stop: threading.Event,
    *,
    say: Say = lambda text: None,
) -> tuple[Agreement, Start] | None:
    """Be a node until the rounds are over; return the last start, None if stopped before.

    Parameters
    ----------
    url : str
        As in `serve`.
    name : str
        This node's.
    make_node : callable
        What the fleet agrees on -> the node; raises `InputError` if it cannot take part in that.
    verify : callable
        By the coordinator's key.
    stop : threading.Event
        Ends it between two messages.
    say : callable
        Told of every round, and of messages that are not believed.
    """
    address = parse(url, OPTIONS)
    if "/" in name or set(name) & set("+#\0"):
        raise InputError(f"the node's name is {name!r}; give one without /, + and #")
    topics = ["agreement", "start", f"members/{name}/refused"]
    with _Door(address, topics, f"members/{name}/here") as door:
        part = _Part(door, name, make_node, verify, say)
        for message in door.hear(stop):
            if message is not None:
                with _not_believing(say):
                    part.take(message)
            if part.last is not None:
                return part.last
    return None


@contextlib.contextmanager
def _not_believing(say: Say) -> Iterator[None]:
    try:
        yield
    except RefusalError as error:
        say(f"not believed: {error}")


class _Part:
    """A node's part in the rounds."""

    def __init__(
        self, door: _Door, name: str, make_node: MakeNode, verify: Verify, say: Say
    ) -> None:
        self._door, self._name, self._say = door, name, say
        self._make_node, self._verify = make_node, verify
        self._founding: Founding | None = None
        self._node: Node | None = None
        self._start: bytes = b""
        self._answered = -1
        self._answer = b""
        self.last: tuple[Agreement, Start] | None = None

    def take(self, message: _Message) -> None:
        """Take what the coordinator says."""
        if message.topic == "agreement":
            self._join(message.payload)
        elif message.topic == "start":
            self._start = message.payload
        else:
            self._say(f"refused: {message.payload[:500].decode(errors='replace')}")
            return
        if self._founding is not None and self._start:
            start, self._start = self._start, b""
            self._learn(start, self._founding)

    def _join(self, payload: bytes) -> None:
        founding = Founding.unpack(payload, self._verify)
        if founding != self._founding:
            node = self._make_node(founding.agreement)
            self._node = replace(node, name=self._name, bound_to=founding.digest)
            self._founding, self._answered = founding, -1

    def _learn(self, payload: bytes, founding: Founding) -> None:
        question = Question.unpack(payload, founding, self._verify)
        round_ = question.start.round
        if round_ < self._answered:
            raise RefusalError(f"the start is of round {round_}, which is over")
        if question.is_last:
            self.last = founding.agreement, question.start
        elif self._name in question.asked and self._node is not None:
            if round_ > self._answered:  # else the coordinator asks again, and gets the same
                self._answer, self._answered = self._node.answer(question.start), round_
                self._say(f"round {round_}: learnt from {len(self._node.x)} samples")
            self._door.tell(f"members/{self._name}/update", self._answer)
