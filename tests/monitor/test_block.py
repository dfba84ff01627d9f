"""Blocks on the wire: what was packed comes back, and nothing else gets in."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listen_embed.errors import InputError
from listen_embed.monitor.block import HEADER, Block, decode, encode, pack, unpack

SAMPLES = np.array([0.0, 0.5, -0.5, 0.999, -1.0], np.float32)


@pytest.mark.parametrize(("dtype", "step"), [("int16", 2**-15), ("int32", 2**-23), ("float32", 0)])
def test_a_packed_block_comes_back(dtype: str, step: float) -> None:
    block = Block(SAMPLES, 48000, 12345, ends=True, oldest=True)
    back = unpack(pack(block, stream=0xABC, sequence=7, dtype=dtype))
    np.testing.assert_allclose(back.samples, SAMPLES, atol=step)
    assert (back.rate, back.first, back.end, back.ends, back.oldest) == (
        48000,
        12345,
        12350,
        True,
        True,
    )
    assert back.clock == "abc@48000"


def test_the_header_is_as_documented() -> None:
    message = pack(Block(SAMPLES, 16000, 3), stream=5, sequence=9)
    assert HEADER.size == 40
    assert message[:4] == b"LEPB"
    assert list(message[4:8]) == [1, 1, 1, 0]
    assert struct.unpack_from("<I", message, 8) == (16000,)
    assert struct.unpack_from("<QQQ", message, 16) == (5, 9, 3)
    assert (
        message[40:]
        == SAMPLES.clip(-1, 32767 / 32768).__mul__(32768).round().astype("<i2").tobytes()
    )


def test_channels_are_averaged() -> None:
    stereo = np.stack([SAMPLES, -SAMPLES], axis=1)
    np.testing.assert_array_equal(decode(encode(stereo, "float32"), "float32", 2), np.zeros(5))


def test_too_loud_samples_are_clipped_not_wrapped() -> None:
    assert decode(encode(np.array([2.0, -2.0], np.float32), "int16"), "int16", 1).tolist() == [
        32767 / 32768,
        -1.0,
    ]


def _patched(offset: int, content: bytes) -> bytes:
    message = bytearray(pack(Block(SAMPLES, 48000, 0), stream=1, sequence=0))
    message[offset : offset + len(content)] = content
    return bytes(message)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"", "0 bytes"),
        (b"x" * 39, "39 bytes"),
        (b"x" * 40, "starts with"),
        (_patched(4, b"\x02"), "version 2"),
        (_patched(5, b"\x09"), "dtype 9"),
        (_patched(6, b"\x00"), "0 channels"),
        (_patched(8, struct.pack("<I", 5)), "sample rate 5"),
        (_patched(12, b"\0\0\0\0"), "checksum"),
        (_patched(45, b"\x55"), "checksum"),
        (_patched(32, b"\xff" * 8), "out of range"),
        (pack(Block(SAMPLES, 48000, 0), stream=1, sequence=0)[:-1], "checksum"),
        (b"x" * (9 << 20), "bytes"),
    ],
)
def test_anything_else_is_refused(message: bytes, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        unpack(message)


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(message: bytes) -> None:
    for candidate in (message, b"LEPB\x01" + message):
        with contextlib.suppress(InputError):
            unpack(candidate)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_floats_that_are_no_sound_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="not sound"):
        decode(np.array([0, bad], "<f4").tobytes(), "float32", 1)
