"""A connection to an MQTT broker that is kept up.

In: ``mqtt[s]://[user[:password]@]host[:port]/topic?options``. Out: `Address`, `Connection`.

Options: ``ca``, ``cert``, ``key`` (PEM files; mqtts without ``ca`` trusts the system's
authorities), ``passwordfile`` (keeps the password off the command line), ``client`` (client id),
``protocol`` (5 or 3 for 3.1.1).

"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from listen_embed.errors import InputError
from listen_embed.monitor.events import SinkError
from listen_embed.monitor.query import options

_log = logging.getLogger(__name__)
_PORTS = {"mqtt": 1883, "mqtts": 8883}
OPTIONS = {"ca": "", "cert": "", "key": "", "passwordfile": "", "client": "", "protocol": "5"}
_KEEPALIVE_S = 20
_CONNECT_S = 5.0
_FLUSH_S = 2.0


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


def parse(text: str, allowed: dict[str, str] = OPTIONS) -> Address:
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


def explain(error: BaseException) -> str:
    """Return why a connection failed, so that somebody can mend it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        if "issuer" in said or "self-signed" in said or "self signed" in said:
            return f"its certificate is of an unknown authority ({said}); give ?ca=FILE"
        if "expired" in said or "not yet valid" in said:
            return f"{said}; look at the broker's certificate and at this computer's clock"
        if "mismatch" in said:
            return f"its certificate is for another name ({said})"
        return f"its certificate is refused ({said})"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails ({error.reason or error})"
    if isinstance(error, socket.gaierror):
        return f"the name is not known ({error.strerror})"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}"


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
        self._why = "it does not answer"
        self._up = False
        self._closed = False
        self.client.on_connect = self._connected
        self.client.on_connect_fail = self._failed
        self.client.on_disconnect = self._disconnected
        self.client.on_publish = self._published

    def open(self) -> None:
        """Start the network thread; it connects, now or later, as often as it takes."""
        self.client.connect_async(self.address.host, self.address.port, _KEEPALIVE_S)
        self.client.loop_start()

    def _connected(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._say_why(str(reason))
            return
        self._on_up(client)
        with self._changed:
            self._up = True
            self._changed.notify_all()

    def _failed(self, *_: Any) -> None:
        # paho calls this while it handles the error that it does not pass on.
        if (error := sys.exception()) is not None:
            self._say_why(explain(error))

    def _say_why(self, why: str) -> None:
        if why != self._why:
            _log.warning("%s: no connection: %s; trying again", self.address.name, why)
        self._why = why

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
                raise SinkError(f"{self.address.name}: no connection ({self._why})")

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
