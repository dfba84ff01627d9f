"""MQTT both ways: events out as JSON, PCM blocks in from a sensor.

In: ``mqtt[s]://[user[:password]@]host[:port]/topic?options``. Out: `JsonSink`, `MqttSource`.

Options: ``ca``, ``cert``, ``key`` (PEM files; mqtts without ``ca`` trusts the system's
authorities), ``passwordfile`` (keeps the password off the command line), ``client`` (client id),
``protocol`` (5 or 3 for 3.1.1).

Events go to ``<topic>/events`` with QoS 1; ``<topic>/state`` retains the last state and alarm, and
``<topic>/online`` whether the monitor is there (false is its last will).

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

import contextlib
import json
import logging
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from listen_embed.errors import InputError
from listen_embed.monitor.block import Block
from listen_embed.monitor.events import Entry, Value
from listen_embed.monitor.sinks import SinkError
from listen_embed.monitor.sources import Backlog, Item, Notice, Place, framed, number, options

_log = logging.getLogger(__name__)
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_OPTIONS = {"ca": "", "cert": "", "key": "", "passwordfile": "", "client": "", "protocol": "5"}
_SOURCE_OPTIONS = {
    **_OPTIONS,
    "backlog": "120",
    "stall": "5",
    "replay": "1",
    "once": "0",
    "live": "1",
}
_KEEPALIVE_S = 20
_CONNECT_S = 5.0
_FLUSH_S = 2.0
_CAN_WAIT_S = 60.0
# How long a missing block is waited for, and how often it is asked for meanwhile.
_PATIENCE_S, _ASK_AGAIN_S = 10.0, 1.0
_MAX_EARLY = 1024


@dataclass(frozen=True)
class Address:
    """A broker, a topic, and how to get in."""

    host: str
    port: int
    topic: str
    tls: bool
    user: str | None
    password: str | None = field(repr=False)
    options: dict[str, str]

    @property
    def name(self) -> str:
        """The address without secrets."""
        scheme = "mqtts" if self.tls else "mqtt"
        return f"{scheme}://{self.host}:{self.port}/{self.topic}"


def parse(text: str, allowed: dict[str, str] = _OPTIONS) -> Address:
    """Return the parts of an MQTT URL.

    Raises
    ------
    InputError
        It is none, lacks host or topic, or has an unknown option.
    """
    url = urlsplit(text)
    topic = unquote(url.path.strip("/"))
    try:
        port = url.port or _PORTS[url.scheme]
    except (KeyError, ValueError):
        port = 0
    if not port or not url.hostname or not topic or set(topic) & set("+#\0") or "#" in text:
        raise InputError(
            f"{text.split('@')[-1]!r} is no MQTT address; give mqtt://host/topic or "
            "mqtts://user@host:port/topic, the topic without + and #"
        )
    given = options(url.query, allowed)
    password = unquote(url.password) if url.password else None
    if given["passwordfile"]:
        password = _read_password(given["passwordfile"])
    user = unquote(url.username) if url.username else None
    return Address(url.hostname, port, topic, url.scheme == "mqtts", user, password, given)


def _read_password(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"passwordfile {path}: {error}") from error


def make_client(address: Address) -> paho.Client:
    """Return a client that is set up for an address but not connected."""
    modern = address.options["protocol"] != "3"
    client_id = address.options["client"] or f"listen-embed-{uuid.uuid4().hex[:12]}"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if modern else MQTTProtocolVersion.MQTTv311,
    )
    client.reconnect_delay_set(1, 10)
    if address.user is not None:
        client.username_pw_set(address.user, address.password)
    if address.tls:
        client.tls_set_context(_tls_context(address))
    return client


def _tls_context(address: Address) -> ssl.SSLContext:
    given = address.options
    try:
        context = ssl.create_default_context(cafile=given["ca"] or None)
        if given["cert"]:
            context.load_cert_chain(given["cert"], given["key"] or None)
    except OSError as error:
        raise InputError(f"certificates for {address.name}: {error}") from error
    return context


class Connection:
    """A connection to a broker that is kept up; delivery of QoS 1 messages is confirmed.

    Parameters
    ----------
    address : Address
        Where to.
    on_up : callable
        Called on the network thread after every connect, with the client.
    """

    def __init__(self, address: Address, on_up: Callable[[paho.Client], None]) -> None:
        self.address = address
        self.client = make_client(address)
        self._on_up = on_up
        self._changed = threading.Condition()
        self._confirmed: set[int] = set()
        self._refused: str | None = None
        self._up = False
        self._closed = False
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_publish = self._published

    def open(self) -> None:
        """Start the network thread; it connects, now or later, as often as it takes."""
        self.client.connect_async(self.address.host, self.address.port, _KEEPALIVE_S)
        self.client.loop_start()

    def _connected(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            _log.warning("%s refuses the connection: %s", self.address.name, reason)
            return
        self._on_up(client)
        with self._changed:
            self._up = True
            self._changed.notify_all()

    def _disconnected(self, *_: Any) -> None:
        if not self._closed:
            _log.warning("%s: connection lost, connecting again", self.address.name)
        with self._changed:
            self._up = False
            self._changed.notify_all()

    def _published(self, _: Any, __: Any, mid: int, reason: Any, ___: Any) -> None:
        with self._changed:
            self._confirmed.add(mid)
            if getattr(reason, "is_failure", False):
                self._refused = str(reason)
            self._changed.notify_all()

    @property
    def up(self) -> bool:
        """Whether there is a connection just now."""
        return self._up

    def wait_up(self) -> None:
        """Return when there is a connection; raise `SinkError` if none comes up soon."""
        with self._changed:
            self._changed.wait_for(lambda: self._up or self._closed, timeout=_CONNECT_S)
            if not self._up:
                raise SinkError(f"{self.address.name}: no connection")

    def deliver(self, messages: Sequence[tuple[str, bytes, bool]]) -> None:
        """Publish (topic, payload, retain) with QoS 1 in order; return when all are confirmed.

        A broken connection is waited out: the client sends again what was not confirmed.

        Raises
        ------
        SinkError
            There is no connection, the broker refuses, or the connection is closed for good.
        """
        self.wait_up()
        with self._changed:
            self._refused = None
            self._confirmed.clear()
        # Not under the lock: the client confirms while it holds a lock of its own.
        sent = {
            self.client.publish(topic, payload, 1, retain).mid
            for topic, payload, retain in messages
        }
        with self._changed:
            self._changed.wait_for(lambda: self._closed or sent <= self._confirmed)
            if self._refused or not sent <= self._confirmed:
                raise SinkError(f"{self.address.name}: {self._refused or 'closed'}")

    def flush(self, last: paho.MQTTMessageInfo | None) -> None:
        """Wait a little for a message to be confirmed, if there is a connection."""
        if last is not None and self._up:
            with contextlib.suppress(RuntimeError, ValueError):
                last.wait_for_publish(_FLUSH_S)

    def close(self) -> None:
        """Disconnect and stop the network thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.client.disconnect()
        self.client.loop_stop()


class JsonSink:
    """Publish events as JSON, the last state retained, presence with a last will."""

    def __init__(self, url: str, run: str) -> None:
        self._address = address = parse(url)
        self.name = address.name
        self._online = f"{address.topic}/online"
        self._here, self._gone = (
            json.dumps({"online": online, "run": run}).encode() for online in (True, False)
        )
        self._connection = Connection(address, self._greet)
        self._connection.client.will_set(self._online, self._gone, qos=1, retain=True)
        self._shown: dict[str, Value] = {"state": None, "anomaly": False}
        self._connection.open()

    def _greet(self, client: paho.Client) -> None:
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

    def close(self) -> None:
        """Say good-bye, as the will would, and disconnect."""
        if self._connection.up:
            said = self._connection.client.publish(self._online, self._gone, 1, True)
            self._connection.flush(said)
        self._connection.close()


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
        is_quiet = time.monotonic() - max(self._asked, self._heard) > _ASK_AGAIN_S
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


class Order:
    """Blocks in any order and number of times -> each sample once, in order.

    Parameters
    ----------
    patience_s : float
        How long a missing block is waited for.
    ask : callable
        Asks the sensor for everything from `expected` on.
    """

    def __init__(self, patience_s: float, ask: Callable[[], None]) -> None:
        self.clock, self.expected = "", 0
        self._ended = False
        self._patience_s, self._ask = patience_s, ask
        self._early: dict[int, Block] = {}
        self._missing_since: float | None = None
        self._asked = self._heard_old = 0.0
        self._is_replaying = False

    def resume(self, place: Place) -> None:
        """Go on at a place; of a stream that had ended nothing more is wanted."""
        self.clock, self.expected, self._ended = place.clock, place.sample, place.done

    def push(self, block: Block) -> Iterator[Block]:
        """Yield what can be known to be next."""
        if block.clock != self.clock:  # the sensor counts anew
            self.clock, self.expected, self._ended = block.clock, 0, False
            self._early, self._missing_since = {}, None
        if self._early and block.first < max(self._early):
            self._heard_old = time.monotonic()  # an answer, or a repetition that delays it
        if self._ended or (block.end <= self.expected and not block.ends):
            return
        self._hold(block)
        while self._early and self._is_next(self._early[first := min(self._early)]):
            candidate = self._early.pop(first)
            if candidate.end > self.expected or candidate.ends:
                self.expected = max(self.expected, candidate.end)
                self._ended = candidate.ends
                yield candidate
        self._is_replaying = self._is_replaying and bool(self._early)

    def _hold(self, block: Block) -> None:
        known = self._early.get(block.first)
        if known is None or known.end < block.end or block.oldest:
            self._early[block.first] = block
        if len(self._early) > _MAX_EARLY:
            del self._early[max(self._early)]  # it will be missed in its turn

    def _is_next(self, block: Block) -> bool:
        """Whether to go on with a block: nothing is missing before it, or patience has run out."""
        now = time.monotonic()
        if block.first <= self.expected or block.oldest:
            self._missing_since = None
            return True
        if self._missing_since is None:
            self._missing_since = now
        if now - self._missing_since >= self._patience_s:
            self._missing_since = None
            return True
        self._ask_if_due(now)
        return False

    def _ask_if_due(self, now: float) -> None:
        """Ask, but not while what was asked for is coming in: each answer may be a minute long."""
        since = max(self._asked, self._heard_old) if self._is_replaying else self._asked
        if now - since > _ASK_AGAIN_S:
            self._asked, self._is_replaying = now, True
            self._ask()
