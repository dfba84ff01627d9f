"""Cut a signal into frames: centre, pad, cut, timestamp, in exact arithmetic.

Whole clips and streams go through the same :class:`Framer`, so their frames agree to the sample. A
hop is an exact fraction of samples; frame ``i`` starts at ``round(i * hop)`` and its timestamp is
``start / sample_rate``, so nothing drifts over days of audio.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def hop_in_samples(hop_size: float, sample_rate: int) -> Fraction:
    """Return a hop given in seconds as an exact number of samples.

    The decimal that the user wrote counts, not its binary neighbour: 0.1 s at 48 kHz is 4800.
    """
    return Fraction(repr(float(hop_size))) * sample_rate


def start_of(index: int, hop: Fraction) -> int:
    """Return the first sample of frame `index`: ``index * hop``, halves rounded up."""
    return (2 * index * hop.numerator + hop.denominator) // (2 * hop.denominator)


def count_frames(n_samples: int, frame_samples: int, hop: Fraction) -> int:
    """Return how many frames cover `n_samples`.

    The tail is padded, so that with hops no longer than frames every sample is seen.

    Source: edgel3 and openl3, ``_get_num_windows`` / ``_pad_audio``.
    """
    beyond = max(0, n_samples - frame_samples)
    return 1 + -(-beyond * hop.denominator // hop.numerator)


def count_before(n_samples: int, hop: Fraction) -> int:
    """Return how many frames, one at least, have a timestamp within `n_samples` of sound."""
    count = max(1, int(n_samples / hop))
    while start_of(count, hop) < n_samples:
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class Frames:
    """A stretch of signal and the frames that lie in it.

    Attributes
    ----------
    signal : ndarray, float32 (n,)
        Samples that cover all frames.
    origin : int
        Position of ``signal[0]`` in the centred signal.
    starts : list of int
        First samples of the frames, counted from the start of the centred signal.
    frame_samples : int
        Length of each.
    """

    signal: NDArray[np.float32]
    origin: int
    starts: list[int]
    frame_samples: int

    @classmethod
    def in_a_row(cls, sounds: NDArray[np.float32]) -> Frames:
        """Return sounds (T, frame_samples) as frames that lie one behind the other."""
        n = sounds.shape[1]
        return cls(sounds.ravel(), 0, list(range(0, sounds.size, n)), n)

    def batches(self, size: int) -> Iterator[Frames]:
        """Yield the frames `size` at a time, each batch with its own stretch of signal."""
        for begin in range(0, len(self.starts), size):
            starts = self.starts[begin : begin + size]
            stretch = slice(starts[0] - self.origin, starts[-1] - self.origin + self.frame_samples)
            yield Frames(self.signal[stretch], starts[0], starts, self.frame_samples)


class Framer:
    """Give the frames that became complete with each stretch of samples.

    Parameters
    ----------
    frame_samples : int
        Length of a frame.
    hop : Fraction
        Step between frames, in samples.
    center : bool
        Put half a frame of zeros before the signal, so that frame 0 is centred on sample 0.
    every : int
        Whoever asks wants only each so many-th frame, the first one among them; the signal then
        ends with the frames that it has at that longer hop.
    """

    def __init__(self, frame_samples: int, hop: Fraction, center: bool, every: int = 1) -> None:
        self.frame_samples = frame_samples
        self.hop = hop
        self.center = center
        self.every = every
        self.reset()

    def reset(self) -> None:
        """Forget the signal and start at sample 0."""
        self._n_zeros = self.frame_samples // 2 if self.center else 0
        self._pending = [np.zeros(self._n_zeros, np.float32)]
        self._origin = 0
        self._n_received = self._n_zeros
        self._next_index = 0

    @property
    def is_empty(self) -> bool:
        """Whether no sample has arrived yet."""
        return self._n_received == self._n_zeros

    def push(self, samples: NDArray[np.float32], last: bool = False) -> Frames:
        """Add samples and return the frames that they complete; `last` pads and ends the signal."""
        self._pending.append(samples)
        self._n_received += len(samples)
        n_frames = self._count_complete(last)
        starts = [start_of(i, self.hop) for i in range(self._next_index, n_frames)]
        if not starts:
            self._forget_unneeded()
            return Frames(np.zeros(0, np.float32), self._origin, [], self.frame_samples)
        signal = self._joined(padded_to=starts[-1] + self.frame_samples)
        frames = Frames(signal, self._origin, starts, self.frame_samples)
        self._next_index = n_frames
        self._drop_before(start_of(n_frames, self.hop))
        return frames

    def _count_complete(self, last: bool) -> int:
        if self.is_empty:
            return 0
        if last:
            return self._count_in_all()
        index = self._next_index
        while start_of(index, self.hop) + self.frame_samples <= self._n_received:
            index += 1
        return index

    def _count_in_all(self) -> int:
        hop = self.hop * self.every
        count = count_frames(self._n_received, self.frame_samples, hop)
        n_sound = self._n_received - self._n_zeros
        # Hops longer than frames would lead out of the sound; shorter ones see it to its end.
        if hop > self.frame_samples:
            count = min(count, count_before(n_sound, hop))
        return (count - 1) * self.every + 1

    def _joined(self, padded_to: int) -> NDArray[np.float32]:
        missing = padded_to - self._n_received
        if missing > 0:
            self._pending.append(np.zeros(missing, np.float32))
            self._n_received = padded_to
        signal = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        self._pending = [signal]
        return signal

    def _forget_unneeded(self) -> None:
        """Drop whole blocks before the next frame: with long hops most sound is in no frame."""
        position = start_of(self._next_index, self.hop)
        while self._pending and self._origin + len(self._pending[0]) <= position:
            self._origin += len(self._pending.pop(0))

    def _drop_before(self, position: int) -> None:
        """Forget samples that no later frame needs; a copy, so that the old buffer can go."""
        n_dropped = min(position, self._n_received) - self._origin
        self._pending = [self._pending[0][n_dropped:].copy()]
        self._origin += n_dropped
