"""Names of devices in topics, whatever they are."""

from __future__ import annotations

import pytest

from listen_embed.fleet.deploy import topics


@pytest.mark.parametrize("name", ["one", "hall 3/7", "a+b", "#", "ü%2F"])
def test_a_topic_leads_back_to_its_device(name: str) -> None:
    topic = topics.thing("our/fleet", name, "status")
    assert topic.count("/") == 4
    assert not set(topic) & set("+#")
    assert topics.parsed("our/fleet", topic) == (name, "status")


@pytest.mark.parametrize("topic", ["x", "fleet/files/0", "fleet/things/a/deploy", "b/fleet/things"])
def test_other_topics_are_no_devices(topic: str) -> None:
    assert topics.parsed("fleet", topic) is None
