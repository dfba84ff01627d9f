"""PCM blocks in from a sensor that publishes them over MQTT.

In: an MQTT address (`listen_embed.monitor.broker`). Out: `MqttSource`.

**A sensor's protocol, version 1.** The sensor publishes framed blocks
(`listen_embed.monitor.block`) on ``<topic>`` with QoS 1 and keeps what it sent for as long as it
can. On ``<topic>/control`` the monitor publishes JSON: ``{"version": 1, "stream": S, "keep": N}``
says that nothing before sample N of stream S will be asked for again, and
``{"version": 1, "stream": S, "send": N}`` asks for everything from sample N on once more (if the
sensor no longer has that, it marks the oldest block it has); stream "" means whichever there is.

The monitor asks whenever it connects, whenever a block is missing, and, once a second, while
nothing comes; it then says again what may be forgotten, too. So blocks survive a crash of broker,
network or monitor alike, as far back as the sensor's memory goes: end to end, whatever the broker
forgot. A sensor that keeps nothing ignores the topic (``replay=0`` then spares the waiting).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho

from listen_embed.monitor.block import Block
from listen_embed.monitor.broker import OPTIONS, Connection, parse
from listen_embed.monitor.query import number
from listen_embed.monitor.sources.backlog import Backlog
from listen_embed.monitor.sources.order import ASK_AGAIN_S, Order
from listen_embed.monitor.sources.sockets import framed
from listen_embed.monitor.sources.source import Item, Notice, Place

_SOURCE_OPTIONS = {
    **OPTIONS,
    "backlog": "120",
    "stall": "5",
    "replay": "1",
    "once": "0",
    "live": "1",
}
_CAN_WAIT_S = 60.0
# How long a missing block is waited for.
_PATIENCE_S = 10.0


class MqttSource:
    """A sensor that publishes framed blocks; what is missing is asked for again."""

    def __init__(self, url: str) -> None:
        self._address = address = parse(url, _SOURCE_OPTIONS)
        given = address.options
        self.name = address.name
        live = given["live"] != "0"
        self.limit_s = number(given, "backlog", 0.1, 3600) if live else float("inf")
        self._stall_s = number(given, "stall", 0.1, 86400)
        self._once, self._replays = given["once"] == "1", given["replay"] == "1"
        self._asked = self._heard = 0.0
        self._kept = ("", 0)
        self._said: paho.MQTTMessageInfo | None = None
        self._backlog = Backlog(2 * self.limit_s if live else _CAN_WAIT_S)
        self._order = Order(_PATIENCE_S if self._replays else 0.0, self._ask)
        self._connection = Connection(address, self._subscribe)
        self._connection.client.on_message = self._received

    def _subscribe(self, client: paho.Client) -> None:
        client.subscribe(self._address.topic, qos=1)
        self._ask()

    def _received(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        self._heard = time.monotonic()
        item = framed(bytes(message.payload))
        if isinstance(item, Notice):
            self._backlog.add(item)
        elif self._backlog.has_room():  # what finds no room will be missed and asked for again
            for block in self._order.push(item):
                self._backlog.add(block)

    def _ask(self) -> None:
        self._asked = time.monotonic()
        self._control("send", self._order.expected)

    def _remind(self) -> None:
        """Say again what stands: the sensor may have missed it while it was cut off, and wait."""
        is_quiet = time.monotonic() - max(self._asked, self._heard) > ASK_AGAIN_S
        if self._replays and is_quiet and self._connection.up:
            if self._kept[0] == self._order.clock:
                self._control("keep", self._kept[1])
            self._ask()

    def _control(self, verb: str, sample: int) -> None:
        stream = self._order.clock.partition("@")[0]
        text = json.dumps({"version": 1, "stream": stream, verb: sample})
        client, topic = self._connection.client, f"{self._address.topic}/control"
        self._said = client.publish(topic, text, qos=1)

    def items(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield blocks in order without repetitions; a block that nobody has shows as a gap."""
        if place is not None:
            self._order.resume(place)
        self._connection.open()
        try:
            for item in self._backlog.items(stop, self._stall_s, self._remind):
                yield item
                if self._once and isinstance(item, Block) and item.ends:
                    return
        finally:
            self._connection.flush(self._said)
            self._connection.close()

    def behind_s(self) -> float:
        """Return the seconds of sound that wait in the queue."""
        return self._backlog.seconds()

    def keep(self, clock: str, sample: int) -> None:
        """Tell the sensor that it may forget what is before `sample`."""
        self._kept = (clock, sample)
        if clock == self._order.clock:
            self._control("keep", sample)
