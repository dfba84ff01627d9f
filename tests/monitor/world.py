"""What the monitor's tests share: stand-ins for model and machine, and ways to the real parts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from listen_embed.framing import Framer, hop_in_samples
from listen_embed.monitor.block import Block
from listen_embed.monitor.debounce import DebounceRules, Judgement
from listen_embed.monitor.events import Entry, Event
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.pipeline import Ear, Hop, Pipeline, Rhythm
from listen_embed.monitor.profile import NO_PROFILE
from listen_embed.monitor.sources import Item, Notice, Place, Source, open_source
from listen_embed.monitor.trace import TracePoint

ROOT = Path(__file__).parents[2]
RATE = 8000
TONES_HZ = {"low": 300.0, "high": 1200.0, "off": 0.0}


def needs(part: str) -> str:
    """Return the path of a real part, or skip."""
    candidates = [part, f"/usr/sbin/{part}", *(["chromium-browser"] if part == "chromium" else [])]
    found = next((path for name in candidates if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{part} is not installed (Debian: apt install {part})")
    return found


def sound(*parts: tuple[str, float], rate: int = RATE, seed: int = 1) -> NDArray[np.float32]:
    """Return (state, seconds) after each other: a tone and a little noise."""
    rng = np.random.default_rng(seed)
    pieces = []
    for state, seconds in parts:
        t = np.arange(round(seconds * rate)) / rate
        tone = 0.3 * np.sin(2 * np.pi * TONES_HZ[state] * t)
        pieces.append(tone + 0.003 * rng.standard_normal(len(t)))
    return np.concatenate(pieces).astype(np.float32)


def write_wav(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
    """Write a 16-bit file and return its path."""
    import soundfile

    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


class ToneStream:
    """Stands in for an embedder's stream: per frame its level and loudest frequency."""

    def __init__(self, rate: int, hop: Fraction) -> None:
        self._rate = rate
        self._framer = Framer(rate // 2, hop, center=False)

    def push(
        self, block: NDArray[np.float32], last: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        frames = self._framer.push(block, last)
        rows = [
            self._embed(frames.signal[s - frames.origin :][: self._rate // 2])
            for s in frames.starts
        ]
        embeddings = np.array(rows, np.float32).reshape(-1, 2)
        return embeddings, np.array(frames.starts) / self._rate

    def _embed(self, frame: NDArray[np.float32]) -> tuple[float, float]:
        loudest = int(np.argmax(np.abs(np.fft.rfft(frame))))
        return float(np.sqrt(np.mean(frame**2))), loudest * self._rate / len(frame)


class ToneMachine:
    """Stands in for learnt heads: tells the states of `sound` apart; loud is anomalous."""

    profile = NO_PROFILE

    def judge(self, embedding: NDArray[np.float32]) -> Judgement:
        level, loudest_hz = embedding
        state = "off" if level < 0.05 else "low" if loudest_hz < 700 else "high"
        return Judgement(state, 0.9, float(level))


def tone_ear(hop_s: float = 0.1) -> Ear:
    """Return an ear of frames of half a second that takes any rate as it is."""
    return Ear(lambda rate: ToneStream(rate, hop_in_samples(hop_s, rate)), RATE, 0.5, hop_s)


RULES = DebounceRules(window=5, threshold=0.4)


class Blocks:
    """A source made of a list of items."""

    name = "list:"
    limit_s = float("inf")

    def __init__(self, *items: object) -> None:
        self._items = items
        self.kept: list[tuple[str, int]] = []
        self.place: Place | None = None
        self.waiting: Callable[[], float] = lambda: 0.0

    def items(self, place: Place | None, stop: object) -> Iterator[object]:
        self.place = place
        yield from self._items

    def behind_s(self) -> float:
        return self.waiting()

    def keep(self, clock: str, sample: int) -> None:
        self.kept.append((clock, sample))


def cut(samples: NDArray[np.float32], size: int, clock: str = "c", rate: int = RATE) -> list[Block]:
    """Return samples as blocks of `size`."""
    return [Block(samples[i : i + size], rate, i, clock) for i in range(0, len(samples), size)]


def listen(source: object, journal: Path, **options: object) -> Pipeline:
    """Run a pipeline with the stand-ins until the source ends; return it."""
    opened = open_source(str(source)) if isinstance(source, str | Path) else source
    stop = options.pop("stop", threading.Event())
    ear = options.pop("ear", tone_ear())
    rules = options.pop("rules", RULES)
    options.setdefault("rhythm", Rhythm(heartbeat_s=2.0, checkpoint_s=1.0))
    book = Journal(journal)
    pipeline = Pipeline(ear, ToneMachine(), rules, book, opened, **options)
    pipeline.run(stop)
    book.close()
    return pipeline


def gather(items: Iterable[Item]) -> tuple[np.ndarray, list[str]]:
    """Return the samples, at their places on the clock, and the notices."""
    blocks, notices = [], []
    for item in items:
        if isinstance(item, Notice):
            notices.append(item.what)
        else:
            blocks.append(item)
    total = np.zeros(max((block.end for block in blocks), default=0), np.float32)
    for block in blocks:
        total[block.first : block.end] = block.samples
    return total, notices


def play(source: Source, place: Place | None = None) -> tuple[np.ndarray, list[str]]:
    return gather(source.items(place, threading.Event()))


def told(journal: Path) -> list[tuple[object, ...]]:
    """Return what a journal holds, without what differs between runs (wall clock)."""
    book = Journal(journal)
    entries = book.after(0, 1_000_000)
    book.close()
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    return [
        (e.event.id, e.event.kind, e.event.sample, tuple(sorted(e.event.data.items())))
        for e in entries
    ]


def entry(number: int, kind: str = "state", **data: object) -> Entry:
    data = data or {"state": f"Mode{number}"}
    return Entry(number, "run", Event("s", "c", number, 10, 1e9, kind, data))


def kinds(journal: Path) -> list[str]:
    """Return the events as short texts."""
    texts = []
    for _, kind, _, data in told(journal):
        values = dict(data)
        texts.append(f"{kind}:{values.get('what') or values.get('state')}")
    return texts


def point(wall: float, state: str | None = "Mode1", **fields: object) -> TracePoint:
    """Return a point of the timelines."""
    usual = {"score": 0.5, "anomaly": False, "latency_ms": 0.7, "level_db": -30.0}
    rest = {"x": 0.1, "y": -0.2, "spectrum": bytes(range(48))}
    return TracePoint(wall=wall, state=state, **{**usual, **rest, **fields})


def hop(index: int, state: str = "Mode1") -> Hop:
    """Return a hop as the page gets it."""
    return Hop(
        clock="c",
        index=index,
        time_s=index / 10,
        rate=16000,
        point=point(1e9 + index / 10, state),
        judgement=Judgement(state, 0.9, 0.5),
        peak_db=-12.0,
        threshold=1.0,
        dropped=0,
        behind_s=0.0,
        wrong=(),
    )


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until a condition holds, fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@dataclass
class Broker:
    """A mosquitto of our own on a free loopback port."""

    program: str
    folder: Path
    port: int
    config: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        file = self.folder / "mosquitto.conf"
        file.write_text(self.config)
        log = open(self.folder / "mosquitto.log", "ab")  # noqa: SIM115 - the process keeps it
        with log:
            self.process = subprocess.Popen(
                [self.program, "-c", str(file)], stdout=log, stderr=subprocess.STDOUT
            )
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(10)
            self.process = None


BROKER_CONFIG = """
listener {port} 127.0.0.1
allow_anonymous {anonymous}
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 100000
user root
{extra}
"""


def spawn(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start a Python program of this checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )
    SPAWNED.append(process)
    return process


SPAWNED: list[subprocess.Popen[str]] = []


def end_all() -> None:
    """Kill what a failed test left behind."""
    while SPAWNED:
        process = SPAWNED.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


# The command line's monitor commands alone, for processes that are there to be killed.
COMMAND = """
import argparse, sys
from listen_embed.errors import ListenEmbedError
from listen_embed.monitor import commands
parser = argparse.ArgumentParser()
commands.register(parser.add_subparsers())
args = parser.parse_args()
try:
    sys.exit(args.run(args))
except ListenEmbedError as error:
    sys.exit(f"listen-embed: {error}")
"""


def monitor(*arguments: object) -> subprocess.Popen[str]:
    """Start ``listen-embed monitor ...``."""
    return spawn("-c", COMMAND, "monitor", *arguments)


def finished(process: subprocess.Popen[str], seconds: float = 90.0) -> str:
    """Wait for a program that must succeed; return what it printed."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return out


class Subscriber:
    """Someone at the broker who hears every event, keeps a session, and knows repetitions."""

    def __init__(self, broker: Broker, topic: str, *, name: str = "subscriber") -> None:
        self.received: list[dict[str, object]] = []
        self.others: dict[str, list[bytes]] = {}
        self._topic = topic
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._connected
        self.client.on_message = self._heard
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", broker.port, clean_start=False, properties=lasting)
        self.client.loop_start()
        assert subscribed.wait(10)

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe(f"{self._topic}/#", qos=1)

    def _heard(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        if message.topic == f"{self._topic}/events":
            self.received.append(json.loads(message.payload))
        else:
            self.others.setdefault(message.topic, []).append(message.payload)

    def told(self) -> list[tuple[object, ...]]:
        """Return the events heard, repetitions left out, in the form of `told`."""
        seen: dict[object, dict[str, object]] = {}
        for message in self.received:
            seen.setdefault((message["run"], message["number"]), message)
        numbers = [message["number"] for message in seen.values()]
        assert numbers == sorted(numbers), "out of order"
        about = {"id", "run", "number", "kind", "source", "clock", "sample", "time_s", "wall"}
        return [
            (
                m["id"],
                m["kind"],
                m["sample"],
                tuple(sorted((k, v) for k, v in m.items() if k not in about)),
            )
            for m in seen.values()
        ]

    def told_numbers(self) -> list[dict[str, object]]:
        """Wait until three events are here; return them."""
        eventually(lambda: len(self.received) >= 3)
        return self.received

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
