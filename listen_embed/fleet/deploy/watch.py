"""A whole fleet as its broker knows it: descriptions and statuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import paho.mqtt.client as paho

from listen_embed.errors import InputError
from listen_embed.fleet.deploy import topics
from listen_embed.fleet.deploy.status import Status, unseal
from listen_embed.fleet.keys import Verify
from listen_embed.fleet.things.triples import MAX_BYTES
from listen_embed.monitor.broker import Address, Connection

MAX_THINGS = 100_000
_QUIET_S = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a device.

    Attributes
    ----------
    name : str
    description : bytes
        Its Thing Description; empty before it came.
    status : Status or None
    online : bool
    heard_at : float
        When its last message came, by this computer's clock.
    problem : str
        Why its last status is not believed; what was known before stays.
    """

    name: str
    description: bytes = b""
    status: Status | None = None
    online: bool = False
    heard_at: float = 0.0
    problem: str = ""


class Watch:
    """Hears what devices say.

    Parameters
    ----------
    address : Address
        Of the broker, and the fleet's topic.
    members : mapping of str to callable
        Devices' names, and what checks the signatures of each; no other's status is believed.
    on_description : callable, optional
        Called with a name and a description that is new, on the network thread.
    """

    def __init__(
        self,
        address: Address,
        members: Mapping[str, Verify],
        on_description: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._base, self._members = address.topic, members
        self._on_description = on_description
        self._things: dict[str, Seen] = {}
        self._changed = threading.Condition()
        self._last = time.monotonic()
        self.connection = Connection(address, self._greet)
        self.connection.client.on_message = self._heard
        self.connection.open()

    def _greet(self, client: paho.Client) -> None:
        client.subscribe([(f"{self._base}/things/+/{part}", 1) for part in topics.PARTS])

    def _heard(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        about = topics.parsed(self._base, message.topic)
        if about is None:
            return
        (name, part), content = about, bytes(message.payload)
        with self._changed:
            known = self._things.get(name, Seen(name))
            if name in self._things or len(self._things) < MAX_THINGS:
                self._things[name] = _with(known, part, content, self._members.get(name))
            self._last = time.monotonic()
            self._changed.notify_all()
        if part == "td" and self._on_description and content != known.description:
            self._on_description(name, content)

    def things(self) -> dict[str, Seen]:
        """Return what is known, by names."""
        with self._changed:
            return dict(self._things)

    def settle(self, longest_s: float) -> dict[str, Seen]:
        """Return what is known once nothing new came for half a second, or after `longest_s`.

        Raises
        ------
        SinkError
            There is no connection to the broker.
        """
        self.connection.wait_up()
        deadline = time.monotonic() + longest_s
        self._last = time.monotonic()
        while time.monotonic() < min(deadline, self._last + _QUIET_S):
            time.sleep(0.05)
        return self.things()

    def wait_for(self, done: Callable[[dict[str, Seen]], bool], longest_s: float) -> bool:
        """Wait until the fleet is as wanted; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: done(self._things), longest_s)

    def close(self) -> None:
        """Disconnect."""
        self.connection.close()


def _with(known: Seen, part: str, content: bytes, verify: Verify | None) -> Seen:
    """Return what is known after a message."""
    known = replace(known, heard_at=time.time())
    if part == "online":
        return replace(known, online=content == b"true")
    if part == "td":
        return replace(known, description=content if len(content) <= MAX_BYTES else b"")
    try:
        return replace(known, status=_newer(content, known, verify), problem="")
    except InputError as error:
        return replace(known, problem=str(error))


def _newer(content: bytes, known: Seen, verify: Verify | None) -> Status:
    """Return a status that its device said after the one that is known; else raise `InputError`."""
    status = unseal(content, known.name, verify)
    if known.status is not None and status.time < known.status.time:
        raise InputError(
            f"the status is {known.status.time - status.time:.0f} s older than the one before: "
            "replayed, or the device's clock was set back"
        )
    return status


def row(seen: Seen) -> dict[str, object]:
    """Return what is known of a device as a flat table."""
    status = seen.status or Status(time=0.0, health="unknown")
    about = {name: getattr(seen, name) for name in ("name", "online", "heard_at", "problem")}
    return about | asdict(status)
