"""Events out over MQTT, as JSON.

In: entries of the journal. Out: ``<topic>/events`` with QoS 1; ``<topic>/state`` retains the last
state and alarm, ``<topic>/online`` whether the monitor is there (false is its last will), and
``<topic>/health`` what is wrong with it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho

from listen_embed import __version__ as VERSION
from listen_embed.monitor.broker import OPTIONS, Connection, parse
from listen_embed.monitor.events import Entry, Value
from listen_embed.monitor.sinks.home_assistant import discovery

Answer = Callable[[bytes], dict[str, Value]]
# discovery: the prefix that Home Assistant listens to, empty for none.
SINK_OPTIONS = {**OPTIONS, "discovery": ""}


class JsonSink:
    """Publish events as JSON, the last state retained, presence with a last will."""

    def __init__(self, url: str, run: str, name: str = "machine") -> None:
        self._address = address = parse(url, SINK_OPTIONS)
        self._machine = name
        self.name = address.name
        self._online = f"{address.topic}/online"
        self._here, self._gone = (
            json.dumps({"online": online, "run": run}).encode() for online in (True, False)
        )
        self._connection = Connection(address, self._greet)
        self._connection.client.will_set(self._online, self._gone, qos=1, retain=True)
        self._problems: list[str] = []
        # Greeting happens in the connection's thread: what it says must not come after news.
        self._telling = threading.Lock()
        self._shown: dict[str, Value] = {"state": None, "anomaly": False}
        self._answer: Answer | None = None
        self._connection.open()

    def take_corrections(self, answer: Answer) -> None:
        """Hear ``<topic>/correct`` from now on, and say on ``<topic>/corrected`` what came of it.

        `answer` takes a message and returns that; it is called on the network thread.
        """
        self._answer = answer
        self._connection.client.on_message = self._asked
        if self._connection.up:
            self._subscribe(self._connection.client)

    def _subscribe(self, client: paho.Client) -> None:
        client.subscribe(f"{self._address.topic}/correct", 1)

    def _asked(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        # A retained correction would be learnt again at every start.
        if self._answer is not None and not message.retain:
            said = json.dumps(self._answer(bytes(message.payload))).encode()
            client.publish(f"{self._address.topic}/corrected", said, qos=1)

    def _greet(self, client: paho.Client) -> None:
        if self._answer is not None:
            self._subscribe(client)
        if prefix := self._address.options["discovery"]:
            for topic, payload in discovery(self._address.topic, prefix, self._machine, VERSION):
                client.publish(topic, payload, qos=1, retain=True)
            with self._telling:
                self._publish_problems()
        client.publish(self._online, self._here, qos=1, retain=True)

    def send(self, entries: Sequence[Entry]) -> None:
        """Publish the events, and the retained state after each event that changes it."""
        messages = []
        for entry in entries:
            topic = self._address.topic
            messages.append((f"{topic}/events", entry.json().encode(), False))
            if self._changes(entry):
                state = json.dumps({**entry.message(), **self._shown}).encode()
                messages.append((f"{topic}/state", state, True))
        self._connection.deliver(messages)

    def _changes(self, entry: Entry) -> bool:
        data = entry.event.data
        if entry.event.kind == "state":
            self._shown["state"] = data["state"]
        elif entry.event.kind == "anomaly":
            self._shown["anomaly"] = data["what"] == "begins"
            self._shown["state"] = data["state"]
        elif entry.event.kind == "heartbeat":
            self._shown |= {name: data[name] for name in self._shown}
            return False
        return entry.event.kind in ("state", "anomaly")

    def tell_problems(self, problems: Sequence[str]) -> None:
        """Retain what is wrong with the monitor on ``<topic>/health``; an empty list is well."""
        with self._telling:
            self._problems = list(problems)
            self._publish_problems()

    def _publish_problems(self) -> None:
        content = json.dumps({"problems": self._problems}).encode()
        self._connection.client.publish(f"{self._address.topic}/health", content, 1, True)

    def close(self) -> None:
        """Say good-bye, as the will would, and disconnect."""
        if self._connection.up:
            said = self._connection.client.publish(self._online, self._gone, 1, True)
            self._connection.flush(said)
        self._connection.close()
