"""Events: identity by place, one JSON form."""

from __future__ import annotations

import json
from dataclasses import replace

from listen_embed.monitor.events import Entry, Event, iso

EVENT = Event("file:a", "c", 4800, 48000, 1e9 + 0.1, "state", {"state": "Mode 1", "odd": None})


def test_an_id_is_made_of_the_place_and_kind_alone() -> None:
    assert len(EVENT.id) == 16
    assert replace(EVENT, wall=5.0, rate=1, data={"state": "other"}).id == EVENT.id
    others = (
        replace(EVENT, source="b"),
        replace(EVENT, clock="d"),
        replace(EVENT, sample=1),
        replace(EVENT, kind="anomaly"),
        replace(EVENT, data={"what": "ends"}),
    )
    assert len({EVENT.id, *(other.id for other in others)}) == 6


def test_the_parts_of_an_id_do_not_run_together() -> None:
    assert replace(EVENT, source="a", clock="bc").id != replace(EVENT, source="ab", clock="c").id


def test_the_message_has_everything_and_is_one_line() -> None:
    line = Entry(7, "run", EVENT).json()
    assert "\n" not in line
    message = json.loads(line)
    assert message["time_s"] == 0.1
    assert message["wall"] == "2001-09-09T01:46:40.100Z"
    assert (message["number"], message["run"], message["state"]) == (7, "run", "Mode 1")


def test_iso_has_milliseconds_and_utc() -> None:
    assert iso(0.0) == "1970-01-01T00:00:00.000Z"
