"""Raw PCM bytes from standard input or a pipe, in any portions."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from listen_embed.errors import InputError
from listen_embed.monitor.block import DTYPES, Block, decode
from listen_embed.monitor.sources.source import (
    BLOCK_S,
    POLL_S,
    Item,
    Notice,
    Place,
    new_clock,
)


@dataclass(frozen=True, slots=True)
class Pcm:
    """The form of raw samples."""

    rate: int
    dtype: str
    channels: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample in all channels."""
        return int(DTYPES[self.dtype].itemsize) * self.channels


class PcmReader:
    """Raw PCM bytes in any portions -> blocks on one clock."""

    def __init__(self, pcm: Pcm) -> None:
        self._pcm = pcm
        self._clock = new_clock()
        self._rest = b""
        self._position = 0

    def push(self, data: bytes) -> Iterator[Item]:
        """Yield the whole samples that are there so far."""
        data = self._rest + data
        n_whole = len(data) - len(data) % self._pcm.frame_bytes
        data, self._rest = data[:n_whole], data[n_whole:]
        if not data:
            return
        first, pcm = self._position, self._pcm
        self._position += n_whole // pcm.frame_bytes
        try:
            yield Block(decode(data, pcm.dtype, pcm.channels), pcm.rate, first, self._clock)
        except InputError as error:
            yield Notice("garbage", str(error))


class FifoItems:
    """A named pipe: each program that writes to it is a clock of its own."""

    def __init__(self, path: Path, pcm: Pcm, *, once: bool) -> None:
        self._path, self._pcm, self._once = path, pcm, once

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        descriptor = self._opened()
        try:
            while not stop.is_set():
                for item in StdinItems(self._pcm, descriptor)(place, stop):
                    if self._once or not (isinstance(item, Notice) and item.what == "ended"):
                        yield item
                        continue
                    descriptor = self._opened_again(descriptor)
                    yield Notice("lost", "the program that wrote ended")
                if self._once:
                    return
        finally:
            os.close(descriptor)

    def _opened(self) -> int:
        # Not blocking: opening would wait for a writer, and nothing could stop it.
        return os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)

    def _opened_again(self, descriptor: int) -> int:
        """Open before closing: a program that writes just now must never be without a reader."""
        following = self._opened()
        os.close(descriptor)
        return following


class StdinItems:
    """Standard input, or another descriptor."""

    def __init__(self, pcm: Pcm, descriptor: int | None = None) -> None:
        self._pcm = pcm
        self._descriptor = descriptor

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        descriptor = sys.stdin.fileno() if self._descriptor is None else self._descriptor
        portion = int(self._pcm.rate * BLOCK_S) * self._pcm.frame_bytes
        reader = PcmReader(self._pcm)
        while not stop.is_set():
            if not select.select([descriptor], [], [], POLL_S)[0]:
                continue
            data = os.read(descriptor, portion)
            if not data:
                yield Notice("ended")
                return
            yield from reader.push(data)
