"""Events out over a real broker: state, presence, wills, and brokers that go away."""

from __future__ import annotations

import json
import threading

from listen_embed.monitor.events import SinkError
from listen_embed.monitor.sinks.mqtt import JsonSink

from ..world import Broker, Subscriber, entry, eventually, spawn


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
        "import sys, time\nfrom listen_embed.monitor.sinks.mqtt import JsonSink\n"
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
