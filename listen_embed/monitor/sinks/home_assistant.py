"""Entities that appear in Home Assistant by themselves.

In: a machine's topics. Out: retained discovery messages, one an entity.
Source: Home Assistant, "MQTT", section discovery, and the pages of the MQTT sensor and binary
sensor (``state_topic`` is required; with ``device`` goes ``unique_id``; ``origin`` needs a name).
"""

from __future__ import annotations

import json
import re
from typing import Any

_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]+")


def discovery(topic: str, prefix: str, name: str, version: str) -> list[tuple[str, bytes]]:
    """Return (topic, payload) pairs to be retained.

    Parameters
    ----------
    topic : str
        The machine's own topic.
    prefix : str
        What Home Assistant listens to, ``homeassistant`` unless it was told another.
    name : str
        The machine's name.
    version : str
        Version of this package.
    """
    machine = _UNSAFE.sub("_", topic).strip("_") or "machine"
    shared: dict[str, Any] = {
        "availability": [
            {
                "topic": f"{topic}/online",
                "value_template": "{{ 'online' if value_json.online else 'offline' }}",
            }
        ],
        "device": {
            "identifiers": [f"listen_embed_{machine}"],
            "name": name,
            "manufacturer": "listen-embed",
            "model": "machine monitor",
            "sw_version": version,
        },
        "origin": {"name": "listen-embed", "sw_version": version},
        "qos": 1,
    }
    found = []
    for component, key, entity in _entities(topic):
        unique_id = f"listen_embed_{machine}_{key}"
        payload = {**shared, **entity, "unique_id": unique_id}
        found.append((f"{prefix}/{component}/{machine}/{key}/config", json.dumps(payload).encode()))
    return found


def _entities(topic: str) -> list[tuple[str, str, dict[str, Any]]]:
    heard = "{{ value_json.score if value_json.score is defined else this.state }}"
    state = {
        "name": "State",
        "state_topic": f"{topic}/state",
        "value_template": "{{ value_json.state or 'none' }}",
        "json_attributes_topic": f"{topic}/state",
        "icon": "mdi:state-machine",
    }
    alarm = {
        "name": "Anomaly",
        "state_topic": f"{topic}/state",
        "value_template": "{{ 'ON' if value_json.anomaly else 'OFF' }}",
        "device_class": "problem",
    }
    score = {
        "name": "Anomaly score",
        "state_topic": f"{topic}/events",
        "value_template": heard,
        "state_class": "measurement",
        "suggested_display_precision": 2,
    }
    monitor = {
        "name": "Monitor",
        "state_topic": f"{topic}/health",
        "value_template": "{{ 'ON' if value_json.problems else 'OFF' }}",
        "json_attributes_topic": f"{topic}/health",
        "device_class": "problem",
        "entity_category": "diagnostic",
    }
    return [
        ("sensor", "state", state),
        ("binary_sensor", "anomaly", alarm),
        ("sensor", "score", score),
        ("binary_sensor", "monitor", monitor),
    ]
