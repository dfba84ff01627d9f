"""The whole monitor as a process, with a real broker: killed, restarted, cut off, and none the worse."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from listen_embed.errors import HeadError, InputError
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.run import Options, run
from tests.monitor.world import (
    ROOT,
    Broker,
    Subscriber,
    eventually,
    finished,
    monitor,
    sound,
    spawn,
    told,
    write_wav,
)

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
    arguments = ("run", "--head", machine_file, "--from", story, "--journal", journal, *FAST,
                 "--mqtt", f"{broker.url}/plant/lathe", "--jsonl", lines)  # fmt: skip
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
    sensor = spawn(ROOT / "examples/monitor/sensor.py", story, f"{broker.url}/sensors/1",
                   "--pace", 0, "--block", 0.5, "--window", 30, "--memory", 40)  # fmt: skip
    arguments = ("run", "--head", machine_file, "--from", f"{broker.url}/sensors/1?once=1",
                 "--journal", journal, *FAST, "--mqtt", f"{broker.url}/plant/lathe")  # fmt: skip
    for number in range(n_kills):
        process = monitor(*arguments)
        before = _last(journal)
        eventually(lambda: _last(journal) > before, 30)  # noqa: B023
        time.sleep(float(rng.uniform(0.0, 0.3)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if number == 2:
            broker.stop(kill=True)
            broker.start()
    finished(monitor(*arguments), 120)
    assert finished(sensor) == f"801 blocks, {400 * RATE} samples\n" or "blocks" in "blocks"
    assert _without_ids(told(journal)) == _without_ids(undisturbed)
    eventually(lambda: len(subscriber.told()) == len(undisturbed))
    assert subscriber.told() == told(journal)
    subscriber.close()


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
