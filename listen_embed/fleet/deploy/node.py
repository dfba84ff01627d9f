"""A device on a broker: it says what it is and runs, and obeys manifests that are signed for it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import paho.mqtt.client as paho
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from listen_embed.errors import ListenEmbedError
from listen_embed.fleet.deploy import topics
from listen_embed.fleet.deploy.manifest import FileInfo, Manifest, unseal
from listen_embed.fleet.deploy.obey import obey
from listen_embed.fleet.deploy.refusal import Refusal
from listen_embed.fleet.deploy.slots import Slots
from listen_embed.fleet.deploy.status import Status, seal
from listen_embed.fleet.keys import Sign
from listen_embed.fleet.things.capabilities import Device
from listen_embed.fleet.things.describe_device import describe_device
from listen_embed.monitor.broker import Address, Connection

_LOG = logging.getLogger(__name__)
_FETCH_S = 60.0


class Node:
    """A device that is connected to a broker.

    Parameters
    ----------
    address : Address
        Of the broker, and the fleet's topic.
    device : Device
        What it has.
    slots : Slots
        Its models.
    trusted : sequence of Ed25519PublicKey
        Who may tell it what to run.
    sign : callable
        By its key: what it says about itself.
    clock : callable
        Gives the seconds since 1970.
    learning : callable
        Gives what it is learning just now, for its status; empty for nothing.
    """

    def __init__(
        self,
        address: Address,
        device: Device,
        slots: Slots,
        trusted: Sequence[Ed25519PublicKey],
        sign: Sign,
        clock: Callable[[], float] = time.time,
        learning: Callable[[], str] = str,
    ) -> None:
        self.device, self.slots = device, slots
        self._base, self._trusted, self._sign = address.topic, trusted, sign
        self._clock, self._learning = clock, learning
        self._refused = (0, "")
        self._work = threading.Lock()
        self._next: bytes | None = None
        self._is_working = False
        self._files: dict[str, bytes] = {}
        self._wanted: set[str] = set()
        self._arrived = threading.Condition()
        self._connection = Connection(address, self._greet)
        self._client = self._connection.client
        self._client.will_set(self._topic("online"), b"false", qos=1, retain=True)
        self._client.on_message = self._heard

    def _topic(self, part: str) -> str:
        return topics.thing(self._base, self.device.name, part)

    def open(self) -> None:
        """Connect, now or later, as often as it takes."""
        self._connection.open()

    def close(self) -> None:
        """Say good-bye, finish what is being installed, and disconnect."""
        if self._connection.up:
            said = self._client.publish(self._topic("online"), b"false", 1, True)
            self._connection.flush(said)
        with self._work:
            self._connection.close()

    def _greet(self, client: paho.Client) -> None:
        told = json.dumps(describe_device(self.device)).encode()
        client.publish(self._topic("td"), told, 1, True)
        client.publish(self._topic("online"), b"true", 1, True)
        self.tell()
        client.subscribe(self._topic("deploy"), qos=1)
        for sha256 in list(self._wanted):
            client.subscribe(topics.file(self._base, sha256), qos=1)

    def tell(self) -> None:
        """Publish the status."""
        said = seal(self.status(), self.device.name, self._sign)
        self._client.publish(self._topic("status"), said, 1, True)

    def status(self) -> Status:
        """Return what this device runs, and how it is."""
        state = self.slots.state
        said = Status(
            time=self._clock(),
            sequence=state.sequence,
            health=self.slots.problem or "ok",
            refused_sequence=self._refused[0],
            refused=self._refused[1],
            learning=self._learning(),
        )
        if state.current is not None:
            said = replace(said, model=state.current.model, digest=state.current.digest)
        if state.previous is not None:
            before = state.previous
            said = replace(said, previous_model=before.model, previous=before.digest)
        return said

    def _heard(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        """Take a file that is waited for, or a manifest, which is obeyed on another thread."""
        if message.topic == self._topic("deploy"):
            self._take(bytes(message.payload))
            return
        sha256 = message.topic.rpartition("/")[2]
        with self._arrived:
            if sha256 in self._wanted:
                self._files[sha256] = bytes(message.payload)
                self._arrived.notify_all()

    def _take(self, envelope: bytes) -> None:
        """Obey an envelope next; of several that wait the newest counts."""
        with self._arrived:
            self._next = envelope
            if self._is_working:
                return
            self._is_working = True
        threading.Thread(target=self._obey_all, name="deploy", daemon=True).start()

    def _obey_all(self) -> None:
        while True:
            with self._arrived:
                envelope, self._next = self._next, None
                self._is_working = envelope is not None
            if envelope is None:
                return
            self.obey(envelope)

    def obey(self, envelope: bytes) -> None:
        """Do what an envelope says if it is right, and tell the outcome."""
        with self._work:
            manifest = None
            try:
                manifest = unseal(envelope, self._trusted)
                self._obey(manifest)
                self._refused = (0, "")
            except ListenEmbedError as error:
                _LOG.warning("%s: refused: %s", self.device.name, error)
                self._refused = (manifest.sequence if manifest else 0, str(error))
            self.tell()

    def _obey(self, manifest: Manifest) -> None:
        if manifest.sequence == self.slots.state.sequence:
            return  # the broker repeats what is retained after every connect
        obey(manifest, self.device, self.slots, self._clock(), self._fetch)
        self.slots.problem = ""

    def _fetch(self, wanted: FileInfo) -> bytes:
        """Return a file that the broker has; what is too large for the promise is not kept."""
        sha256, topic = wanted.sha256, topics.file(self._base, wanted.sha256)
        with self._arrived:
            self._wanted.add(sha256)
        self._client.subscribe(topic, qos=1)
        try:
            with self._arrived:
                if not self._arrived.wait_for(lambda: sha256 in self._files, _FETCH_S):
                    raise Refusal(f"the file {sha256[:12]}… did not come within {_FETCH_S:g} s")
                return self._files[sha256]
        finally:
            self._client.unsubscribe(topic)
            with self._arrived:
                self._wanted.discard(sha256)
                self._files.pop(sha256, None)
