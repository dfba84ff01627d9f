"""Where sound comes from: files, folders, the microphone, pipes and sockets.

In: a SOURCE as the command line gives it. Out: `Source`, whose items are blocks of samples on a
sample clock, and notices of what happened to the source; it never raises for what arrives.

===================================== =========================================================
SOURCE                                meaning, options after ``?`` joined by ``&``
===================================== =========================================================
``file.wav``                          a sound file; ``pace``: 0 as fast as possible, 1 real time
``folder/``                           its sound files by name, each a clock of its own; ``pace``
``mic:`` or ``mic:NAME``              sounddevice's input; ``sr``, ``channels``
``stdin:``                            raw PCM; ``sr``, ``dtype``, ``channels``, ``live``
``tcp://host:port``                   raw PCM from a sensor that listens there; as stdin, and
                                      ``listen=1`` to wait for it here, ``once=1`` to end with it
``udp://host:port``                   datagrams sent to this port: framed blocks or raw PCM
``mqtt://host/topic``, ``mqtts://``   framed blocks (`listen_embed.monitor.mqtt`)
===================================== =========================================================

``live=0`` says that the sound can wait: nothing is dropped however slow the monitor is. ``backlog``
is how many seconds of live sound may wait, ``stall`` after how many silent seconds a source counts
as stalled.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.typing import NDArray

from listen_embed.audio import MAX_RATE, MIN_RATE
from listen_embed.errors import InputError, MissingExtraError
from listen_embed.monitor.block import (
    DTYPES,
    MAGIC,
    MAX_CHANNELS,
    Block,
    decode,
    to_mono,
    unpack,
)

_POLL_S = 0.2
_BLOCK_S = 0.1
_FILE_BLOCK_S = 1.0
_RETRY_S = 1.0
_MAX_DATAGRAM = 65536
_FOREVER = float("inf")
_CAN_WAIT_S = 10.0
_log = logging.getLogger(__name__)
SOUND_FILES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus"})


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened to a source: it ended, stalled, went on, sent garbage, or broke."""

    what: Literal["ended", "stalled", "resumed", "garbage", "lost"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where listening stopped: go on there if the source can. `done`: the source had ended."""

    clock: str
    sample: int
    done: bool = False


Item = Block | Notice
Maker = Callable[[Place | None, threading.Event], Iterator[Item]]


class Source(Protocol):
    """What the pipeline asks of a source.

    Attributes
    ----------
    name : str
        Stable across restarts, part of every event's id; no secrets.
    limit_s : float
        Seconds of sound that may wait before hops are dropped; infinite where sound can wait.
    """

    name: str
    limit_s: float

    def items(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield blocks and notices, from `place` on where possible, until the end or `stop`."""

    def behind_s(self) -> float:
        """Return how many seconds of sound wait to be taken."""

    def keep(self, clock: str, sample: int) -> None:
        """Take note that nothing before `sample` will be asked for again."""


class Backlog:
    """Items between a source's thread and the pipeline, counted in seconds of sound."""

    def __init__(self, capacity_s: float) -> None:
        self._capacity_s = capacity_s
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._waiting_s = 0.0

    def seconds(self) -> float:
        """Return the seconds of sound that wait."""
        return self._waiting_s

    def has_room(self) -> bool:
        """Return whether a block would be taken."""
        return self._waiting_s <= self._capacity_s

    def add(self, item: Item) -> None:
        """Add an item, whether there is room or not."""
        with self._room:
            self._waiting_s += _seconds(item)
        self._items.put(item)

    def put(self, item: Item, done: threading.Event) -> None:
        """Wait for room, or until `done` is set, and add an item."""
        with self._room:
            while not self.has_room() and not done.is_set():
                self._room.wait(_POLL_S)
        self.add(item)

    def get(self, timeout_s: float) -> Item | None:
        """Return the next item, None if none came in time."""
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        with self._room:
            self._waiting_s = max(0.0, self._waiting_s - _seconds(item))
            self._room.notify()
        return item

    def items(
        self, stop: threading.Event, stall_s: float, on_idle: Callable[[], None] | None = None
    ) -> Iterator[Item]:
        """Yield items as they come, with notices of stalling and resuming, until "ended".

        `on_idle` is called now and then while nothing comes.
        """
        heard, stalled = time.monotonic(), False
        while not stop.is_set():
            item = self.get(_POLL_S)
            if item is None:
                if on_idle is not None:
                    on_idle()
                if not stalled and time.monotonic() - heard > stall_s:
                    stalled = True
                    yield Notice("stalled", f"no sound for {stall_s:g} s")
                continue
            if stalled and isinstance(item, Block):
                stalled = False
                yield Notice("resumed")
            heard = time.monotonic()
            yield item
            if isinstance(item, Notice) and item.what == "ended":
                return


def _seconds(item: Item) -> float:
    return len(item.samples) / item.rate if isinstance(item, Block) else 0.0


class Pulled:
    """A source that can wait: its items are made when they are asked for."""

    limit_s = _FOREVER

    def __init__(self, name: str, make: Maker) -> None:
        self.name = name
        self._make = make

    def items(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        for item in self._make(place, stop):
            yield item
            if stop.is_set():
                return

    def behind_s(self) -> float:
        """Return 0: nothing waits."""
        return 0.0

    def keep(self, clock: str, sample: int) -> None:
        """Do nothing: what is on disk stays."""


class Live:
    """A source with a clock of its own: a thread takes its items, however busy the pipeline is."""

    def __init__(
        self,
        name: str,
        make: Maker,
        *,
        limit_s: float,
        stall_s: float,
    ) -> None:
        self.name = name
        self.limit_s = limit_s
        self._make = make
        self._stall_s = stall_s
        # Sound that can wait fills a short queue and then waits at its source.
        self._backlog = Backlog(4 * limit_s if limit_s < _FOREVER else _CAN_WAIT_S)

    def items(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        done = threading.Event()
        reader = threading.Thread(target=self._read, args=(place, done), name="source", daemon=True)
        reader.start()
        try:
            yield from self._backlog.items(stop, self._stall_s)
        finally:
            done.set()
            reader.join(timeout=2.0)

    def _read(self, place: Place | None, done: threading.Event) -> None:
        try:
            for item in self._make(place, done):
                self._backlog.put(item, done)
                if done.is_set():
                    return
        except Exception as error:  # a thread that dies in silence would look like a stall
            _log.exception("source %s failed", self.name)
            self._backlog.put(Notice("ended", f"failed: {error}"), done)

    def behind_s(self) -> float:
        """Return the seconds of sound that wait in the queue."""
        return self._backlog.seconds()

    def keep(self, clock: str, sample: int) -> None:
        """Do nothing: a live source cannot go back."""


# Files and folders


def _file_items(path: Path, clock: str, first: int, stop: threading.Event) -> Iterator[Item]:
    """Yield a sound file from sample `first` on; a damaged one is a notice."""
    import soundfile

    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            rate, position = int(file.samplerate), min(first, len(file))
            file.seek(position)
            if position:  # resumed: say where, even if nothing is left
                yield Block(np.zeros(0, np.float32), rate, position, clock)
            while not stop.is_set():
                samples = file.read(int(rate * _FILE_BLOCK_S), dtype="float32", always_2d=True)
                if not len(samples):
                    return
                yield from _checked(to_mono(samples), rate, position, clock)
                position += len(samples)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        yield Notice("garbage", f"{path.name}: {error}")


def _checked(samples: NDArray[np.float32], rate: int, position: int, clock: str) -> Iterator[Item]:
    if np.isfinite(samples).all():
        yield Block(samples, rate, position, clock)
    else:
        yield Notice("garbage", "NaN or infinity")


class _File:
    """One file; its clock names its content and how often it has been played from the start."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        stat = self._path.stat()
        content = f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
        clock, first = _next_pass(place, content)
        yield from _file_items(self._path, clock, first, stop)
        if not stop.is_set():
            yield Notice("ended")


class _Folder:
    """A folder's sound files by name; clocks are ``<pass>:<path in the folder>``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        turn, resume_at, first = 1, "", 0
        if place is not None and ":" in place.clock:
            number, resume_at = place.clock.split(":", 1)
            turn, first = int(number), place.sample
            if place.done:
                turn, resume_at, first = turn + 1, "", 0
        for path in sound_files(self._path):
            name = path.relative_to(self._path).as_posix()
            if name >= resume_at and not stop.is_set():
                start = first if name == resume_at else 0
                yield from _file_items(path, f"{turn}:{name}", start, stop)
        if not stop.is_set():
            yield Notice("ended")


def sound_files(folder: Path) -> list[Path]:
    """Return the sound files in a folder and below, ordered by their path's text."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in SOUND_FILES and p.is_file())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _next_pass(place: Place | None, content: str) -> tuple[str, int]:
    if place is None or not place.clock.startswith(content):
        return f"{content}-1", 0
    if not place.done:
        return place.clock, place.sample
    return f"{content}-{int(place.clock.rsplit('-', 1)[1]) + 1}", 0


def _paced(make: Maker, pace: float) -> Maker:
    """Hold blocks back until their last sample would have been heard, `pace` times real time."""

    def items(place: Place | None, stop: threading.Event) -> Iterator[Item]:
        due = time.monotonic()
        for item in make(place, stop):
            for part in _parts(item):
                due += _seconds(part) / pace
                if stop.wait(max(0.0, due - time.monotonic())):
                    return
                yield part

    return items


def _parts(item: Item) -> Iterator[Item]:
    if isinstance(item, Notice):
        yield item
        return
    step = max(1, int(item.rate * _BLOCK_S))
    for start in range(0, len(item.samples), step):
        part = item.samples[start : start + step]
        yield Block(part, item.rate, item.first + start, item.clock)


# Raw PCM


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


class _Pipe:
    """Raw PCM bytes in any portions -> blocks on one clock."""

    def __init__(self, pcm: Pcm) -> None:
        self._pcm = pcm
        self._clock = new_clock()
        self._rest = b""
        self._position = 0

    def push(self, data: bytes) -> Iterator[Item]:
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


def new_clock() -> str:
    """Return a name for a sample clock that starts now."""
    return f"{time.time_ns() // 1_000_000:x}"


class _Stdin:
    def __init__(self, pcm: Pcm, descriptor: int | None = None) -> None:
        self._pcm = pcm
        self._descriptor = descriptor

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        descriptor = sys.stdin.fileno() if self._descriptor is None else self._descriptor
        portion = int(self._pcm.rate * _BLOCK_S) * self._pcm.frame_bytes
        pipe = _Pipe(self._pcm)
        while not stop.is_set():
            if not select.select([descriptor], [], [], _POLL_S)[0]:
                continue
            data = os.read(descriptor, portion)
            if not data:
                yield Notice("ended")
                return
            yield from pipe.push(data)


class _Tcp:
    def __init__(self, host: str, port: int, pcm: Pcm, *, listen: bool, once: bool) -> None:
        self._address = (host, port)
        self._pcm = pcm
        self._listen = listen
        self._once = once

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
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
        server.settimeout(_POLL_S)
        return server

    def _connect(self, server: socket.socket | None, stop: threading.Event) -> socket.socket | None:
        if server is None:
            return socket.create_connection(self._address, timeout=5.0)
        while not stop.is_set():
            with suppress(TimeoutError):
                return server.accept()[0]
        return None

    def _receive(self, connection: socket.socket, stop: threading.Event) -> Iterator[Item]:
        pipe = _Pipe(self._pcm)
        portion = int(self._pcm.rate * _BLOCK_S) * self._pcm.frame_bytes
        with connection:
            connection.settimeout(_POLL_S)
            while not stop.is_set():
                try:
                    data = connection.recv(portion)
                except TimeoutError:
                    continue
                if not data:
                    return
                yield from pipe.push(data)


class _Udp:
    def __init__(self, host: str, port: int, pcm: Pcm) -> None:
        self._address = (host, port)
        self._pcm = pcm

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        pipe = _Pipe(self._pcm)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(self._address)
            receiver.settimeout(_POLL_S)
            while not stop.is_set():
                try:
                    data = receiver.recv(_MAX_DATAGRAM)
                except TimeoutError:
                    continue
                yield from self._datagram(data, pipe)

    def _datagram(self, data: bytes, pipe: _Pipe) -> Iterator[Item]:
        if data.startswith(MAGIC):
            yield framed(data)
        elif len(data) % self._pcm.frame_bytes:
            yield Notice(
                "garbage", f"a datagram of {len(data)} bytes is no whole number of samples"
            )
        else:
            yield from pipe.push(data)


def framed(message: bytes) -> Item:
    """Return a framed message's block, or a notice of what is wrong with it."""
    try:
        return unpack(message)
    except InputError as error:
        return Notice("garbage", str(error))


class _Microphone:
    def __init__(self, device: str, pcm: Pcm) -> None:
        self._device = int(device) if device.isdigit() else device or None
        self._pcm = pcm

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        sounddevice = _sounddevice()
        clock, position = new_clock(), 0
        portion = int(self._pcm.rate * _BLOCK_S)
        try:
            with sounddevice.InputStream(
                samplerate=self._pcm.rate,
                device=self._device,
                channels=self._pcm.channels,
                dtype="float32",
                blocksize=portion,
            ) as stream:
                while not stop.is_set():
                    samples, overflowed = stream.read(portion)
                    if overflowed:
                        yield Notice("lost", "the sound card's buffer overflowed")
                    yield from _checked(to_mono(samples), self._pcm.rate, position, clock)
                    position += len(samples)
        except sounddevice.PortAudioError as error:
            yield Notice("ended", str(error))


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio itself is missing
        raise MissingExtraError(
            f"mic: needs sounddevice and PortAudio ({error}). Install with: "
            'pip install sounddevice (Debian also: apt install libportaudio2), or use "stdin:"'
        ) from error
    return sounddevice


# SOURCE -> Source

_PCM_OPTIONS = {"sr": "48000", "dtype": "int16", "channels": "1"}
_LIVE_OPTIONS = {"backlog": "2", "stall": "5"}


def open_source(text: str) -> Source:
    """Return the source that a SOURCE text names (see the module's docstring).

    Raises
    ------
    InputError
        There is no such file, scheme or option.
    """
    if os.path.exists(text):
        return _path_source(Path(text), {})
    scheme = text.split(":", 1)[0].lower() if ":" in text else ""
    if scheme in ("mqtt", "mqtts"):
        from listen_embed.monitor.mqtt import MqttSource

        return MqttSource(text)
    if scheme in _OPENERS:
        return _OPENERS[scheme](text)
    path, _, query = text.rpartition("?")
    if path and os.path.exists(path):
        return _path_source(Path(path), dict(parse_qsl(query)))
    raise InputError(
        f"source {text!r}: no such file or folder; give one, or "
        "mic:, stdin:, tcp://host:port, udp://host:port, mqtt://host/topic"
    )


def options(query: str | Mapping[str, str], allowed: Mapping[str, str]) -> dict[str, str]:
    """Return a query's options over their defaults, or raise `InputError` on an unknown one."""
    given = dict(parse_qsl(query, keep_blank_values=True)) if isinstance(query, str) else query
    if unknown := set(given) - set(allowed):
        raise InputError(f"source option {min(unknown)!r}; allowed are {', '.join(allowed)}")
    return {**allowed, **given}


def number(given: Mapping[str, str], name: str, low: float, high: float) -> float:
    """Return an option as a number within bounds, or raise `InputError`."""
    try:
        value = float(given[name])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InputError(f"source option {name}={given[name]!r}; a number, {low:g} to {high:g}")
    return value


def _path_source(path: Path, query: Mapping[str, str]) -> Source:
    given = options(query, {"pace": "0", **_LIVE_OPTIONS})
    make = _Folder(path) if path.is_dir() else _File(path)
    name = f"{'folder' if path.is_dir() else 'file'}:{path.resolve().name}"
    pace = number(given, "pace", 0, 1e6)
    return Live(name, _paced(make, pace), **_limits(given)) if pace else Pulled(name, make)


def _limits(given: Mapping[str, str]) -> dict[str, float]:
    live = given.get("live", "1") != "0"
    return {
        "limit_s": number(given, "backlog", 0.1, 3600) if live else _FOREVER,
        "stall_s": number(given, "stall", 0.1, 86400),
    }


def _pcm(given: Mapping[str, str]) -> Pcm:
    if given["dtype"] not in DTYPES:
        raise InputError(f"source option dtype={given['dtype']!r}; allowed are {', '.join(DTYPES)}")
    rate = number(given, "sr", MIN_RATE, MAX_RATE)
    return Pcm(int(rate), given["dtype"], int(number(given, "channels", 1, MAX_CHANNELS)))


def _open_stdin(text: str) -> Source:
    query = urlsplit(text).query
    given = options(query, {**_PCM_OPTIONS, **_LIVE_OPTIONS, "live": "1"})
    return Live("stdin:", _Stdin(_pcm(given)), **_limits(given))


def _open_microphone(text: str) -> Source:
    url = urlsplit(text)
    given = options(url.query, {"sr": "48000", "channels": "1", **_LIVE_OPTIONS})
    _sounddevice()
    make = _Microphone(url.path, _pcm({**given, "dtype": "float32"}))
    return Live(f"mic:{url.path}", make, **_limits(given))


def _open_tcp(text: str) -> Source:
    host, port, query = address(text)
    own = {"live": "1", "listen": "0", "once": "0"}
    given = options(query, {**_PCM_OPTIONS, **_LIVE_OPTIONS, **own})
    listen, once = given["listen"] == "1", given["once"] == "1"
    make = _Tcp(host, port, _pcm(given), listen=listen, once=once)
    return Live(f"tcp://{host}:{port}", make, **_limits(given))


def _open_udp(text: str) -> Source:
    host, port, query = address(text)
    given = options(query, {**_PCM_OPTIONS, **_LIVE_OPTIONS})
    return Live(f"udp://{host}:{port}", _Udp(host, port, _pcm(given)), **_limits(given))


def address(text: str) -> tuple[str, int, str]:
    """Return host, port and query of ``scheme://host:port?query``, or raise `InputError`."""
    url = urlsplit(text)
    try:
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise InputError(f"source {text!r}: give it as {url.scheme}://host:port")
    return host, port, url.query


_OPENERS: dict[str, Callable[[str], Source]] = {
    "mic": _open_microphone,
    "stdin": _open_stdin,
    "tcp": _open_tcp,
    "udp": _open_udp,
}
