"""Framing: upstream's frames, exact time, and blocks of any size give what the whole clip gives."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from listen_embed.framing import Framer, Frames, count_frames, hop_in_samples, start_of

from . import oracles

RATES = (8000, 16000, 32000, 48000)


def cut(frames: Frames) -> list[NDArray[np.float32]]:
    begins = [start - frames.origin for start in frames.starts]
    assert all(begin >= 0 for begin in begins)
    return [frames.signal[begin : begin + frames.frame_samples] for begin in begins]


def numbered(n: int) -> NDArray[np.float32]:
    """Samples 1, 2, 3, ...: every one is told from every other, and from padding."""
    return np.arange(1, n + 1, dtype=np.float32)


# ---- against upstream's formula --------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("hop_size", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("seconds", [0.0001, 0.25, 0.5, 1.0, 1.0001, 1.5, 3.14159])
def test_frames_and_times_are_those_of_upstream(
    rate: int, hop_size: float, center: bool, seconds: float
) -> None:
    signal = numbered(max(1, int(seconds * rate)))
    hop = round(hop_size * rate)
    expected = oracles.upstream_frames(signal.astype(np.float64), rate, hop, center)
    frames = Framer(rate, hop_in_samples(hop_size, rate), center).push(signal, last=True)
    assert len(frames.starts) == len(expected)
    np.testing.assert_array_equal(cut(frames), expected)
    times = np.asarray(frames.starts) / rate
    np.testing.assert_allclose(times, np.arange(len(expected)) * hop_size, rtol=0, atol=1e-12)


def test_no_samples_give_no_frames() -> None:
    for center in (True, False):
        assert Framer(100, Fraction(10), center).push(numbered(0), last=True).starts == []


# ---- exact time ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hop_size", "rate", "samples"),
    [
        (0.1, 48000, Fraction(4800)),
        (0.3, 16000, Fraction(4800)),
        (0.1, 44100, Fraction(4410)),
        (0.01, 22050, Fraction(441, 2)),
        (1 / 3, 48000, Fraction(repr(1 / 3)) * 48000),
        (1e-3, 1000, Fraction(1)),
    ],
)
def test_the_hop_is_the_decimal_as_written(hop_size: float, rate: int, samples: Fraction) -> None:
    assert hop_in_samples(hop_size, rate) == samples


@given(
    hop_ms=st.integers(1, 3_600_000),
    rate=st.sampled_from([1000, 8000, 11025, 16000, 22050, 44100, 48000, 96000]),
    index=st.integers(0, 10**9),
)
def test_time_does_not_drift(hop_ms: int, rate: int, index: int) -> None:
    """However late (a billion millisecond hops are eleven days): within half a sample."""
    hop = hop_in_samples(hop_ms / 1000, rate)
    exact = Fraction(index * hop_ms, 1000)
    error = Fraction(start_of(index, hop), rate) - exact
    assert abs(error) <= Fraction(1, 2 * rate)
    assert start_of(index, hop) < start_of(index + 1, hop)


@given(
    n=st.integers(0, 5000),
    frame=st.integers(1, 800),
    numerator=st.integers(1, 3000),
    denominator=st.integers(1, 7),
)
def test_the_last_frame_reaches_the_end_and_is_needed(
    n: int, frame: int, numerator: int, denominator: int
) -> None:
    hop = Fraction(numerator, denominator)
    if hop < 1:
        hop = Fraction(1)
    count = count_frames(n, frame, hop)
    # in exact positions: the count says how many hops it takes until a frame ends at n or later
    assert (count - 1) * hop + frame >= n
    assert count == 1 or (count - 2) * hop + frame < n


# ---- blocks ----------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(0, 700),
    frame=st.integers(1, 200),
    hop_numerator=st.integers(1, 400),
    hop_denominator=st.integers(1, 5),
    center=st.booleans(),
    sizes=st.lists(st.integers(0, 150), min_size=1, max_size=12),
)
def test_blocks_give_what_the_whole_gives(
    n: int,
    frame: int,
    hop_numerator: int,
    hop_denominator: int,
    center: bool,
    sizes: list[int],
) -> None:
    hop = max(Fraction(1), Fraction(hop_numerator, hop_denominator))
    signal = numbered(n)
    whole = Framer(frame, hop, center).push(signal, last=True)

    framer = Framer(frame, hop, center)
    starts: list[int] = []
    pieces: list[NDArray[np.float32]] = []
    position = 0
    while position < n:
        size = sizes[position % len(sizes)] or 1
        part = framer.push(signal[position : position + size])
        # a frame comes as soon as its last sample is there, and not before
        n_received = min(n, position + size) + (frame // 2 if center else 0)
        assert all(start + frame <= n_received for start in part.starts)
        starts += part.starts
        pieces += cut(part)
        following = start_of(len(starts), hop)
        assert following + frame > n_received
        position += size
    part = framer.push(numbered(0), last=True)
    starts += part.starts
    pieces += cut(part)

    assert starts == whole.starts
    np.testing.assert_array_equal(pieces, cut(whole))


@given(size=st.integers(1, 9), frame=st.integers(1, 50), hop=st.integers(1, 90))
def test_batches_hold_the_same_frames(size: int, frame: int, hop: int) -> None:
    whole = Framer(frame, Fraction(hop), False).push(numbered(500), last=True)
    batches = list(whole.batches(size))
    assert [start for batch in batches for start in batch.starts] == whole.starts
    assert all(len(batch.starts) <= size for batch in batches)
    np.testing.assert_array_equal([f for b in batches for f in cut(b)], cut(whole))
    for batch in batches:
        assert len(batch.signal) == batch.starts[-1] - batch.starts[0] + frame


def test_reset_starts_anew() -> None:
    framer = Framer(100, Fraction(30), True)
    first = cut(framer.push(numbered(333), last=True))
    framer.reset()
    np.testing.assert_array_equal(cut(framer.push(numbered(333), last=True)), first)


# ---- a day -----------------------------------------------------------------------------------


@pytest.mark.parametrize("hop_size", [0.7, 61.3])
def test_a_day_of_sound_needs_the_memory_of_a_minute(hop_size: float) -> None:
    rate, frame = 1000, 1000
    block = np.ones(60 * rate, np.float32)
    hop = hop_in_samples(hop_size, rate)
    framer = Framer(frame, hop, True)
    count = 0
    tracemalloc.start()
    try:
        for _ in range(24 * 60):
            frames = framer.push(block)
            assert frames.starts == [start_of(count + i, hop) for i in range(len(frames.starts))]
            count += len(frames.starts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 1 + math.floor((24 * 3600 - 0.5) / hop_size)
    last = Fraction(start_of(count - 1, hop), rate)
    assert abs(last - (count - 1) * Fraction(repr(hop_size))) <= Fraction(1, 2 * rate)
    assert peak < 4 * block.nbytes


def test_long_hops_keep_no_sound_that_no_frame_needs() -> None:
    framer = Framer(1000, Fraction(10_000_000), False)
    block = np.ones(1000, np.float32)
    framer.push(block)
    tracemalloc.start()
    try:
        for _ in range(5000):
            framer.push(block.copy())
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
