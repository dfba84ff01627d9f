"""Blocks of samples, and their form on the wire (version 1).

In: bytes from a pipe, a socket or an MQTT message. Out: `Block`, mono float32 on a sample clock.

A framed block is a header of 40 bytes, little-endian, and the samples, channels interleaved:

====== ====== =====================================================================================
offset type   meaning
====== ====== =====================================================================================
0      4 char ``LEPB``
4      u8     version, 1
5      u8     dtype: 1 int16, 2 int32, 3 float32
6      u8     channels, 1 to 64
7      u8     flags: bit 0: the stream ends here; bit 1: nothing before this can be had any more
8      u32    sample rate, Hz
12     u32    CRC-32 of the samples' bytes
16     u64    stream: any number that is new whenever the sensor's sample counter starts at 0 again
24     u64    sequence number of the block in its stream, from 0
32     u64    index of the block's first sample in its stream
====== ====== =====================================================================================
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.audio import MAX_RATE, MIN_RATE
from listen_embed.errors import InputError

HEADER = struct.Struct("<4sBBBBIIQQQ")
MAGIC = b"LEPB"
VERSION = 1
DTYPES: dict[str, np.dtype[Any]] = {
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "float32": np.dtype("<f4"),
}
_CODES = {1: "int16", 2: "int32", 3: "float32"}
_ENDS, _OLDEST = 1, 2
MAX_CHANNELS = 64
MAX_BYTES = 8 << 20
# Float samples are nominally in [-1, 1]; beyond this they are bytes of something else.
_ABSURD = 100.0
SILENCE_DB = -120.0


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of sound on a sample clock.

    Attributes
    ----------
    samples : ndarray, float32 (n,)
        Mono, nominally in [-1, 1].
    rate : int
        Samples per second.
    first : int
        Index of ``samples[0]`` on the clock.
    clock : str
        Which sample clock; another name means that counting starts anew.
    ends : bool
        The stream ends with this block.
    oldest : bool
        Nothing before this block can be had any more.
    """

    samples: NDArray[np.float32]
    rate: int
    first: int
    clock: str = "0"
    ends: bool = False
    oldest: bool = False

    @property
    def end(self) -> int:
        """Index of the first sample after the block."""
        return self.first + len(self.samples)


def decode(data: bytes | memoryview, dtype: str, channels: int) -> NDArray[np.float32]:
    """Return raw interleaved PCM as mono float32 (n,).

    Raises
    ------
    InputError
        The bytes are no whole number of samples, or not sound (NaN, infinity, absurdly large).
    """
    wire = DTYPES[dtype]
    if len(data) % (wire.itemsize * channels):
        raise InputError(f"{len(data)} bytes are no whole number of {channels} x {dtype} samples")
    raw = np.frombuffer(data, wire).reshape(-1, channels)
    samples: NDArray[np.float32] = raw.astype(np.float32)
    if wire.kind == "i":
        samples /= np.float32(2.0 ** (8 * wire.itemsize - 1))
    elif not (np.abs(samples) < _ABSURD).all():
        raise InputError(f"float samples beyond {_ABSURD:g}, or NaN: not sound in [-1, 1]")
    return to_mono(samples)


def to_mono(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the channels of (n, channels) samples."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    return np.asarray(samples.mean(axis=1, dtype=np.float32))


def level_db(samples: NDArray[np.float32]) -> float:
    """Return the RMS of samples (n,) in dB of full scale, -120 for silence."""
    if not len(samples):
        return SILENCE_DB
    power = float(np.dot(samples, samples)) / len(samples)
    return max(SILENCE_DB, 10.0 * float(np.log10(max(power, 1e-30))))


def encode(samples: NDArray[np.float32], dtype: str) -> bytes:
    """Return float32 samples (n,) or (n, channels) in [-1, 1] as raw PCM; louder ones clip."""
    wire = DTYPES[dtype]
    if wire.kind == "f":
        return bytes(samples.astype(wire).tobytes())
    full = 2.0 ** (8 * wire.itemsize - 1)
    scaled = np.round(np.asarray(samples, np.float64) * full)
    return bytes(np.clip(scaled, -full, full - 1).astype(wire).tobytes())


def pack(
    block: Block, *, stream: int, sequence: int, dtype: str = "int16", channels: int = 1
) -> bytes:
    """Return a framed block as a sensor sends it."""
    payload = encode(block.samples, dtype)
    code = next(code for code, name in _CODES.items() if name == dtype)
    flags = _ENDS * block.ends | _OLDEST * block.oldest
    header = HEADER.pack(
        MAGIC,
        VERSION,
        code,
        channels,
        flags,
        block.rate,
        zlib.crc32(payload),
        stream,
        sequence,
        block.first,
    )
    return header + payload


def unpack(message: bytes) -> Block:
    """Return the block in a framed message; its clock is the sensor's stream and rate.

    Raises
    ------
    InputError
        The message is anything but a framed block of version 1 with intact samples.
    """
    if not HEADER.size <= len(message) <= MAX_BYTES:
        raise InputError(f"a message of {len(message)} bytes; a framed block has {HEADER.size} up")
    magic, version, code, channels, flags, rate, crc, stream, _, first = HEADER.unpack_from(message)
    if magic != MAGIC or version != VERSION:
        raise InputError(f"starts with {magic!r} version {version}; expected {MAGIC!r} {VERSION}")
    if code not in _CODES or not 1 <= channels <= MAX_CHANNELS or first >= 1 << 62:
        raise InputError(f"dtype {code}, {channels} channels, sample {first}: out of range")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InputError(f"sample rate {rate}; allowed are {MIN_RATE} to {MAX_RATE} Hz")
    payload = memoryview(message)[HEADER.size :]
    if zlib.crc32(payload) != crc:
        raise InputError("the checksum of the samples does not match")
    samples = decode(payload, _CODES[code], channels)
    clock = f"{stream:x}@{rate}"
    return Block(samples, rate, first, clock, bool(flags & _ENDS), bool(flags & _OLDEST))
