"""Discovery for Home Assistant: the keys its documentation asks for, and templates that work."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listen_embed.monitor.sinks.home_assistant import discovery
from listen_embed.monitor.sinks.mqtt import JsonSink

from ..world import Broker, Subscriber, entry, eventually

# Home Assistant's documented keys of what is used here, and their kinds.
COMMON = {
    "name": str,
    "unique_id": str,
    "state_topic": str,
    "value_template": str,
    "availability": list,
    "device": dict,
    "origin": dict,
    "qos": int,
    "json_attributes_topic": str,
    "icon": str,
    "entity_category": str,
}
KEYS = {
    "sensor": {**COMMON, "state_class": str, "suggested_display_precision": int},
    "binary_sensor": {**COMMON, "device_class": str},
}
REQUIRED = ("state_topic", "unique_id", "device", "origin")
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version"}


def entities() -> dict[str, tuple[str, dict[str, Any]]]:
    found = discovery("plant/lathe 1", "homeassistant", "Lathe", "1.2")
    return {topic.split("/")[3]: (topic, json.loads(payload)) for topic, payload in found}


def test_every_entity_keeps_to_the_documented_schema() -> None:
    found = entities()
    assert set(found) == {"state", "anomaly", "score", "monitor"}
    for topic, payload in found.values():
        prefix, component, node, _, last = topic.split("/")
        assert (prefix, last) == ("homeassistant", "config")
        assert node == "plant_lathe_1"  # only letters, digits, _ and - are allowed
        for key, value in payload.items():
            assert isinstance(value, KEYS[component][key]), key
        assert all(key in payload for key in REQUIRED)
        assert set(payload["device"]) <= DEVICE
        assert payload["origin"]["name"]
        assert payload["availability"][0]["topic"] == "plant/lathe 1/online"
    assert len({payload["unique_id"] for _, payload in found.values()}) == 4
    assert found["anomaly"][1]["device_class"] == "problem"


def render(template: str, message: dict[str, Any], before: str = "") -> str:
    jinja = pytest.importorskip("jinja2")
    this = {"state": before}
    return str(jinja.Template(template).render(value_json=message, this=this))


def test_templates_read_our_messages() -> None:
    found = {key: payload["value_template"] for key, (_, payload) in entities().items()}
    shown = {**entry(1).message(), "state": "Mode1", "anomaly": True}
    assert render(found["state"], shown) == "Mode1"
    assert render(found["state"], {"state": None}) == "none"
    assert render(found["anomaly"], shown) == "ON"
    assert render(found["anomaly"], {"anomaly": False}) == "OFF"
    beat = entry(2, "heartbeat", state="Mode1", anomaly=False, score=0.4).message()
    assert render(found["score"], beat) == "0.4"
    assert render(found["score"], entry(1).message(), "0.3") == "0.3"
    assert render(found["monitor"], {"problems": []}) == "OFF"
    assert render(found["monitor"], {"problems": ["full"]}) == "ON"
    online = entities()["state"][1]["availability"][0]["value_template"]
    assert [render(online, {"online": on}) for on in (True, False)] == ["online", "offline"]


def test_entities_appear_by_themselves_and_only_when_asked_for(broker: Broker) -> None:
    hears = Subscriber(broker, "homeassistant")
    silent = JsonSink(f"{broker.url}/a", "run")
    sink = JsonSink(f"{broker.url}/b?discovery=homeassistant", "run", "Lathe")
    eventually(lambda: len(hears.others) == 4)
    late = Subscriber(broker, "homeassistant", name="late")
    eventually(lambda: len(late.others) == 4)  # retained
    assert all("/b/" in topic for topic in late.others)
    for each in (sink, silent):
        each.close()
    for each in (hears, late):
        each.close()


def test_problems_are_retained(broker: Broker) -> None:
    sink = JsonSink(f"{broker.url}/m?discovery=homeassistant", "run")
    sink.send([entry(1)])
    sink.tell_problems(["the disk is full"])
    hears = Subscriber(broker, "m")
    told = json.dumps({"problems": ["the disk is full"]}).encode()
    # The sink connects behind our back, and greets with what it knows then: with none, perhaps.
    eventually(lambda: told in hears.others.get("m/health", []))
    late = Subscriber(broker, "m", name="late")
    eventually(lambda: "m/health" in late.others)
    assert set(late.others["m/health"]) == {told}
    sink.close()
    for each in (hears, late):
        each.close()
