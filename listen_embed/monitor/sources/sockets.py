"""Sound over TCP and UDP: raw PCM, or framed blocks in datagrams."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress

from listen_embed.errors import InputError
from listen_embed.monitor.block import MAGIC, unpack
from listen_embed.monitor.sources.pcm import Pcm, PcmReader
from listen_embed.monitor.sources.source import BLOCK_S, POLL_S, Item, Notice, Place

_RETRY_S = 1.0
_MAX_DATAGRAM = 65536


class TcpItems:
    """A connection to or from a sensor; each is a clock of its own."""

    def __init__(self, host: str, port: int, pcm: Pcm, *, listen: bool, once: bool) -> None:
        self._address = (host, port)
        self._pcm = pcm
        self._listen = listen
        self._once = once

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        with closing(self._server()) if self._listen else nullcontext() as server:
            while not stop.is_set():
                detail = "the sensor closed the connection"
                try:
                    connection = self._connect(server, stop)
                    if connection is None:
                        return
                    yield from self._receive(connection, stop)
                except OSError as error:
                    detail = str(error)
                if self._once:
                    yield Notice("ended", detail)
                    return
                yield Notice("lost", detail)
                stop.wait(_RETRY_S)

    def _server(self) -> socket.socket:
        server = socket.create_server(self._address)
        server.settimeout(POLL_S)
        return server

    def _connect(self, server: socket.socket | None, stop: threading.Event) -> socket.socket | None:
        if server is None:
            return socket.create_connection(self._address, timeout=5.0)
        while not stop.is_set():
            with suppress(TimeoutError):
                return server.accept()[0]
        return None

    def _receive(self, connection: socket.socket, stop: threading.Event) -> Iterator[Item]:
        reader = PcmReader(self._pcm)
        portion = int(self._pcm.rate * BLOCK_S) * self._pcm.frame_bytes
        with connection:
            connection.settimeout(POLL_S)
            while not stop.is_set():
                try:
                    data = connection.recv(portion)
                except TimeoutError:
                    continue
                if not data:
                    return
                yield from reader.push(data)


class UdpItems:
    """Datagrams to a port of this machine."""

    def __init__(self, host: str, port: int, pcm: Pcm) -> None:
        self._address = (host, port)
        self._pcm = pcm

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        reader = PcmReader(self._pcm)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(self._address)
            receiver.settimeout(POLL_S)
            while not stop.is_set():
                try:
                    data = receiver.recv(_MAX_DATAGRAM)
                except TimeoutError:
                    continue
                yield from self._datagram(data, reader)

    def _datagram(self, data: bytes, reader: PcmReader) -> Iterator[Item]:
        if data.startswith(MAGIC):
            yield framed(data)
        elif len(data) % self._pcm.frame_bytes:
            yield Notice(
                "garbage", f"a datagram of {len(data)} bytes is no whole number of samples"
            )
        else:
            yield from reader.push(data)


def framed(message: bytes) -> Item:
    """Return a framed message's block, or a notice of what is wrong with it."""
    try:
        return unpack(message)
    except InputError as error:
        return Notice("garbage", str(error))
