r"""An IIoT sound sensor, simulated: publishes a sound file as PCM blocks over MQTT.

It speaks the protocol described in `listen_embed.monitor.sources.mqtt`: numbered blocks with QoS 1,
kept until the monitor says that it no longer needs them, and sent again when it asks. A real sensor
does the same with a ring buffer in its RAM.

    python sensor.py machine.wav mqtt://localhost/factory/lathe1/sound --pace 1
    listen-embed monitor run --head machine.npz --jsonl - \
        --from mqtt://localhost/factory/lathe1/sound

With ``--pace 1`` it is a live sensor: what leaves its memory is lost. With ``--window`` it waits
for the monitor, so that nothing is lost at any speed.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import soundfile

from listen_embed.monitor.block import Block, pack
from listen_embed.monitor.broker import Address, make_client, parse


@dataclass(frozen=True)
class Sent:
    """A block as it went out; `end` is the sample after it."""

    block: Block
    end: int
    sequence: int
    stream: int

    def message(self, *, oldest: bool = False) -> bytes:
        """Return the block as it goes over the wire."""
        block = replace(self.block, oldest=oldest)
        return pack(block, stream=self.stream, sequence=self.sequence)


class Sensor:
    """Publish blocks; keep them until they are not needed any more."""

    def __init__(self, address: Address, *, memory_s: float, window_s: float, rate: int) -> None:
        self._topic = address.topic
        self._memory, self._window = round(memory_s * rate), round(window_s * rate)
        self.stream = time.time_ns()
        self._kept: list[Sent] = []
        self._needed = 0  # the monitor needs nothing before this sample
        self._changed = threading.Condition()
        self._replay_from: int | None = None
        self._client = make_client(address)
        self._client.on_connect = self._connected
        self._client.on_message = self._controlled
        self._client.connect_async(address.host, address.port, 20)
        self._client.loop_start()

    def _connected(self, client: Any, *_: Any) -> None:
        client.subscribe(f"{self._topic}/control", qos=1)

    def _controlled(self, _: Any, __: Any, message: Any) -> None:
        try:
            order = json.loads(message.payload)
            stream, keep, send = order["stream"], order.get("keep"), order.get("send")
        except (ValueError, KeyError, AttributeError):
            return
        if stream not in ("", f"{self.stream:x}"):
            # About a stream that is over; who asks for that wants this one from its beginning.
            send, keep = (None if send is None else 0), None
        with self._changed:
            if keep is not None:
                self._needed = max(self._needed, keep)
                self._kept = [sent for sent in self._kept if sent.end > keep]
            if send is not None:
                self._replay_from = send
            self._changed.notify_all()

    def send(self, sent: Sent) -> None:
        """Publish a block when the monitor is near enough, repeating what it asked for first."""
        with self._changed:
            while sent.end - self._needed > self._window:
                self._replay()
                self._changed.wait(0.2)
            self._replay()
            self._kept.append(sent)
            self._kept = [old for old in self._kept if sent.end - old.end < self._memory]
        self._client.publish(self._topic, sent.message(), qos=1)

    def _replay(self) -> None:
        if self._replay_from is None:
            return
        start, self._replay_from = self._replay_from, None
        for index, old in enumerate(self._kept):
            if old.end > start:
                oldest = index == 0 and old.block.first > start
                self._client.publish(self._topic, old.message(oldest=oldest), qos=1)

    def finish(self, timeout_s: float) -> bool:
        """Repeat what is asked for until the monitor has everything; return whether it has."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._kept and time.monotonic() < deadline:
                self._replay()
                self._changed.wait(0.2)
            return not self._kept

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def blocks(path: str, seconds: float) -> Iterator[Block]:
    """Yield a sound file as mono blocks."""
    with soundfile.SoundFile(path) as file:
        position, size = 0, max(1, round(seconds * file.samplerate))
        while len(samples := file.read(size, dtype="float32", always_2d=True)):
            yield Block(samples.mean(axis=1, dtype="float32"), file.samplerate, position)
            position += len(samples)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", help="sound to publish")
    parser.add_argument("address", help="mqtt[s]://host/topic")
    parser.add_argument("--pace", type=float, default=1.0, help="times real time; 0 no pause (1)")
    parser.add_argument("--block", type=float, default=0.1, help="seconds a block (0.1)")
    parser.add_argument("--memory", type=float, default=60.0, help="seconds kept (60)")
    parser.add_argument(
        "--window",
        type=float,
        default=1e9,
        help="seconds to be ahead of the monitor at most; less than memory",
    )
    parser.add_argument(
        "--linger", type=float, default=60.0, help="seconds to wait at the end (60)"
    )
    args = parser.parse_args()
    rate = soundfile.info(args.file).samplerate
    sensor = Sensor(parse(args.address), memory_s=args.memory, window_s=args.window, rate=rate)
    begun, end, sequence = time.monotonic(), 0, 0
    for sequence, block in enumerate(blocks(args.file, args.block)):
        if args.pace:
            time.sleep(max(0.0, begun + block.end / rate / args.pace - time.monotonic()))
        sensor.send(Sent(block, block.end, sequence, sensor.stream))
        end = block.end
    last = Block(block.samples[:0], rate, end, ends=True)
    # Counted as a sample, so that it is kept until the monitor has seen the end.
    sensor.send(Sent(last, end + 1, sequence + 1, sensor.stream))
    taken = sensor.finish(args.linger)
    sensor.close()
    print(f"{sequence + 1} blocks, {end} samples")
    if not taken:
        sys.exit("the monitor has not said that it has everything")


if __name__ == "__main__":
    main()
