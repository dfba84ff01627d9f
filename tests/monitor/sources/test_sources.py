"""Sources: every kind gives the same samples, and what goes wrong is an item, not an exception."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from listen_embed.errors import InputError, MissingExtraError
from listen_embed.monitor.block import Block, encode, pack
from listen_embed.monitor.sources import Item, Notice, Place, Source, microphone, open_source
from listen_embed.monitor.sources.backlog import Backlog, Live
from listen_embed.monitor.sources.pcm import Pcm, PcmReader, StdinItems

from ..world import RATE, eventually, free_port, sound, write_wav

SAMPLES = sound(("low", 2.0), ("high", 1.0))


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


def test_a_file_gives_its_samples_and_ends(tmp_path: Path) -> None:
    source = open_source(str(write_wav(tmp_path / "a.wav", SAMPLES)))
    samples, notices = play(source)
    np.testing.assert_allclose(samples, SAMPLES, atol=2**-15)
    assert notices == ["ended"]
    assert source.name == "file:a.wav"
    assert source.limit_s == float("inf")


def test_a_file_goes_on_where_it_stopped_and_changed_files_start_anew(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", SAMPLES)
    stop = threading.Event()
    first = next(iter(open_source(str(path)).items(None, stop)))
    assert isinstance(first, Block)

    def starts(place: Place) -> list[tuple[str, int]]:
        items = list(open_source(str(path)).items(place, stop))
        return [(b.clock, b.first) for b in items if isinstance(b, Block) and len(b.samples)]

    assert starts(Place(first.clock, 12000))[0] == (first.clock, 12000)
    again = starts(Place(first.clock, 12000, done=True))[0]
    assert again[1] == 0
    assert again[0] != first.clock
    write_wav(path, SAMPLES[:9000])
    assert starts(Place(first.clock, 12000))[0][1] == 0


def test_real_time_takes_its_time(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", SAMPLES[: RATE // 2])
    begun = time.monotonic()
    samples, notices = play(open_source(f"{path}?pace=2"))
    assert 0.2 < time.monotonic() - begun < 2.0
    assert (len(samples), notices) == (RATE // 2, ["ended"])


def test_a_folder_plays_its_files_by_name_each_on_its_own_clock(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, part in (
        ("b/z.wav", SAMPLES[:100]),
        ("a.wav", SAMPLES[:50]),
        ("c.flac", SAMPLES[:70]),
    ):
        write_wav(tmp_path / name, part)
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "bad.wav").write_bytes(b"RIFFgarbage")
    items = list(open_source(str(tmp_path)).items(None, threading.Event()))
    blocks = [(i.clock, len(i.samples)) for i in items if isinstance(i, Block)]
    assert blocks == [("1:a.wav", 50), ("1:b/z.wav", 100), ("1:c.flac", 70)]
    assert [i.what for i in items if isinstance(i, Notice)] == ["garbage", "ended"]
    later = list(open_source(str(tmp_path)).items(Place("1:b/z.wav", 40), threading.Event()))
    assert [(i.clock, i.first) for i in later if isinstance(i, Block) and len(i.samples)] == [
        ("1:b/z.wav", 40),
        ("1:c.flac", 0),
    ]
    over = list(open_source(str(tmp_path)).items(Place("1:c.flac", 0, True), threading.Event()))
    assert isinstance(over[0], Block)
    assert over[0].clock == "2:a.wav"


def test_a_truncated_file_is_garbage_or_short_but_no_exception(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.flac", SAMPLES)
    path.write_bytes(path.read_bytes()[:-2000])
    samples, notices = play(open_source(str(path)))
    assert notices[-1] == "ended"
    assert len(samples) <= len(SAMPLES)


def test_nan_in_a_file_is_garbage(tmp_path: Path) -> None:
    import soundfile

    bad = SAMPLES.copy()
    bad[RATE + 5] = np.nan
    soundfile.write(tmp_path / "a.wav", bad, RATE, subtype="FLOAT")
    samples, notices = play(open_source(str(tmp_path / "a.wav")))
    assert notices == ["garbage", "ended"]
    assert not samples[RATE : 2 * RATE].any()


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
    listener.join(2.0)
    assert not listener.is_alive()
    assert notices == ["lost", "lost"]
    for blocks in found.values():
        np.testing.assert_allclose(gather(blocks)[0], SAMPLES, atol=2**-15)
    assert len(found) == 2


def test_a_device_is_no_source() -> None:
    with pytest.raises(InputError, match="no file, folder or named pipe"):
        open_source("/dev/null")


def test_floats_that_are_no_sound_are_garbage_and_leave_a_gap() -> None:
    pipe = PcmReader(Pcm(RATE, "float32", 1))
    items = [
        *pipe.push(encode(SAMPLES[:100], "float32")),
        *pipe.push(b"\xff" * 400),
        *pipe.push(encode(SAMPLES[:100], "float32")),
    ]
    assert [i.what if isinstance(i, Notice) else i.first for i in items] == [0, "garbage", 200]


def test_tcp_as_a_client_and_a_sensor_that_comes_back() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]

    def serve() -> None:
        for _ in range(2):
            connection, _ = server.accept()
            connection.sendall(encode(SAMPLES, "int16"))
            connection.close()

    sensor = threading.Thread(target=serve)
    sensor.start()
    stop, clocks, notices = threading.Event(), {}, []
    for item in open_source(f"tcp://127.0.0.1:{port}?sr=8000&live=0").items(None, stop):
        if isinstance(item, Block):
            clocks.setdefault(item.clock, []).append(item)
        else:
            notices.append(item.what)
        if notices == ["lost", "lost"]:
            stop.set()
    sensor.join()
    server.close()
    for blocks in clocks.values():
        np.testing.assert_allclose(gather(blocks)[0], SAMPLES, atol=2**-15)
    assert len(clocks) == 2


def test_tcp_as_a_server_ends_once() -> None:
    port = free_port()
    source = open_source(f"tcp://127.0.0.1:{port}?sr=8000&listen=1&once=1&live=0")

    def send() -> None:
        for _ in range(100):
            try:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(encode(SAMPLES, "int16")[:-1])  # half a sample is missing
                    return
            except OSError:
                time.sleep(0.05)

    sensor = threading.Thread(target=send)
    sensor.start()
    samples, notices = play(source)
    sensor.join()
    assert (len(samples), notices) == (len(SAMPLES) - 1, ["ended"])


def test_nobody_at_the_other_end_is_lost_not_an_exception() -> None:
    stop = threading.Event()
    items = open_source(f"tcp://127.0.0.1:{free_port()}?sr=8000").items(None, stop)
    first = next(iter(items))
    assert isinstance(first, Notice)
    assert first.what == "lost"
    stop.set()


def test_udp_takes_raw_and_framed_datagrams_and_survives_garbage() -> None:
    port, stop = free_port(), threading.Event()
    source = open_source(f"udp://127.0.0.1:{port}?sr=8000&stall=0.5")
    framed = pack(Block(SAMPLES[:100], 16000, 700), stream=255, sequence=0)
    datagrams = [
        encode(SAMPLES[:400], "int16"),
        b"odd",
        framed,
        framed[:-4],
        encode(SAMPLES[:9], "int16"),
    ]

    def send() -> None:
        time.sleep(0.3)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sensor:
            for datagram in datagrams:
                sensor.sendto(datagram, ("127.0.0.1", port))

    threading.Thread(target=send).start()
    found: list[object] = []
    for item in source.items(None, stop):
        found.append(item.what if isinstance(item, Notice) else (item.first, len(item.samples)))
        if item == Notice("stalled", "no sound for 0.5 s"):
            stop.set()
    assert found == [(0, 400), "garbage", (700, 100), "garbage", (400, 9), "stalled"]


def test_a_stall_and_its_end_are_noticed() -> None:
    backlog, stop = Backlog(10.0), threading.Event()
    items = backlog.items(stop, 0.3)
    assert next(items) == Notice("stalled", "no sound for 0.3 s")
    backlog.add(Block(SAMPLES, RATE, 0))
    assert next(items) == Notice("resumed")
    assert isinstance(next(items), Block)


def test_a_backlog_counts_seconds_and_has_an_end() -> None:
    backlog, done = Backlog(2.0), threading.Event()
    blocks = [Block(SAMPLES[:RATE], RATE, n * RATE) for n in range(10)]
    filler = threading.Thread(target=lambda: [backlog.put(block, done) for block in blocks])
    filler.start()
    eventually(lambda: backlog.seconds() == 3.0)  # one more than fits is taken, never a part
    assert not backlog.has_room()
    assert [backlog.get(1.0) for _ in range(5)] == blocks[:5]
    eventually(lambda: backlog.seconds() == 3.0)
    done.set()
    filler.join(5)
    assert not filler.is_alive()


def test_a_source_thread_that_breaks_is_an_end_with_a_reason() -> None:
    def broken(place: Place | None, stop: threading.Event) -> Iterable[Item]:
        yield Block(SAMPLES, RATE, 0)
        raise RuntimeError("sensor on fire")

    items = list(Live("x", broken, limit_s=1.0, stall_s=5.0).items(None, threading.Event()))
    assert items[-1] == Notice("ended", "failed: sensor on fire")


def test_the_microphone_through_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        n_reads = 0

        def __init__(self, **options: object) -> None:
            assert (options["samplerate"], options["device"], options["channels"]) == (8000, 3, 2)

        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, n: int) -> tuple[np.ndarray, bool]:
            Stream.n_reads += 1
            if Stream.n_reads > 3:
                raise Sounddevice.PortAudioError("unplugged")
            return np.full((n, 2), [0.2, 0.4], np.float32), Stream.n_reads == 2

    class Sounddevice:
        InputStream = Stream

        class PortAudioError(Exception):
            pass

    monkeypatch.setattr(microphone, "load_sounddevice", lambda: Sounddevice)
    samples, notices = play(open_source("mic:3?sr=8000&channels=2"))
    assert notices == ["lost", "ended"]
    np.testing.assert_allclose(samples, np.full(2400, 0.3), rtol=1e-6)


def test_no_sounddevice_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match="pip install sounddevice"):
        open_source("mic:")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nowhere.wav", "no such file"),
        ("gopher://x", "no such file"),
        ("stdin:?rate=5", "'rate'; allowed are sr"),
        ("stdin:?dtype=int8", "int16, int32, float32"),
        ("stdin:?sr=12", "a number, 1000 to 768000"),
        ("stdin:?sr=nan", "sr='nan'"),
        ("tcp://host", "host:port"),
        ("tcp://host:99999", "host:port"),
        ("udp://:5", "host:port"),
        ("udp://h:5?channels=0", "channels"),
    ],
)
def test_sources_that_are_none_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        open_source(text)
