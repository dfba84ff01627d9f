"""Sparkplug B: our bytes through protobuf's own parser, and births, deaths and data at a broker."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from listen_embed.errors import InputError
from listen_embed.monitor.events import Entry, Event
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.sinks.sparkplug import Metric, SparkplugSink, payload

from ..world import Broker, eventually, spawn

LABEL = {"optional": 1, "repeated": 3}
TYPES = {
    "uint64": 4,
    "uint32": 13,
    "bool": 8,
    "double": 1,
    "float": 2,
    "string": 9,
    "bytes": 12,
    "message": 11,
}
METRIC = [
    (1, "name", "string"),
    (2, "alias", "uint64"),
    (3, "timestamp", "uint64"),
    (4, "datatype", "uint32"),
    (5, "is_historical", "bool"),
    (6, "is_transient", "bool"),
    (7, "is_null", "bool"),
    (10, "int_value", "uint32"),
    (11, "long_value", "uint64"),
    (12, "float_value", "float"),
    (13, "double_value", "double"),
    (14, "boolean_value", "bool"),
    (15, "string_value", "string"),
    (16, "bytes_value", "bytes"),
]
PAYLOAD = [
    (1, "timestamp", "uint64"),
    (3, "seq", "uint64"),
    (4, "uuid", "string"),
    (5, "body", "bytes"),
]


def _message_class() -> Any:
    """Return the Payload of the specification, as far as we use it, made by protobuf itself."""
    pb = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    file = pb.FileDescriptorProto(name="sparkplug_test.proto", package="t", syntax="proto2")
    for name, fields in (("Metric", METRIC), ("Payload", PAYLOAD)):
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            message.field.add(name=field, number=number, type=TYPES[kind], label=LABEL["optional"])
    file.message_type[1].field.add(
        name="metrics",
        number=2,
        type=TYPES["message"],
        label=LABEL["repeated"],
        type_name=".t.Metric",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Payload"))


Payload = _message_class()


def parsed(data: bytes) -> Any:
    message = Payload()
    message.ParseFromString(data)
    assert not message.HasField("uuid")
    return message


def value(metric: Any) -> object:
    if metric.is_null:
        return None
    field = {8: "long_value", 10: "double_value", 11: "boolean_value", 12: "string_value"}
    assert metric.HasField(field[metric.datatype])
    return getattr(metric, field[metric.datatype])


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("uint64", 0),
        ("uint64", 2**64 - 1),
        ("uint64", 300),
        ("double", -1.5e300),
        ("boolean", True),
        ("boolean", False),
        ("string", "Modus ä"),
        ("string", ""),
        ("string", None),
    ],
)
def test_protobuf_reads_what_we_write(kind: str, given: object) -> None:
    data = payload([Metric("a/b", kind, given)], stamp_ms=1_700_000_000_123, seq=255)
    message = parsed(data)
    assert (message.timestamp, message.seq) == (1_700_000_000_123, 255)
    assert message.metrics[0].name == "a/b"
    assert value(message.metrics[0]) == given
    assert message.SerializeToString() == _canonical(data)


def _canonical(data: bytes) -> bytes:
    again = Payload()
    again.ParseFromString(data)
    return again.SerializeToString()


def test_a_death_has_no_seq_and_history_is_marked() -> None:
    assert not parsed(payload([], stamp_ms=1, seq=None)).HasField("seq")
    assert (
        parsed(payload([Metric("x", "uint64", 1)], stamp_ms=1, seq=0, historical=True))
        .metrics[0]
        .is_historical
    )


class Host:
    """A SCADA host that keeps what it hears."""

    def __init__(self, broker: Broker) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _, __, m: self.heard.append((m.topic, parsed(m.payload)))
        ready = threading.Event()
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.client.subscribe("spBv1.0/#", qos=1)
        assert ready.wait(5)

    def kinds(self) -> list[str]:
        return [topic.split("/")[2] for topic, _ in self.heard if "NCMD" not in topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def entry(number: int, kind: str, wall: float = 0.0, **data: object) -> Entry:
    return Entry(number, "run", Event("s", "c", number, 10, wall, kind, data))


def values(message: Any) -> dict[str, object]:
    return {metric.name: value(metric) for metric in message.metrics}


def test_births_data_and_death(broker: Broker, tmp_path: Path) -> None:
    host = Host(broker)
    sink = SparkplugSink(f"{broker.url}/Plant/Hall1/Lathe", str(tmp_path / "j"))
    sink.send(
        [
            entry(1, "state", state="Mode1"),
            entry(2, "anomaly", what="begins", state="Mode1", score=9.5),
            entry(3, "heartbeat", state="Mode1", anomaly=True, score=9.5, dropped_hops=4),
        ]
    )
    eventually(lambda: len(host.heard) >= 5)
    assert [topic for topic, _ in host.heard[:3]] == [
        "spBv1.0/Plant/NBIRTH/Hall1",
        "spBv1.0/Plant/DBIRTH/Hall1/Lathe",
        "spBv1.0/Plant/DDATA/Hall1/Lathe",
    ]
    assert [message.seq for _, message in host.heard[:5]] == [0, 1, 2, 3, 4]
    assert values(host.heard[0][1]) == {"bdSeq": 0, "Node Control/Rebirth": False}
    born = set(values(host.heard[1][1]))
    for _, message in host.heard[2:5]:
        assert set(values(message)) <= born
        assert all(metric.is_historical for metric in message.metrics)
    assert values(host.heard[3][1])["anomaly"] is True
    changed = set(values(host.heard[4][1]))  # report by exception: state and score are as before
    assert changed == {"dropped hops", "event/number", "event/kind", "event/json"}
    host.client.publish(
        "spBv1.0/Plant/NCMD/Hall1",
        payload([Metric("Node Control/Rebirth", "boolean", True)], stamp_ms=1, seq=None),
    )
    eventually(lambda: host.kinds()[-2:] == ["NBIRTH", "DBIRTH"] and len(host.kinds()) == 7)
    assert values(host.heard[-1][1])["state"] == "Mode1"
    sink.close()
    eventually(lambda: host.kinds()[-1] == "NDEATH")
    assert values(host.heard[-1][1]) == {"bdSeq": 0}
    host.close()


def test_a_death_by_kill_and_the_next_birth_count_on(broker: Broker, tmp_path: Path) -> None:
    host = Host(broker)
    code = (
        "import sys, time\nfrom listen_embed.monitor.sinks.sparkplug import SparkplugSink\n"
        "SparkplugSink(sys.argv[1], sys.argv[2])\ntime.sleep(60)"
    )
    for bd_seq in range(2):
        process = spawn("-c", code, f"{broker.url}/P/N/D", tmp_path / "j")
        eventually(lambda: host.kinds()[-1:] == ["DBIRTH"], 20)
        process.kill()
        process.communicate()
        eventually(lambda: host.kinds()[-1] == "NDEATH")
        births = [values(m)["bdSeq"] for t, m in host.heard if "NBIRTH" in t]
        assert births[-1] == values(host.heard[-1][1])["bdSeq"] == bd_seq
    host.close()


def test_seq_and_bd_seq_wrap_at_255(broker: Broker, tmp_path: Path) -> None:
    host = Host(broker)
    journal = Journal(tmp_path / "j")
    journal.remember("bdSeq", "255")
    journal.close()
    sink = SparkplugSink(f"{broker.url}/P/N/D", str(tmp_path / "j"))
    sink.send([entry(n, "state", state=f"{n}") for n in range(260)])
    eventually(lambda: len(host.heard) == 262)
    assert values(host.heard[0][1])["bdSeq"] == 0
    assert [message.seq for _, message in host.heard] == [n % 256 for n in range(262)]
    sink.close()
    host.close()


@pytest.mark.parametrize("url", ["mqtt://h/a", "mqtt://h/a/b", "mqtt://h/a/b/c/d", "mqtt://h/a//c"])
def test_addresses_need_group_node_and_device(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GROUP/NODE/DEVICE"):
        SparkplugSink(url, str(tmp_path / "j"))


def _official() -> Any:
    """Return the Payload that protoc made of Eclipse Tahu's own .proto, as others ship it."""
    return pytest.importorskip("sparkplub_b_packets.core.sparkplug_b_pb2").Payload


def test_our_field_numbers_are_the_official_ones() -> None:
    official = _official().DESCRIPTOR
    metric = official.nested_types_by_name["Metric"]
    for message, ours in ((official, [*PAYLOAD, (2, "metrics", "")]), (metric, METRIC)):
        names = {field.number: field.name for field in message.fields}
        for number, name, _ in ours:
            assert names[number] == name


def test_an_independent_implementation_reads_our_payloads() -> None:
    metrics = [
        Metric("state", "string", "Mode 1 \u00e4"),
        Metric("anomaly", "boolean", True),
        Metric("score", "double", 1.25),
        Metric("dropped", "uint64", 2**40),
        Metric("nothing", "string", None),
    ]
    data = payload(metrics, stamp_ms=1_700_000_000_123, seq=255, historical=True)
    found = _official().FromString(data)
    assert (found.timestamp, found.seq) == (1_700_000_000_123, 255)
    assert [m.name for m in found.metrics] == [m.name for m in metrics]
    assert [m.datatype for m in found.metrics] == [12, 11, 10, 8, 12]
    assert all(m.is_historical for m in found.metrics)
    state, anomaly, score, dropped, nothing = found.metrics
    assert (state.string_value, anomaly.boolean_value) == ("Mode 1 \u00e4", True)
    assert (score.double_value, dropped.long_value) == (1.25, 2**40)
    assert nothing.is_null
    assert nothing.WhichOneof("value") is None
    assert found.SerializeToString() == data  # nothing unknown, fields in their order
