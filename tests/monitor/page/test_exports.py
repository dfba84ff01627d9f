"""Events and timelines for other programs."""

from __future__ import annotations

import csv
import io
import json

from listen_embed.monitor.events import Entry, Event
from listen_embed.monitor.page import exports

from ..world import entry, point


def at(number: int, second: float, kind: str = "state", **data: object) -> Entry:
    event = Event("s", "c", round(10 * second), 10, 1e9 + second, kind, data)
    return Entry(number, "run", event)


STORY = [
    at(1, 0.0, "source", what="started", rate_hz=10),
    at(2, 2.0, state="off", since_sample=0, probability=0.9),
    at(3, 9.0, state="on", since_sample=80, probability=0.9),
    at(4, 12.0, "anomaly", what="begins", state="on", score=2.0, since_sample=115),
    at(5, 15.0, "anomaly", what="ends", state="on", score=0.2, since_sample=140),
    at(6, 20.0, "source", what="ended"),
]


def test_audacity_labels_are_spans_of_states_and_alarms() -> None:
    rows = [line.split("\t") for line in exports.audacity_labels(STORY).splitlines()]
    assert [(float(a), float(b), text) for a, b, text in rows] == [
        (0.0, 8.0, "off"),
        (8.0, 20.0, "on"),
        (11.5, 14.0, "ALARM"),
    ]


def test_events_as_csv_and_json() -> None:
    rows = list(csv.DictReader(io.StringIO(exports.events_csv(STORY))))
    assert [row["kind"] for row in rows] == [e.event.kind for e in STORY]
    assert rows[3]["score"] == "2.0"
    assert json.loads(rows[1]["more"]) == {"since_sample": 0, "probability": 0.9}
    assert json.loads(exports.events_json(STORY))[3]["what"] == "begins"


def test_no_cell_is_a_formula() -> None:
    rows = exports.events_csv([entry(1, state="=cmd|x")])
    assert "'=cmd|x" in rows


def test_timelines_as_csv_and_json() -> None:
    points = [point(1e9, "on"), point(1e9 + 1, None, anomaly=True, x=None, y=None)]
    rows = list(csv.DictReader(io.StringIO(exports.trace_csv(points))))
    assert [(row["wall"], row["state"], row["anomaly"]) for row in rows] == [
        ("2001-09-09T01:46:40.000Z", "on", "0"),
        ("2001-09-09T01:46:41.000Z", "", "1"),
    ]
    assert json.loads(exports.trace_json(points))[1]["anomaly"] is True


def test_metrics_in_prometheus_text_format() -> None:
    present = {
        "score": 0.5,
        "threshold": 1.0,
        "alarm": True,
        "level_db": -30.0,
        "latency_s": 0.001,
        "dropped": 3,
        "time_s": 10.0,
        "heard_at": 1e9,
        "problems": ["x"],
        "state": "on",
        "sinks": [{"name": "jsonl:/x", "backlog": 4}],
    }
    text = exports.metrics('la"the', present, ["off", "on"])
    lines = text.splitlines()
    assert 'listen_embed_alarm{machine="la\\"the"} 1' in lines
    assert 'listen_embed_state{machine="la\\"the",state="on"} 1' in lines
    assert 'listen_embed_sink_backlog_events{machine="la\\"the",sink="jsonl:/x"} 4' in lines
    assert lines.count("# TYPE listen_embed_score gauge") == 1
    silent = {**present, **dict.fromkeys(("score", "level_db", "latency_s"), None)}
    assert "listen_embed_score" not in exports.metrics("x", silent, [])
