"""The whole monitor as a process, with a real broker: killed, restarted, none the worse."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from listen_embed.errors import HeadError, InputError
from listen_embed.monitor.config import MonitorConfig
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.run import run

from .world import (
    ROOT,
    Broker,
    Subscriber,
    eventually,
    finished,
    free_port,
    monitor,
    sound,
    spawn,
    told,
    write_wav,
)

SENSOR = ROOT / "examples/monitor/sensor.py"
RATE = 16000
N_KILLS = 20
FAST = ("--checkpoint", 2, "--heartbeat", 5)


def long_story(seconds: float) -> NDArray[np.float32]:
    """Return sound whose state changes every few seconds."""
    rng = np.random.default_rng(3)
    parts, total = [], 0.0
    while total < seconds:
        length = float(rng.uniform(2.0, 8.0))
        parts.append((("off", "low", "high")[len(parts) * 2 % 3], length))
        total += length
    return sound(*parts, rate=RATE)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("story") / "story.wav", long_story(400), RATE)


@pytest.fixture(scope="module")
def undisturbed(
    story: Path, machine_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[object, ...]]:
    journal = tmp_path_factory.mktemp("whole") / "whole.sqlite"
    finished(monitor("run", "--head", machine_file, "--from", story, "--journal", journal, *FAST))
    events = told(journal)
    assert sum(kind == "state" for _, kind, *_ in events) > 60
    return events


def test_twenty_kills_and_a_broken_broker_lose_nothing(
    story: Path,
    machine_file: Path,
    undisturbed: list[tuple[object, ...]],
    broker: Broker,
    tmp_path: Path,
) -> None:
    """Kill -9 at 20 random moments, the broker stopped, killed and started in between."""
    rng = np.random.default_rng(11)
    subscriber = Subscriber(broker, "plant/lathe")
    journal, lines = tmp_path / "j.sqlite", tmp_path / "events.jsonl"
    arguments = (
        "run",
        "--head",
        machine_file,
        "--from",
        story,
        "--journal",
        journal,
        *FAST,
        "--mqtt",
        f"{broker.url}/plant/lathe",
        "--jsonl",
        lines,
    )
    for number in range(N_KILLS):
        process = monitor(*arguments)
        before = _position(journal)
        eventually(lambda: _position(journal) != before or process.poll() is not None, 30)  # noqa: B023
        time.sleep(float(rng.uniform(0.0, 0.12)))
        assert process.poll() is None, "the story is too short for so many kills"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if number in (5, 11):
            broker.stop(kill=number == 11)
        if number in (8, 12):
            broker.start()
    finished(monitor(*arguments))
    assert told(journal) == undisturbed
    eventually(lambda: len(subscriber.told()) == len(undisturbed))
    assert subscriber.told() == undisturbed
    ids = [json.loads(line)["id"] for line in lines.read_text().splitlines()]
    assert list(dict.fromkeys(ids)) == [event[0] for event in undisturbed]
    subscriber.close()


def _position(journal: Path) -> object:
    if not journal.exists():
        return None
    book = Journal(journal, durable=False)
    try:
        return [book.last_number(), book.checkpoint("file:story.wav")]
    finally:
        book.close()


@pytest.mark.parametrize("n_kills", [0, 5])
def test_sensor_to_mqtt_to_monitor_to_mqtt_equals_the_offline_run(
    story: Path,
    machine_file: Path,
    undisturbed: list[tuple[object, ...]],
    broker: Broker,
    tmp_path: Path,
    n_kills: int,
) -> None:
    rng = np.random.default_rng(n_kills)
    subscriber = Subscriber(broker, "plant/lathe")
    journal = tmp_path / "j.sqlite"
    sensor = spawn(
        SENSOR,
        story,
        f"{broker.url}/sensors/1",
        "--pace",
        0,
        "--block",
        0.5,
        "--window",
        30,
        "--memory",
        40,
    )
    arguments = (
        "run",
        "--head",
        machine_file,
        "--from",
        f"{broker.url}/sensors/1?once=1",
        "--journal",
        journal,
        *FAST,
        "--mqtt",
        f"{broker.url}/plant/lathe",
    )
    for number in range(n_kills):
        process = monitor(*arguments)
        before = _last(journal)
        eventually(lambda: _last(journal) > before, 30)  # noqa: B023
        time.sleep(float(rng.uniform(0.0, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if number == 2:
            broker.stop(kill=True)
            broker.start()
    finished(monitor(*arguments), 120)
    n_samples = soundfile.info(story).frames
    assert finished(sensor) == f"{-(-n_samples // 8000)} blocks, {n_samples} samples\n"
    assert _without_ids(told(journal)) == _without_ids(undisturbed)
    eventually(lambda: len(subscriber.told()) == len(undisturbed))
    assert subscriber.told() == told(journal)
    subscriber.close()


slow = pytest.mark.skipif(
    not (os.environ.get("LISTEN_EMBED_SLOW") or os.environ.get("LISTEN_EMBED_REQUIRE_ALL")),
    reason="takes minutes; set LISTEN_EMBED_SLOW=1",
)


@slow
def test_an_hour_at_fifty_times_real_time(
    machine_file: Path, broker: Broker, tmp_path: Path
) -> None:
    """Sensor -> MQTT -> monitor -> journal -> MQTT: all is accounted for, as if heard offline."""
    hour = write_wav(tmp_path / "hour.wav", long_story(3600), RATE)
    common = ("run", "--head", machine_file, *FAST)
    finished(monitor(*common, "--from", hour, "--journal", tmp_path / "offline.sqlite"), 300)
    subscriber = Subscriber(broker, "plant/lathe")
    pace = ("--pace", 50, "--block", 0.5, "--window", 50)
    sensor = spawn(SENSOR, hour, f"{broker.url}/sensors/1", *pace)
    finished(
        monitor(
            *common,
            *("--from", f"{broker.url}/sensors/1?once=1&backlog=600"),
            *("--journal", tmp_path / "j.sqlite", "--mqtt", f"{broker.url}/plant/lathe"),
        ),
        400,
    )
    n_samples = soundfile.info(hour).frames
    assert finished(sensor) == f"{-(-n_samples // 8000)} blocks, {n_samples} samples\n"
    assert _without_ids(told(tmp_path / "j.sqlite")) == _without_ids(
        told(tmp_path / "offline.sqlite")
    )
    eventually(lambda: len(subscriber.told()) == len(told(tmp_path / "j.sqlite")))
    assert subscriber.told() == told(tmp_path / "j.sqlite")
    subscriber.close()


@slow
def test_a_broker_that_is_down_for_a_minute(
    story: Path,
    machine_file: Path,
    undisturbed: list[tuple[object, ...]],
    broker: Broker,
    tmp_path: Path,
) -> None:
    """A live sensor at four times real time keeps listening to its machine meanwhile."""
    subscriber = Subscriber(broker, "plant/lathe")
    options = ("--pace", 4, "--block", 0.25, "--memory", 600)
    sensor = spawn(SENSOR, story, f"{broker.url}/sensors/1", *options)
    process = monitor(
        *(
            "run",
            "--head",
            machine_file,
            "--from",
            f"{broker.url}/sensors/1?once=1&stall=600&backlog=600",
        ),
        *("--journal", tmp_path / "j.sqlite", *FAST, "--mqtt", f"{broker.url}/plant/lathe"),
    )
    eventually(lambda: _last(tmp_path / "j.sqlite") > 5, 30)
    broker.stop(kill=True)
    time.sleep(60)
    broker.start()
    finished(process, 200)
    finished(sensor)
    assert _without_ids(told(tmp_path / "j.sqlite")) == _without_ids(undisturbed)
    eventually(lambda: len(subscriber.told()) == len(undisturbed))
    assert subscriber.told() == told(tmp_path / "j.sqlite")
    subscriber.close()


def test_a_late_monitor_hears_what_the_sensor_still_has(
    story: Path, machine_file: Path, broker: Broker, tmp_path: Path
) -> None:
    sensor = spawn(
        SENSOR,
        story,
        f"{broker.url}/sensors/1",
        "--pace",
        0,
        "--block",
        0.5,
        "--memory",
        40,
        "--linger",
        30,
    )
    listener = Subscriber(broker, "sensors", name="listener")
    eventually(lambda: any(m[7] & 1 for m in listener.others.get("sensors/1", [])), 30)
    listener.close()
    finished(
        monitor(
            "run",
            "--head",
            machine_file,
            "--from",
            f"{broker.url}/sensors/1?once=1",
            "--journal",
            tmp_path / "j.sqlite",
            *FAST,
        )
    )
    finished(sensor)
    events = told(tmp_path / "j.sqlite")
    n_samples = soundfile.info(story).frames
    assert 39 < (n_samples - events[0][2]) / RATE <= 41
    assert events[-1][1:3] == ("source", n_samples)
    assert "gap" not in [dict(data).get("what") for *_, data in events]


def _last(journal: Path) -> int:
    if not journal.exists():
        return 0
    book = Journal(journal, durable=False)
    try:
        return book.last_number()
    finally:
        book.close()


def _without_ids(events: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [event[1:] for event in events]


def _options(head: Path, source: object, tmp_path: Path, **more: object) -> MonitorConfig:
    return MonitorConfig(str(head), str(source), str(tmp_path / "j.sqlite"), **more)


def test_a_second_monitor_on_the_same_journal_is_refused(
    machine_file: Path, story: Path, tmp_path: Path
) -> None:
    first = monitor(
        "run",
        "--head",
        machine_file,
        "--from",
        f"{story}?pace=1",
        "--journal",
        tmp_path / "j.sqlite",
    )
    eventually(lambda: _last(tmp_path / "j.sqlite") > 0)
    second = monitor(
        "run", "--head", machine_file, "--from", story, "--journal", tmp_path / "j.sqlite"
    )
    _, error = second.communicate(timeout=20)
    assert second.returncode == 1
    assert "another monitor holds it" in error
    first.terminate()
    finished(first)


def test_sigterm_ends_cleanly_and_quickly(machine_file: Path, story: Path, tmp_path: Path) -> None:
    process = monitor(
        "run",
        "--head",
        machine_file,
        "--from",
        f"{story}?pace=1",
        "--journal",
        tmp_path / "j.sqlite",
        "--page",
        "127.0.0.1:0",
    )
    eventually(lambda: _last(tmp_path / "j.sqlite") > 0)
    begun = time.monotonic()
    process.terminate()
    _, error = process.communicate(timeout=10)
    assert process.returncode == 0
    assert [line.split()[0] for line in error.splitlines()] == [
        "source:",
        "machine:",
        "alarm:",
        "journal:",
        "sink:",
        "page:",
    ]
    assert time.monotonic() - begun < 5
    assert "source:ended" not in [
        f"{k}:{dict(d).get('what')}" for _, k, _, d in told(tmp_path / "j.sqlite")
    ]


def test_no_broker_is_no_reason_to_stop_listening(
    machine_file: Path, story: Path, tmp_path: Path, undisturbed: list[object]
) -> None:
    process = monitor(
        "run",
        "--head",
        machine_file,
        "--from",
        story,
        *FAST,
        "--drain",
        0.5,
        "--journal",
        tmp_path / "j.sqlite",
        "--mqtt",
        f"mqtt://127.0.0.1:{free_port()}/x",
    )
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "they go out at the next start" in error
    assert told(tmp_path / "j.sqlite") == undisturbed


def test_a_machine_of_another_model_is_refused(
    machine_file: Path, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from listen_embed.embedder import Embedder

    real = Embedder.__init__

    def changed(self: Embedder, *args: object, **options: object) -> None:
        real(self, *args, **options)
        self.digest = "f" * 64

    monkeypatch.setattr(Embedder, "__init__", changed)
    with pytest.raises(HeadError, match="adapt again"):
        run(_options(machine_file, story, tmp_path), threading.Event())


@pytest.mark.parametrize("wrong", [{"hop_s": 0.0}, {"debounce_s": -1.0}, {"heartbeat_s": 1e9}])
def test_options_out_of_range_are_refused(
    machine_file: Path, story: Path, tmp_path: Path, wrong: dict[str, float]
) -> None:
    with pytest.raises(InputError, match="give seconds"):
        run(_options(machine_file, story, tmp_path, **wrong), threading.Event())


def test_the_page_of_a_running_monitor_moves_and_remembers(
    machine_file: Path, story: Path, tmp_path: Path
) -> None:
    port = free_port()
    arguments = (
        *("run", "--head", machine_file, "--from", f"{story}?pace=8&backlog=600", *FAST),
        *("--journal", tmp_path / "j.sqlite", "--page", f"127.0.0.1:{port}", "--name", "lathe 1"),
    )
    process = monitor(*arguments)
    hops = _hops(port, 20)
    times = [hop["time_s"] for hop in hops]
    assert np.allclose(np.diff(times), 0.1)
    assert {hop["label"] for hop in hops} <= {"off", "low", "high"}
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = monitor(*arguments)
    _hops(port, 1)
    past = httpx.get(f"http://127.0.0.1:{port}/history", timeout=10).json()
    assert past["about"]["name"] == "lathe 1"
    assert [event["number"] for event in past["events"]][:2] == [1, 2]
    process.terminate()
    finished(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _hops(port: int, n: int) -> list[dict[str, object]]:
    """Return the first hops that a viewer is sent, once the page is there."""
    eventually(lambda: _listens(port), 20)
    found: list[dict[str, object]] = []
    with httpx.stream("GET", f"http://127.0.0.1:{port}/live", timeout=30) as answer:
        for line in answer.iter_lines():
            if line.startswith('data: {"point"'):
                found.append(json.loads(line[6:]))
            if len(found) == n:
                return found
    raise AssertionError("the page ended")
