"""Sparkplug B out: births, deaths and device data for SCADA systems that speak it.

In: entries of the journal. Out: ``spBv1.0/<group>/.../<node>/<device>`` messages, protobuf-encoded
by hand for the fixed set of metrics below.

Sparkplug asks for QoS 0, so a broker may lose what plain MQTT JSON would not; data that could not
be sent at once carries ``is_historical``. Births are repeated after every connect and on the
command ``Node Control/Rebirth``; ``bdSeq`` ties a birth to its death and survives restarts.
Source: Eclipse Sparkplug 3.0.0 specification, section 6 (payload, field numbers, data types).
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho

from listen_embed.errors import InputError
from listen_embed.monitor.broker import Connection, parse
from listen_embed.monitor.events import Entry, SinkError
from listen_embed.monitor.journal import Journal

_REBIRTH = "Node Control/Rebirth"
_SEND_TIMEOUT_S = 10.0
# An event older than this when it is sent is history.
_HISTORY_S = 5.0
_VARINT, _FIXED64, _LEN = 0, 1, 2
# name of a type -> (Sparkplug data type, field of the value, wire type)
_TYPES = {
    "uint64": (8, 11, _VARINT),
    "double": (10, 13, _FIXED64),
    "boolean": (11, 14, _VARINT),
    "string": (12, 15, _LEN),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A named value; None is sent as null."""

    name: str
    kind: str
    value: str | int | float | bool | None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, wire: int, value: Any) -> bytes:
    key = _varint(number << 3 | wire)
    if wire == _VARINT:
        return key + _varint(int(value))
    if wire == _FIXED64:
        return key + struct.pack("<d", value)
    return key + _varint(len(value)) + bytes(value)


def _metric(metric: Metric, stamp_ms: int, historical: bool) -> bytes:
    datatype, number, wire = _TYPES[metric.kind]
    parts = [
        _field(1, _LEN, metric.name.encode()),
        _field(3, _VARINT, stamp_ms),
        _field(4, _VARINT, datatype),
    ]
    if historical:
        parts.append(_field(5, _VARINT, True))
    if metric.value is None:
        parts.append(_field(7, _VARINT, True))
    else:
        text = metric.value.encode() if isinstance(metric.value, str) else metric.value
        parts.append(_field(number, wire, text))
    return b"".join(parts)


def payload(
    metrics: Iterable[Metric], *, stamp_ms: int, seq: int | None, historical: bool = False
) -> bytes:
    """Return a Sparkplug B payload; an NDEATH has no `seq`."""
    parts = [_field(1, _VARINT, stamp_ms)]
    parts += [_field(2, _LEN, _metric(m, stamp_ms, historical)) for m in metrics]
    if seq is not None:
        parts.append(_field(3, _VARINT, seq))
    return b"".join(parts)


class SparkplugSink:
    """An edge node with one device, the machine.

    Parameters
    ----------
    url : str
        ``mqtt[s]://host/GROUP/NODE/DEVICE``.
    journal : str
        Where ``bdSeq`` is kept.
    """

    def __init__(self, url: str, journal: str) -> None:
        address = parse(url)
        names = address.topic.split("/")
        if len(names) != 3 or not all(names):
            raise InputError(
                f"Sparkplug address {address.name!r}: give mqtt://host/GROUP/NODE/DEVICE"
            )
        self._group, self._node, self._device = names
        self.name = f"sparkplug+{address.name}"
        self._journal = journal
        self._lock = threading.Lock()
        self._seq = self._bd_seq = 0
        self._last = {
            "state": Metric("state", "string", None),
            "anomaly": Metric("anomaly", "boolean", False),
            "score": Metric("anomaly score", "double", None),
            "dropped": Metric("dropped hops", "uint64", 0),
        }
        self._connection = Connection(address, self._greet)
        self._connection.client.on_pre_connect = self._new_will
        self._connection.client.on_message = self._command
        self._connection.open()

    def _topic(self, kind: str) -> str:
        device = f"/{self._device}" if kind[0] == "D" else ""
        return f"spBv1.0/{self._group}/{kind}/{self._node}{device}"

    def _new_will(self, client: paho.Client, _: Any) -> None:
        journal = Journal(self._journal, durable=False)
        self._bd_seq = (int(journal.remembered("bdSeq") or -1) + 1) % 256
        journal.remember("bdSeq", str(self._bd_seq))
        journal.close()
        client.will_set(self._topic("NDEATH"), self._death(), qos=1)

    def _death(self) -> bytes:
        metric = Metric("bdSeq", "uint64", self._bd_seq)
        return payload([metric], stamp_ms=_now_ms(), seq=None)

    def _greet(self, client: paho.Client) -> None:
        client.subscribe(self._topic("NCMD"), qos=1)
        self._births(client)

    def _births(self, client: paho.Client) -> None:
        node = [Metric("bdSeq", "uint64", self._bd_seq), Metric(_REBIRTH, "boolean", False)]
        device = [*self._last.values(), *_event_metrics(None)]
        with self._lock:
            self._seq = 0
            for kind, metrics in (("NBIRTH", node), ("DBIRTH", device)):
                client.publish(self._topic(kind), self._numbered(metrics, _now_ms()), qos=0)

    def _numbered(
        self, metrics: Iterable[Metric], stamp_ms: int, historical: bool = False
    ) -> bytes:
        seq, self._seq = self._seq, (self._seq + 1) % 256
        return payload(metrics, stamp_ms=stamp_ms, seq=seq, historical=historical)

    def _command(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        # The one command that an edge node must know; repeating a birth harms nobody.
        if _REBIRTH.encode() in message.payload:
            self._births(client)

    def send(self, entries: Sequence[Entry]) -> None:
        """Publish each event as a DDATA with what it changes."""
        for entry in entries:
            self._connection.wait_up()
            with self._lock:
                metrics = [*self._changes(entry), *_event_metrics(entry)]
                historical = time.time() - entry.event.wall > _HISTORY_S
                content = self._numbered(metrics, round(entry.event.wall * 1000), historical)
                info = self._connection.client.publish(self._topic("DDATA"), content, qos=0)
            try:
                info.wait_for_publish(_SEND_TIMEOUT_S)
            except (RuntimeError, ValueError) as error:
                raise SinkError(f"{self.name}: {error}") from error
            if info.rc != paho.MQTT_ERR_SUCCESS or not info.is_published():
                raise SinkError(f"{self.name}: connection lost while sending")

    def _changes(self, entry: Entry) -> list[Metric]:
        data, before = entry.event.data, dict(self._last)
        if "state" in data:
            self._last["state"] = Metric("state", "string", data["state"])
        if entry.event.kind == "anomaly":
            self._last["anomaly"] = Metric("anomaly", "boolean", data["what"] == "begins")
        if "score" in data:
            self._last["score"] = Metric("anomaly score", "double", data["score"])
        if "dropped_hops" in data:
            self._last["dropped"] = Metric("dropped hops", "uint64", data["dropped_hops"])
        return [metric for name, metric in self._last.items() if metric != before[name]]

    def close(self) -> None:
        """Publish the death that the will would, and disconnect."""
        if self._connection.up:
            said = self._connection.client.publish(self._topic("NDEATH"), self._death(), qos=1)
            self._connection.flush(said)
        self._connection.close()


def _event_metrics(entry: Entry | None) -> list[Metric]:
    return [
        Metric("event/number", "uint64", entry.number if entry else None),
        Metric("event/kind", "string", entry.event.kind if entry else None),
        Metric("event/json", "string", entry.json() if entry else None),
    ]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
