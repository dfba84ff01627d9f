"""What a device sends: how far it got from the start, in int8, and what is let in of that.

An update is bound to its round and to what the fleet agrees on, and signed by its node. Its bytes
are believed only after every check; each refusal names its cause.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import InputError
from listen_embed.fleet.keys import Sign, Verify
from listen_embed.fleet.learning.layout import Layout, Vector

_MAGIC = b"LEU1"
_HEAD = struct.Struct("<4sI32sIB")  # magic, round, agreement, samples, length of the node's name
_BLOCK = 64  # values that share a scale
_KEPT, _DENSE, _SPARSE = 0, 1, 2
SIGNATURE_BYTES = 64
MAX_NAME_BYTES = 64
# Updates longer than this many times the usual are shortened to that.
_LONGEST = 2.0
_FEW = 3
_REMEMBERED = 32
# Of so many updates those are left out that are this many times as far off as is usual.
_ENOUGH, _FARTHEST = 5, 2.0


class RefusalError(InputError):
    """A message of the fleet that is not let in; what was there before stays."""


@dataclass(frozen=True)
class Update:
    """How far a node got.

    Attributes
    ----------
    node : str
    round : int
        The round in which it was asked.
    agreement : bytes
        Digest of what the fleet agrees on, 32 bytes.
    n_samples : int
        How many it learnt from.
    delta : ndarray, float32 (size,)
        What it learnt minus the start; 0 in layers that it keeps to itself.
    signals : ndarray, float32 (n_layers,)
        See `Learnt.signals`.
    """

    node: str
    round: int
    agreement: bytes
    n_samples: int
    delta: Vector
    signals: Vector


@dataclass(frozen=True)
class Sending:
    """What of an update is sent.

    Attributes
    ----------
    kept : frozenset of str
        Layers that never leave the node.
    top : float
        Share of each layer's values that are sent, the largest; above 0, 1 for all.
    """

    kept: frozenset[str] = frozenset()
    top: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.top <= 1:
            raise InputError(f"top is {self.top}; give a share above 0, 1 at most")


def pack(update: Update, layout: Layout, sending: Sending, sign: Sign) -> bytes:
    """Return an update's bytes.

    Parameters
    ----------
    update : Update
    layout : Layout
        Whose vector its delta is.
    sending : Sending
        What to leave out.
    sign : callable
        Bytes -> 64 bytes, by the node's key.

    Raises
    ------
    InputError
        Learning went off to infinity, so there is nothing to send.
    """
    if not (np.isfinite(update.delta).all() and np.isfinite(update.signals).all()):
        raise InputError(
            f"node {update.node!r} learnt NaN or infinity in round {update.round}; "
            "give it a lower rate, or scale its samples"
        )
    name = update.node.encode()
    head = _HEAD.pack(_MAGIC, update.round, update.agreement, update.n_samples, len(name))
    parts = [head, name]
    for layer, values in zip(layout.layers, layout.each(update.delta), strict=True):
        parts.append(_packed(values, layer.name in sending.kept, sending.top))
    parts.append(update.signals.astype("<f4").tobytes())
    content = b"".join(parts)
    return content + sign(content)


def _packed(values: Vector, is_kept: bool, top: float) -> bytes:
    if is_kept:
        return bytes([_KEPT])
    n_sent = math.ceil(top * len(values))
    if n_sent == len(values):
        return bytes([_DENSE]) + _quantised(values)
    chosen = np.zeros(len(values), bool)
    chosen[np.argpartition(-np.abs(values), n_sent - 1)[:n_sent]] = True
    mask = np.packbits(chosen, bitorder="little").tobytes()
    return bytes([_SPARSE]) + mask + _quantised(values[chosen])


def _quantised(values: Vector) -> bytes:
    """Return a float32 scale for every 64 values, and each value as int8."""
    blocks = np.zeros((-(-len(values) // _BLOCK), _BLOCK), np.float32)
    blocks.ravel()[: len(values)] = values
    scales = np.abs(blocks).max(axis=1) / np.float32(127)
    steps = np.rint(blocks / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    return bytes(scales.astype("<f4").tobytes() + steps.ravel()[: len(values)].tobytes())


class _Reader:
    """Takes bytes off a message; more than there are is an error."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, n: int) -> bytes:
        """Return the next n bytes."""
        taken = self._content[self._at : self._at + n]
        if len(taken) < n:
            raise RefusalError(f"the update ends after {len(self._content)} bytes, too soon")
        self._at += n
        return taken

    def floats(self, n: int) -> NDArray[np.float32]:
        """Return the next n float32; NaN and infinity are refused."""
        values = np.frombuffer(self.take(4 * n), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise RefusalError("the update holds NaN or infinity")
        return values

    def end(self) -> None:
        """Raise unless everything was taken."""
        if self._at != len(self._content):
            raise RefusalError(f"the update has {len(self._content) - self._at} bytes too many")


def most_bytes(layout: Layout) -> int:
    """Return how long an update of a layout can be."""
    blocks = sum(-(-layer.size // _BLOCK) for layer in layout.layers)
    masks = sum(-(-layer.size // 8) for layer in layout.layers)
    each = len(layout.layers) * (1 + 4)
    name = MAX_NAME_BYTES + SIGNATURE_BYTES
    return _HEAD.size + name + each + layout.size + 4 * blocks + masks


def unpack(content: bytes, layout: Layout, verify: Verify) -> Update:
    """Return the update in a message from anywhere.

    Parameters
    ----------
    content : bytes
    layout : Layout
        What the fleet learns.
    verify : callable
        Takes a node's name and gives what checks a signature of it, or raises `RefusalError`.

    Raises
    ------
    RefusalError
        It is too long, no update, not signed by the node that it names, not finite, or of another
        shape.
    """
    if len(content) > most_bytes(layout):
        raise RefusalError(f"the update has {len(content)} bytes, allowed are {most_bytes(layout)}")
    signed, signature = content[:-SIGNATURE_BYTES], content[-SIGNATURE_BYTES:]
    reader = _Reader(signed)
    magic, round_, agreement, n_samples, n_name = _HEAD.unpack(reader.take(_HEAD.size))
    if magic != _MAGIC:
        raise RefusalError(f"the message begins with {magic!r}, which no update does")
    node = _name(reader.take(n_name))
    if not verify(signed, signature):
        raise RefusalError(f"the update's signature is not that of node {node!r}")
    delta = np.zeros(layout.size, np.float32)
    for values in layout.each(delta):
        _read_layer(reader, values)
    signals = np.clip(reader.floats(len(layout.layers)), -1, 1)
    reader.end()
    return Update(node, round_, agreement, n_samples, delta, signals)


def named_in(content: bytes) -> str:
    """Return the node that an update names, unproven; raise `RefusalError` if it names none."""
    reader = _Reader(content[: _HEAD.size + MAX_NAME_BYTES])
    return _name(reader.take(_HEAD.unpack(reader.take(_HEAD.size))[4]))


def _name(content: bytes) -> str:
    try:
        name = content.decode()
    except UnicodeDecodeError as error:
        raise RefusalError(f"the update's node is no text: {error}") from error
    if not name or len(content) > MAX_NAME_BYTES or not name.isprintable():
        raise RefusalError(f"the update's node is {name!r}, which names nobody")
    return name


def _read_layer(reader: _Reader, values: Vector) -> None:
    (kind,) = reader.take(1)
    if kind == _KEPT:
        return
    if kind == _DENSE:
        values[:] = _restored(reader, len(values))
    elif kind == _SPARSE:
        mask = np.frombuffer(reader.take(-(-len(values) // 8)), np.uint8)
        chosen = np.unpackbits(mask, bitorder="little")[: len(values)].astype(bool)
        values[chosen] = _restored(reader, int(chosen.sum()))
    else:
        raise RefusalError(f"a layer of the update is of kind {kind}; allowed are 0 to 2")


def _restored(reader: _Reader, n: int) -> Vector:
    scales = reader.floats(-(-n // _BLOCK))
    steps = np.frombuffer(reader.take(n), np.int8).astype(np.float32)
    with np.errstate(over="ignore"):
        values = steps * np.repeat(scales, _BLOCK)[:n]
    if not np.isfinite(values).all():
        raise RefusalError("the update holds values beyond single precision")
    return np.asarray(values, np.float32)


class Admitted(NamedTuple):
    """An update that was let in, and by how much it was shortened (1: not)."""

    update: Update
    share: float


@dataclass
class Guard:
    """Lets updates in, or says why not.

    Attributes
    ----------
    layout : Layout
    agreement : bytes
        Digest of what the fleet agrees on.
    keys : mapping of str to callable
        Node -> what verifies (bytes, signature) by its key.
    clip : bool
        Whether updates much longer than usual are shortened.
    """

    layout: Layout
    agreement: bytes
    keys: Mapping[str, Verify]
    clip: bool = True
    _taken: set[str] = field(default_factory=set)
    _round: int = -1
    _norms: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def norms(self) -> list[float]:
        """Lengths of the last updates, from which the usual one follows."""
        return list(self._norms)

    def remember(self, norms: Sequence[float]) -> None:
        """Go on with lengths that `norms` gave."""
        self._norms.extend(norms)

    def admit(self, content: bytes, round_: int) -> Admitted:
        """Return the update in a message, for a round.

        Raises
        ------
        RefusalError
            Whatever `unpack` refuses; a node nobody knows, another fleet's, a round that is over or
            not yet, an update that came before, one without samples.
        """
        node = named_in(content)
        if node not in self.keys:
            raise RefusalError(f"node {node!r} is not a member of this fleet")
        update = unpack(content, self.layout, self.keys[node])
        self._require_current(update, round_)
        if update.n_samples == 0:
            raise RefusalError(f"node {node!r} learnt from no sample")
        self._taken.add(node)
        return self._bounded(update)

    def _require_current(self, update: Update, round_: int) -> None:
        if round_ != self._round:
            self._round, self._taken = round_, set()
        if update.agreement != self.agreement:
            raise RefusalError(
                f"the update is for {update.agreement.hex()[:12]}, this fleet learns "
                f"{self.agreement.hex()[:12]}: other classes, layers or embedder"
            )
        if update.round != round_:
            when = "over" if update.round < round_ else "not yet"
            raise RefusalError(f"the update is of round {update.round}, {when}; this is {round_}")
        if update.node in self._taken:
            raise RefusalError(f"node {update.node!r} has sent its update of round {round_} before")

    def _bounded(self, update: Update) -> Admitted:
        """Shorten what is longer than twice the median of the last ones."""
        norm = float(np.linalg.norm(update.delta.astype(np.float64)))
        usual = median(self._norms) if len(self._norms) >= _FEW else math.inf
        limit = _LONGEST * usual if self.clip else math.inf
        # One that sends long ones again and again must not lift the limit.
        self._norms.append(norm if norm <= limit else usual)
        if norm <= limit:
            return Admitted(update, 1.0)
        share = limit / norm
        delta = (update.delta * share).astype(np.float32)
        shortened = Update(**{**update.__dict__, "delta": delta})
        return Admitted(shortened, share)


def near_ones(deltas: Sequence[Vector]) -> list[Vector]:
    """Return the vectors that are not much farther from their median than the others are.

    Trimming alone leaves a poisoned node's noise in: where its value is the largest, an honest
    smallest goes with it. Of fewer than five nobody can be told apart.
    """
    if len(deltas) < _ENOUGH:
        return list(deltas)
    rows = np.stack(deltas).astype(np.float64)
    far = np.linalg.norm(rows - np.median(rows, axis=0), axis=1)
    is_near = far <= _FARTHEST * np.median(far)
    return [delta for delta, near in zip(deltas, is_near, strict=True) if near]


def trimmed_mean(deltas: Sequence[Vector], share: float) -> Vector:
    """Return the mean of each value without its largest and smallest.

    Parameters
    ----------
    deltas : sequence of ndarray, float32 (size,)
    share : float
        How much is left out at each end, rounded up where three or more are there.

    Notes
    -----
    As long as fewer than that are poisoned, none can move it beyond what honest ones sent: Yin et
    al., "Byzantine-robust distributed learning", 2018.
    """
    sorted_ = np.sort(np.stack(deltas).astype(np.float64), axis=0)
    cut = math.ceil(share * len(deltas)) if len(deltas) > 2 else 0
    cut = min(cut, (len(deltas) - 1) // 2)
    return np.asarray(sorted_[cut : len(deltas) - cut].mean(axis=0), np.float32)
