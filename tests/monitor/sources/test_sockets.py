"""Sensors over TCP and UDP: what goes wrong is an item, not an exception."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np

from listen_embed.monitor.block import Block, encode, pack
from listen_embed.monitor.sources import Notice, open_source

from ..world import free_port, gather, play, sound

SAMPLES = sound(("low", 2.0), ("high", 1.0))


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
