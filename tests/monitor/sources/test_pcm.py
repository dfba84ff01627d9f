"""Raw PCM from pipes, in any portions, from writers that come and go."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from listen_embed.monitor.block import Block, encode
from listen_embed.monitor.sources import Notice, open_source
from listen_embed.monitor.sources.backlog import Live
from listen_embed.monitor.sources.pcm import FifoItems, Pcm, PcmReader, StdinItems

from ..world import RATE, eventually, gather, play, sound

SAMPLES = sound(("low", 2.0), ("high", 1.0))


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_a_pipe_of_any_portions(dtype: str) -> None:
    reading, writing = os.pipe()
    data = encode(SAMPLES, dtype)

    def write() -> None:
        rng = np.random.default_rng(1)
        position = 0
        while position < len(data):
            size = int(rng.integers(1, 5000))
            os.write(writing, data[position : position + size])
            position += size
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    make = StdinItems(Pcm(RATE, dtype, 1), reading)
    samples, notices = play(Live("stdin:", make, limit_s=float("inf"), stall_s=5.0))
    writer.join()
    os.close(reading)
    np.testing.assert_allclose(samples, SAMPLES, atol=2**-15)
    assert notices == ["ended"]


def test_a_named_pipe_never_blocks_and_hears_one_writer_after_the_other(tmp_path: Path) -> None:
    path, stop = tmp_path / "fifo", threading.Event()
    os.mkfifo(path)
    source = open_source(f"{path}?sr={RATE}&live=0&stall=60")
    found: dict[str, list[Block]] = {}
    notices: list[str] = []

    def listen() -> None:
        for item in source.items(None, stop):
            if isinstance(item, Block):
                found.setdefault(item.clock, []).append(item)
            else:
                notices.append(item.what)

    listener = threading.Thread(target=listen)
    listener.start()
    for number in (1, 2):
        path.write_bytes(encode(SAMPLES, "int16"))
        eventually(lambda: len(notices) == number)  # noqa: B023
    stop.set()
    listener.join(10.0)
    assert not listener.is_alive()
    assert notices == ["lost", "lost"]
    for blocks in found.values():
        np.testing.assert_allclose(gather(blocks)[0], SAMPLES, atol=2**-15)
    assert len(found) == 2


def test_a_writer_that_comes_as_another_goes_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stop, genuine = tmp_path / "fifo", threading.Event(), os.close
    os.mkfifo(path)

    def overtaken(descriptor: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            return genuine(descriptor)  # other tests' threads tidy up
        monkeypatch.setattr(os, "close", genuine)
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.close(descriptor)
        os.write(writer, encode(SAMPLES[100:300], "int16"))
        os.close(writer)
        return None

    first = threading.Thread(target=path.write_bytes, args=(encode(SAMPLES[:100], "int16"),))
    first.start()
    items = FifoItems(path, Pcm(RATE, "int16", 1), once=False)(None, stop)
    heard = [next(items)]
    first.join()
    monkeypatch.setattr(os, "close", overtaken)
    heard += [next(items), next(items), next(items)]
    items.close()  # type: ignore[attr-defined]
    assert [i.what for i in heard if isinstance(i, Notice)] == ["lost", "lost"]
    blocks = [i for i in heard if isinstance(i, Block)]
    np.testing.assert_allclose(
        np.concatenate([b.samples for b in blocks]), SAMPLES[:300], atol=2**-15
    )
    assert blocks[0].clock != blocks[1].clock


def test_floats_that_are_no_sound_are_garbage_and_leave_a_gap() -> None:
    pipe = PcmReader(Pcm(RATE, "float32", 1))
    items = [
        *pipe.push(encode(SAMPLES[:100], "float32")),
        *pipe.push(b"\xff" * 400),
        *pipe.push(encode(SAMPLES[:100], "float32")),
    ]
    assert [i.what if isinstance(i, Notice) else i.first for i in items] == [0, "garbage", 200]
