"""MQTT with a real broker: events out, blocks in, passwords, TLS, wills, and missing blocks."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from listen_embed.errors import InputError
from listen_embed.monitor import mqtt
from listen_embed.monitor.block import Block, pack
from listen_embed.monitor.events import Entry, Event
from listen_embed.monitor.mqtt import JsonSink, MqttSource, Order, parse
from listen_embed.monitor.sinks import SinkError
from listen_embed.monitor.sources import Notice, Place

from .world import (
    RATE,
    ROOT,
    Broker,
    Subscriber,
    cut,
    eventually,
    finished,
    sound,
    spawn,
    write_wav,
)


def entry(number: int, kind: str = "state", **data: object) -> Entry:
    data = data or {"state": f"Mode{number}"}
    return Entry(number, "run", Event("s", "c", number, 10, 1e9, kind, data))


def test_events_state_and_presence(broker: Broker) -> None:
    hears = Subscriber(broker, "m")
    sink = JsonSink(f"{broker.url}/m", "run")
    eventually(lambda: "m/online" in hears.others)
    sink.send([entry(1), entry(2, "anomaly", what="begins", state="Mode1", score=9.0), entry(3)])
    assert [event["number"] for event in hears.told_numbers()] == [1, 2, 3]
    late = Subscriber(broker, "m", name="late")
    eventually(lambda: "m/state" in late.others and "m/online" in late.others)
    state = json.loads(late.others["m/state"][-1])
    assert (state["state"], state["anomaly"], state["number"]) == ("Mode3", True, 3)
    assert json.loads(late.others["m/online"][-1]) == {"online": True, "run": "run"}
    sink.close()
    eventually(lambda: json.loads(late.others["m/online"][-1])["online"] is False)
    for subscriber in (hears, late):
        subscriber.close()


def test_the_last_will_speaks_for_a_monitor_that_was_killed(broker: Broker) -> None:
    hears = Subscriber(broker, "m")
    code = (
        "import sys, time\nfrom listen_embed.monitor.mqtt import JsonSink\n"
        "sink = JsonSink(sys.argv[1], 'r')\nsink._connection.wait_up()\ntime.sleep(60)"
    )
    process = spawn("-c", code, f"{broker.url}/m")
    eventually(lambda: "m/online" in hears.others, 20)
    process.kill()
    process.communicate()
    eventually(lambda: json.loads(hears.others["m/online"][-1])["online"] is False)
    hears.close()


def test_a_broker_that_goes_and_comes_loses_nothing(broker: Broker) -> None:
    hears = Subscriber(broker, "m")
    sink = JsonSink(f"{broker.url}/m", "run")
    sink.send([entry(1)])
    broker.stop(kill=True)
    delivered = threading.Event()

    def send() -> None:
        while not delivered.is_set():
            try:
                sink.send([entry(2), entry(3)])
                delivered.set()
            except SinkError:
                continue

    sender = threading.Thread(target=send)
    sender.start()
    assert not delivered.wait(1.0)
    broker.start()
    assert delivered.wait(20)
    sender.join()
    sink.send([entry(4)])
    eventually(lambda: len({event["number"] for event in hears.received}) == 4)
    hears.told()  # asserts the order
    sink.close()
    hears.close()


def test_closing_frees_a_send_that_waits(broker: Broker) -> None:
    sink = JsonSink(f"{broker.url}/m", "run")
    sink.send([entry(1)])
    broker.stop(kill=True)
    result: list[Exception] = []

    def send() -> None:
        try:
            sink.send([entry(2)])
        except SinkError as error:
            result.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    sink.close()
    sender.join(10)
    assert len(result) == 1


def test_passwords(
    make_broker: Callable[..., Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    from .world import needs

    (tmp_path / "users").touch()
    subprocess.run(
        [needs("mosquitto_passwd"), "-b", str(tmp_path / "users"), "ann", "s3cret/@"],
        check=True,
        capture_output=True,
    )
    (tmp_path / "users").chmod(0o600)
    broker = make_broker(f"password_file {tmp_path / 'users'}", "false")
    (tmp_path / "pw").write_text("s3cret/@\n")
    host = f"127.0.0.1:{broker.port}"
    for url in (
        f"mqtt://ann:s3cret%2F%40@{host}/m",
        f"mqtt://ann@{host}/m?passwordfile={tmp_path}/pw",
    ):
        sink = JsonSink(url, "run")
        sink.send([entry(1)])
        sink.close()
        assert "s3cret" not in sink.name + repr(sink._address)
    monkeypatch.setattr(mqtt, "_CONNECT_S", 1.0)
    wrong = JsonSink(f"mqtt://ann:wrong@{host}/m", "run")
    with pytest.raises(SinkError, match="no connection"):
        wrong.send([entry(1)])
    wrong.close()


def _certificate(
    folder: Path, name: str, signer: tuple[object, object] | None
) -> tuple[object, object]:
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    issuer_key, issuer = (key, subject) if signer is None else (signer[0], signer[1].subject)
    certificate = (
        x509.CertificateBuilder(
            issuer,
            subject,
            key.public_key(),
            x509.random_serial_number(),
            now - datetime.timedelta(hours=1),
            now + datetime.timedelta(days=1),
        )
        .add_extension(names, False)
        .add_extension(x509.BasicConstraints(signer is None, None), True)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key, certificate


# paho leaves the sockets of failed handshakes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_with_client_certificates(
    make_broker: Callable[..., Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = _certificate(tmp_path, "ca", None)
    _certificate(tmp_path, "server", authority)
    _certificate(tmp_path, "client", authority)
    _certificate(tmp_path, "stranger", None)
    broker = make_broker(
        f"cafile {tmp_path}/ca.crt\ncertfile {tmp_path}/server.crt\n"
        f"keyfile {tmp_path}/server.key\nrequire_certificate true"
    )
    base = f"mqtts://127.0.0.1:{broker.port}/m"
    ours = f"cert={tmp_path}/client.crt&key={tmp_path}/client.key"
    sink = JsonSink(f"{base}?ca={tmp_path}/ca.crt&{ours}", "run")
    sink.send([entry(1)])
    sink.close()
    monkeypatch.setattr(mqtt, "_CONNECT_S", 1.0)
    for refused in (
        f"{base}?ca={tmp_path}/stranger.crt&{ours}",
        f"{base}?ca={tmp_path}/ca.crt",
        f"{base}?{ours}",
    ):
        sink = JsonSink(refused, "run")
        with pytest.raises(SinkError, match="no connection"):
            sink.send([entry(1)])
        sink.close()


def test_protocol_3_works_too(broker: Broker) -> None:
    sink = JsonSink(f"{broker.url}/m?protocol=3", "run")
    sink.send([entry(1)])
    sink.close()


@pytest.mark.parametrize(
    "url", ["http://h/t", "mqtt://h", "mqtt:///t", "mqtt://h/a/#", "mqtt://h:x/t", "mqtt://h/t?x=1"]
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        parse(url)


def test_ports_and_names() -> None:
    assert parse("mqtt://h/a/b").name == "mqtt://h:1883/a/b"
    assert parse("mqtts://u:p@h/a").name == "mqtts://h:8883/a"


def ordered(blocks: list[Block], patience_s: float = 60.0) -> tuple[list[int], list[int]]:
    """Return the first samples in the order given on, and what was asked for."""
    asked: list[int] = []
    order = Order(patience_s, lambda: asked.append(order.expected))
    given = [block.first for arriving in blocks for block in order.push(arriving)]
    return given, asked


def test_blocks_in_order_pass_and_repetitions_do_not() -> None:
    a, b, c = cut(sound(("low", 0.3)), 800)
    assert ordered([a, b, b, a, c]) == ([0, 800, 1600], [])


def test_a_missing_block_is_asked_for_and_the_rest_waits() -> None:
    a, b, c, d = cut(sound(("low", 0.4)), 800)
    assert ordered([a, c, d]) == ([0], [800])
    assert ordered([a, c, d, b]) == ([0, 800, 1600, 2400], [800])


def test_what_the_sensor_no_longer_has_is_not_waited_for() -> None:
    a, _, c, d = cut(sound(("low", 0.4)), 800)
    assert ordered([a, d, replace(c, oldest=True)]) == ([0, 1600, 2400], [800])


def test_a_replay_that_comes_in_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(mqtt.time, "monotonic", lambda: now[0])
    blocks = cut(sound(("low", 4.0)), 800)
    asked: list[int] = []
    order = Order(10.0, lambda: asked.append(order.expected))
    given = [b.first for late in blocks[20:] for b in order.push(late)]
    for block in blocks[:20] * 2:  # the replay takes 20 s, and comes twice
        now[0] += 0.5
        given += [b.first for b in order.push(block)]
    assert given == [block.first for block in blocks]
    assert asked == [0]


def test_an_answer_that_does_not_come_is_asked_for_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(mqtt.time, "monotonic", lambda: now[0])
    blocks = cut(sound(("low", 4.0)), 800)
    asked: list[int] = []
    order = Order(10.0, lambda: asked.append(order.expected))
    for block in blocks[1:20]:
        assert list(order.push(block)) == []
        now[0] += 0.3
    assert asked == [0] * 5


def test_more_than_can_be_held_is_left_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "_MAX_EARLY", 5)
    blocks = cut(sound(("low", 2.0)), 800)
    given, asked = ordered([*blocks[1:], *blocks[:8], *blocks[8:]])
    assert given == [block.first for block in blocks]
    assert asked == [0]


def test_patience_has_an_end() -> None:
    a, _, c, d = cut(sound(("low", 0.4)), 800)
    assert ordered([a, c, d], patience_s=0.0) == ([0, 1600, 2400], [])


def test_a_new_stream_begins_anew_and_an_ended_one_is_over() -> None:
    a, b = cut(sound(("low", 0.2)), 800, "one")
    end = Block(b.samples[:0], RATE, b.end, "one", ends=True)
    other = cut(sound(("low", 0.1)), 800, "two")[0]
    assert ordered([a, b, end, a, b, end, other]) == ([0, 800, 1600, 0], [])


def test_a_monitor_that_had_heard_the_end_ignores_a_replay() -> None:
    order = Order(60.0, lambda: None)
    order.resume(Place("one", 0, done=True))
    assert [list(order.push(block)) for block in cut(sound(("low", 0.2)), 800, "one")] == [[], []]


def test_random_order_with_repetitions_gives_every_sample_once() -> None:
    rng = np.random.default_rng(2)
    blocks = cut(sound(("low", 5.0)), 777)
    shuffled = [blocks[i] for i in np.concatenate([rng.permutation(len(blocks)) for _ in range(2)])]
    order = Order(60.0, lambda: None)
    given = [block for arriving in shuffled for block in order.push(arriving)]
    assert [block.first for block in given] == [block.first for block in blocks]


def test_garbage_on_the_topic_is_a_notice(broker: Broker) -> None:
    source = MqttSource(f"{broker.url}/sensor?once=1")
    stranger = Subscriber(broker, "sensor", name="stranger")
    samples = sound(("low", 0.1))

    def publish() -> None:
        eventually(lambda: "sensor/control" in stranger.others)  # it asks after it subscribed
        good = pack(Block(samples, RATE, 0, ends=True), stream=1, sequence=0)
        for message in (b"", b"garbage", good[:-1], b"\xff" * 5000, good):
            stranger.client.publish("sensor", message, qos=1)

    threading.Thread(target=publish).start()
    items = list(source.items(None, threading.Event()))
    assert [i.what if isinstance(i, Notice) else len(i.samples) for i in items] == [
        "garbage"
    ] * 4 + [800]
    stranger.close()


def test_a_live_sensor_that_was_restarted_is_another_clock(broker: Broker, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", sound(("low", 1.0)))
    source, stop = MqttSource(f"{broker.url}/sensor?stall=60"), threading.Event()
    found: list[Block] = []

    def listen() -> None:
        for item in source.items(None, stop):
            assert isinstance(item, Block)
            found.append(item)
            if item.ends:
                source.keep(item.clock, item.end + 1)

    listener = threading.Thread(target=listen)
    listener.start()
    for _ in range(2):
        finished(
            spawn(ROOT / "examples/monitor/sensor.py", wav, f"{broker.url}/sensor", "--pace", 0)
        )
    stop.set()
    listener.join(10)
    assert len({block.clock for block in found}) == 2
    assert sum(len(block.samples) for block in found) == 2 * RATE
