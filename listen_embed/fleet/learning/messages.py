"""What a coordinator tells its nodes: what the fleet agrees on, and each round's start.

Both are signed by the coordinator and bound to its run, so that nothing of another run or round is
taken for this one's.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass

import numpy as np

from listen_embed.fleet.keys import Sign, Verify
from listen_embed.fleet.learning.layout import Agreement, Layout, Vector
from listen_embed.fleet.learning.node import Start
from listen_embed.fleet.learning.updates import SIGNATURE_BYTES, RefusalError

_MAX_AGREEMENT_BYTES = 100_000
_MAX_ASKED_BYTES = 100_000
_AGREED, _START = b"LEA1", b"LES1"
_HEAD = struct.Struct("<4s32sIIH")  # magic, run, round, rounds, length of the names
RUN_BYTES = 16


@dataclass(frozen=True)
class Founding:
    """A run of a fleet and what it agrees on.

    Attributes
    ----------
    run : bytes
        16 random ones.
    agreement : Agreement
    """

    run: bytes
    agreement: Agreement

    @property
    def digest(self) -> bytes:
        """What every message of this run is bound to, 32 bytes."""
        return hashlib.sha256(self.run + self.agreement.digest).digest()

    def pack(self, sign: Sign) -> bytes:
        """Return its message."""
        content = _AGREED + self.run + self.agreement.json().encode()
        return content + sign(content)

    @classmethod
    def unpack(cls, message: bytes, verify: Verify) -> Founding:
        """Return what a message founds; raise `InputError` if it is not the coordinator's."""
        content = _signed(message, _AGREED, _MAX_AGREEMENT_BYTES, verify)
        head = len(_AGREED) + RUN_BYTES
        return cls(content[len(_AGREED) : head], Agreement.parse(content[head:]))


@dataclass(frozen=True)
class Question:
    """A round's start, and who is asked to learn from it.

    Attributes
    ----------
    start : Start
    rounds : int
        How many there will be; a start of that round is the last, and nobody is asked.
    asked : tuple of str
        Names of nodes.
    """

    start: Start
    rounds: int
    asked: tuple[str, ...]

    @property
    def is_last(self) -> bool:
        """Whether all rounds are over."""
        return self.start.round >= self.rounds

    def pack(self, founding: Founding, sign: Sign) -> bytes:
        """Return its message."""
        names = json.dumps(self.asked).encode()
        head = _HEAD.pack(_START, founding.digest, self.start.round, self.rounds, len(names))
        values = [self.start.rates.astype("<f4"), self.start.vector.astype("<f4")]
        content = b"".join([head, names, *(part.tobytes() for part in values)])
        return content + sign(content)

    @classmethod
    def unpack(cls, message: bytes, founding: Founding, verify: Verify) -> Question:
        """Return what a message asks.

        Raises
        ------
        RefusalError
            It is not the coordinator's, of another run, or not what it should be.
        """
        layout = founding.agreement.layout
        n_values = len(layout.layers) + layout.size
        content = _signed(message, _START, 4 * n_values + _MAX_ASKED_BYTES, verify)
        if len(content) < _HEAD.size:
            raise RefusalError(f"the start has {len(content)} bytes, too few")
        _, digest, round_, rounds, n_names = _HEAD.unpack(content[: _HEAD.size])
        if digest != founding.digest:
            raise RefusalError("the start is of another run, or of a fleet that learns otherwise")
        names, numbers = _cut(content[_HEAD.size :], n_names)
        return cls(_start(round_, numbers, layout), rounds, _asked(names))


def _signed(message: bytes, magic: bytes, most: int, verify: Verify) -> bytes:
    if len(message) > most + SIGNATURE_BYTES:
        raise RefusalError(f"the message has {len(message)} bytes, allowed are {most}")
    content, signature = message[:-SIGNATURE_BYTES], message[-SIGNATURE_BYTES:]
    if content[: len(magic)] != magic:
        raise RefusalError(f"the message begins with {content[:4]!r}, not with {magic!r}")
    if not verify(content, signature):
        raise RefusalError("the message is not signed by this fleet's coordinator")
    return content


def _cut(content: bytes, n: int) -> tuple[bytes, bytes]:
    return content[:n], content[n:]


def _asked(names: bytes) -> tuple[str, ...]:
    try:
        asked = json.loads(names)
    except (ValueError, RecursionError) as error:
        raise RefusalError(f"the start names nobody: {error}") from error
    if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
        raise RefusalError("the start names nobody")
    return tuple(asked)


def _start(round_: int, numbers: bytes, layout: Layout) -> Start:
    n_rates = len(layout.layers)
    if len(numbers) != 4 * (n_rates + layout.size):
        raise RefusalError(
            f"the start has {len(numbers) // 4} values, {n_rates + layout.size} are agreed on"
        )
    values: Vector = np.frombuffer(numbers, "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise RefusalError("the start holds NaN or infinity")
    return Start(round_, values[n_rates:], values[:n_rates])
