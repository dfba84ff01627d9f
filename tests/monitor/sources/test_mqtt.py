"""A sensor behind a real broker: garbage and restarts."""

from __future__ import annotations

import threading
from pathlib import Path

from listen_embed.monitor.block import Block, pack
from listen_embed.monitor.sources import Notice
from listen_embed.monitor.sources.mqtt import MqttSource

from ..world import (
    RATE,
    ROOT,
    Broker,
    Subscriber,
    eventually,
    finished,
    sound,
    spawn,
    write_wav,
)


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
