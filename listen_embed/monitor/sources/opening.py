"""A SOURCE as the command line gives it -> `Source`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from listen_embed.audio import MAX_RATE, MIN_RATE
from listen_embed.errors import InputError
from listen_embed.monitor.block import DTYPES, MAX_CHANNELS
from listen_embed.monitor.query import address, number, options
from listen_embed.monitor.sources.backlog import Live, Pulled
from listen_embed.monitor.sources.files import FileItems, FolderItems, paced
from listen_embed.monitor.sources.microphone import MicrophoneItems
from listen_embed.monitor.sources.pcm import FifoItems, Pcm, StdinItems
from listen_embed.monitor.sources.sockets import TcpItems, UdpItems
from listen_embed.monitor.sources.source import FOREVER, Source

_PCM_OPTIONS = {"sr": "48000", "dtype": "int16", "channels": "1"}
_LIVE_OPTIONS = {"backlog": "2", "stall": "5"}


def open_source(text: str) -> Source:
    """Return the source that a SOURCE text names (see `listen_embed.monitor.sources`).

    Raises
    ------
    InputError
        There is no such file, scheme or option.
    """
    if os.path.exists(text):
        return _path_source(Path(text), {})
    scheme = text.split(":", 1)[0].lower() if ":" in text else ""
    if scheme in ("mqtt", "mqtts"):
        from listen_embed.monitor.sources.mqtt import MqttSource

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


def _path_source(path: Path, query: Mapping[str, str]) -> Source:
    if path.is_fifo():
        given = options(query, {**_PCM_OPTIONS, **_LIVE_OPTIONS, "live": "1", "once": "0"})
        make_fifo = FifoItems(path, _pcm(given), once=given["once"] == "1")
        return Live(f"fifo:{path.resolve().name}", make_fifo, **_limits(given))
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"source {os.fspath(path)!r}: is no file, folder or named pipe")
    given = options(query, {"pace": "0", **_LIVE_OPTIONS})
    make = FolderItems(path) if path.is_dir() else FileItems(path)
    name = f"{'folder' if path.is_dir() else 'file'}:{path.resolve().name}"
    pace = number(given, "pace", 0, 1e6)
    return Live(name, paced(make, pace), **_limits(given)) if pace else Pulled(name, make)


def _limits(given: Mapping[str, str]) -> dict[str, float]:
    live = given.get("live", "1") != "0"
    return {
        "limit_s": number(given, "backlog", 0.1, 3600) if live else FOREVER,
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
    return Live("stdin:", StdinItems(_pcm(given)), **_limits(given))


def _open_microphone(text: str) -> Source:
    url = urlsplit(text)
    given = options(url.query, {"sr": "48000", "channels": "1", **_LIVE_OPTIONS})
    make = MicrophoneItems(url.path, _pcm({**given, "dtype": "float32"}))
    return Live(f"mic:{url.path}", make, **_limits(given))


def _open_tcp(text: str) -> Source:
    host, port, query = address(text)
    own = {"live": "1", "listen": "0", "once": "0"}
    given = options(query, {**_PCM_OPTIONS, **_LIVE_OPTIONS, **own})
    listen, once = given["listen"] == "1", given["once"] == "1"
    make = TcpItems(host, port, _pcm(given), listen=listen, once=once)
    return Live(f"tcp://{host}:{port}", make, **_limits(given))


def _open_udp(text: str) -> Source:
    host, port, query = address(text)
    given = options(query, {**_PCM_OPTIONS, **_LIVE_OPTIONS})
    return Live(f"udp://{host}:{port}", UdpItems(host, port, _pcm(given)), **_limits(given))


_OPENERS: dict[str, Callable[[str], Source]] = {
    "mic": _open_microphone,
    "stdin": _open_stdin,
    "tcp": _open_tcp,
    "udp": _open_udp,
}
