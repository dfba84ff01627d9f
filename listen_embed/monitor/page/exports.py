"""Events and timelines for other programs: CSV, JSON, Audacity's labels, Prometheus's metrics."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from listen_embed.monitor.events import Entry, iso
from listen_embed.monitor.trace import TracePoint

_COLUMNS = ("number", "wall", "kind", "what", "state", "score", "threshold", "source", "sample")


def events_json(entries: Iterable[Entry]) -> str:
    """Return events as a JSON list."""
    return json.dumps([entry.message() for entry in entries], indent=1)


def events_csv(entries: Iterable[Entry]) -> str:
    """Return events as CSV; what has no column of its own stands as JSON in the last one."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*_COLUMNS, "more"])
    for entry in entries:
        message = entry.message()
        more = {key: value for key, value in entry.event.data.items() if key not in _COLUMNS}
        row = [_safe(message.get(column, "")) for column in _COLUMNS]
        writer.writerow([*row, json.dumps(more) if more else ""])
    return buffer.getvalue()


def _safe(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: details may come from a sensor."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def trace_csv(points: Iterable[TracePoint]) -> str:
    """Return timelines as CSV, without spectra."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["wall", "state", "score", "anomaly", "latency_ms", "level_db", "x", "y"])
    for p in points:
        row = [iso(p.wall), _safe(p.state or ""), p.score, int(p.anomaly), p.latency_ms]
        writer.writerow([*row, p.level_db, p.x, p.y])
    return buffer.getvalue()


def trace_json(points: Iterable[TracePoint]) -> str:
    """Return timelines as JSON, without spectra."""
    names = [name for name in TracePoint.__slots__ if name != "spectrum"]
    return json.dumps([{name: getattr(point, name) for name in names} for point in points])


def audacity_labels(entries: Sequence[Entry]) -> str:
    """Return states and alarms as an Audacity label track, seconds from the sound's start.

    Source: Audacity manual, "Importing and Exporting Labels": start, end and text, tabs between.
    """
    return "".join(
        f"{start:.6f}\t{end:.6f}\t{text}\n" for start, end, text in sorted(_spans(entries))
    )


def _spans(entries: Sequence[Entry]) -> Iterable[tuple[float, float, str]]:
    for kind in ("state", "anomaly"):
        open_at: tuple[float, str] | None = None
        for entry in entries:
            event = entry.event
            at = event.sample / event.rate
            since = event.data.get("since_sample")
            begun = at if since is None else float(since) / event.rate
            if event.kind == kind:
                if open_at is not None:
                    yield open_at[0], begun, open_at[1]
                text = event.data["state"] if kind == "state" else "ALARM"
                ends = kind == "anomaly" and event.data["what"] == "ends"
                open_at = None if ends else (begun, str(text))
        if open_at is not None and entries:
            last = entries[-1].event
            yield open_at[0], max(open_at[0], last.sample / last.rate), open_at[1]


def metrics(name: str, present: dict[str, Any], states: Sequence[str]) -> str:
    """Return Prometheus's text format, version 0.0.4, of a machine's present."""
    label = f'machine="{_quoted(name)}"'
    lines = []
    for metric, (kind, text, value) in _METRICS.items():
        number = value(present)
        if number is not None:
            full = f"listen_embed_{metric}"
            lines += [
                f"# HELP {full} {text}",
                f"# TYPE {full} {kind}",
                f"{full}{{{label}}} {number}",
            ]
    if states:
        full = "listen_embed_state"
        lines += [f"# HELP {full} 1 for the present state", f"# TYPE {full} gauge"]
        for state in states:
            given = f'{label},state="{_quoted(state)}"'
            lines.append(f"{full}{{{given}}} {int(state == present['state'])}")
    for sink in present["sinks"]:
        given = f'{label},sink="{_quoted(sink["name"])}"'
        lines.append(f"listen_embed_sink_backlog_events{{{given}}} {sink['backlog']}")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_METRICS: dict[str, tuple[str, str, Any]] = {
    "score": ("gauge", "Anomaly score; alarm from the threshold on", lambda p: p["score"]),
    "threshold": ("gauge", "Score of an alarm", lambda p: p["threshold"]),
    "alarm": ("gauge", "1 while the alarm is on", lambda p: int(p["alarm"])),
    "level_dbfs": ("gauge", "RMS, dB of full scale", lambda p: p["level_db"]),
    "latency_seconds": ("gauge", "From sound to judgement", lambda p: p["latency_s"]),
    "dropped_hops_total": ("counter", "Hops given up under overload", lambda p: p["dropped"]),
    "sound_seconds_total": ("counter", "Place on the sample clock", lambda p: p["time_s"]),
    "last_heard_timestamp_seconds": ("gauge", "When sound was heard", lambda p: p["heard_at"]),
    "problems": ("gauge", "What is wrong with the monitor", lambda p: len(p["problems"])),
}
