"""Texts that name a source, and those that do not."""

from __future__ import annotations

import pytest

from listen_embed.errors import InputError
from listen_embed.monitor.sources import open_source

from ..world import sound

SAMPLES = sound(("low", 2.0), ("high", 1.0))


def test_a_device_is_no_source() -> None:
    with pytest.raises(InputError, match="no file, folder or named pipe"):
        open_source("/dev/null")


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
