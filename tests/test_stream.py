"""Stream equals file: blocks of any size give the frames, times and vectors of the whole clip."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from listen_embed.embedder import Embedded, Embedder, Stream
from listen_embed.errors import InputError
from listen_embed.framing import start_of
from listen_embed.spec import FrontEnd, ModelSpec

from .web import Web

# Statistics of 24 log-mel bands at 1 kHz: as light as a model can be.
LIGHT = ModelSpec(
    model_type="light",
    emb_dim=48,
    variant="test",
    licence="MIT",
    front_end=FrontEnd(
        sample_rate=1000,
        frame_samples=1000,
        n_fft=128,
        window_samples=128,
        hop_samples=50,
        n_mels=24,
        f_max=500.0,
        log_floor=1e-10,
    ),
)


def noise(rng: np.random.Generator, seconds: float, sr: int) -> NDArray[np.float32]:
    signal = 0.1 * rng.standard_normal(round(seconds * sr))
    return signal.astype(np.float32)


def joined(pieces: list[Embedded]) -> Embedded:
    embeddings, timestamps = zip(*pieces, strict=True)
    return np.concatenate(embeddings), np.concatenate(timestamps)


def push_all(stream: Stream, signal: NDArray[Any], size: int, ends_with_sound: bool) -> Embedded:
    blocks = [signal[begin : begin + size] for begin in range(0, len(signal), size)]
    if not ends_with_sound:
        blocks.append(signal[:0])
    return joined([stream.push(block, i == len(blocks) - 1) for i, block in enumerate(blocks)])


def assert_equal(found: Embedded, expected: Embedded, tolerance: float) -> None:
    assert found[0].dtype == np.float32
    assert found[1].dtype == np.float64
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=tolerance)


# ---- blocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 17])
@pytest.mark.parametrize("sr", [1000, 8000])
def test_tiny_blocks(size: int, sr: int, rng: np.random.Generator) -> None:
    signal = noise(rng, 1.7, sr)
    whole = Stream(LIGHT, None, sr, Fraction(100), True).push(signal, last=True)
    stream = Stream(LIGHT, None, sr, Fraction(100), True)
    assert_equal(push_all(stream, signal, size, True), whole, 1e-5)


@pytest.mark.parametrize("model", ["logmel/128/16k", "logmel/256/48k"])
@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("size", [160, 4800, 48000])
def test_blocks_of_any_size_at_any_rate(
    model: str, sr: int, size: int, rng: np.random.Generator
) -> None:
    """soxr in blocks is soxr at once to the last bit, so the tolerance is that of equal rates."""
    embedder = Embedder(model, hop_size=0.1)
    signal = noise(rng, 2.3, sr)
    whole = embedder.embed(signal, sr)
    assert_equal(push_all(embedder.stream(sr), signal, size, False), whole, 1e-5)


@pytest.mark.parametrize("hop_size", [0.03, 0.1, 0.77, 1.5])
@pytest.mark.parametrize("center", [True, False])
def test_hops_and_centring(hop_size: float, center: bool, rng: np.random.Generator) -> None:
    embedder = Embedder("logmel/128/16k", hop_size=hop_size, center=center)
    signal = noise(rng, 4.1, 16000)
    whole = embedder.embed(signal, 16000)
    for ends_with_sound in (True, False):
        found = push_all(embedder.stream(16000), signal, 1777, ends_with_sound)
        assert_equal(found, whole, 1e-5)
    other = Embedder("logmel/128/16k").stream(16000, hop_size=hop_size, center=center)
    assert_equal(push_all(other, signal, 4000, True), whole, 1e-5)


@pytest.mark.parametrize(
    ("model", "sr", "tolerance"),
    [
        # equal rates: shared columns are the same bits, so the network sees the same picture
        ("sea/64/sonyc-ust", 8000, 1e-5),
        ("teacher/384/mn04", 32000, 1e-5),
        ("teacher/1024/yamnet", 16000, 1e-5),
        ("listen/64/cnc", 48000, 1e-5),
        # resampy's columns depend on where a block begins by one float32 rounding, 1e-7 of the
        # sound; 80 dB of dynamic range and a network make at most 1e-4 of the largest value of it
        ("sea/64/sonyc-ust", 44100, 5e-3),
        # soxr's do not
        ("teacher/384/mn04", 44100, 1e-5),
        ("teacher/1024/yamnet", 48000, 1e-5),
    ],
)
def test_published_models_stream(
    mirror: Web, model: str, sr: int, tolerance: float, rng: np.random.Generator
) -> None:
    embedder = Embedder(model, hop_size=0.25)
    signal = noise(rng, 2.1, sr)
    whole = embedder.embed(signal, sr)
    assert_equal(push_all(embedder.stream(sr), signal, 4800, False), whole, tolerance)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_integers_and_channels(dtype: Any, rng: np.random.Generator) -> None:
    embedder = Embedder("logmel/128/16k")
    stereo = np.stack([noise(rng, 1.5, 44100), noise(rng, 1.5, 44100)], axis=1)
    integers = (stereo * -float(np.iinfo(dtype).min)).astype(dtype)
    whole = embedder.embed(integers, 44100)
    assert_equal(push_all(embedder.stream(44100), integers, 4410, True), whole, 1e-5)


# ---- a model that remembers -------------------------------------------------------------------

STREAM = "sea/64/stream"


@pytest.mark.parametrize("size", [1, 317, 3200, 50_000])
@pytest.mark.parametrize("sr", [32000, 44100])
def test_a_model_that_streams_gives_the_same_bits(
    size: int, sr: int, rng: np.random.Generator
) -> None:
    embedder = Embedder(STREAM, threads=1)
    signal = noise(rng, 0.2 if size == 1 else 1.7, sr)
    whole = embedder.embed(signal, sr)
    assert_equal(push_all(embedder.stream(sr), signal, size, False), whole, 0)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("seconds", [0.2, 0.3, 1.005, 2.0])
def test_longer_hops_are_some_of_its_steps(
    seconds: float, center: bool, rng: np.random.Generator
) -> None:
    signal = noise(rng, seconds, 32000)
    every, times = Embedder(STREAM, center=center, threads=1).embed(signal, 32000)
    some, at = Embedder(STREAM, center=center, hop_size=0.5, threads=1).embed(signal, 32000)
    known = at <= times[-1]
    np.testing.assert_array_equal(some[known], every[::5][: int(known.sum())])
    np.testing.assert_allclose(at, 0.5 * np.arange(len(at)), atol=1e-12)


def test_hops_between_its_steps_are_refused() -> None:
    with pytest.raises(InputError, match=r"steps of 0\.1 s, so allowed are multiples"):
        Embedder(STREAM, hop_size=0.25)
    embedder = Embedder(STREAM)
    with pytest.raises(InputError, match=r"hop_size is 0\.05"):
        embedder.stream(16000, hop_size=0.05)
    with pytest.raises(InputError, match=r"hop_size is 0\.05"):
        embedder.at(hop_size=0.05)
    with pytest.raises(InputError, match="one length only"):
        Embedder(STREAM, frame_size=1.0)


def test_streams_of_one_embedder_remember_apart(rng: np.random.Generator) -> None:
    embedder = Embedder(STREAM, threads=1)
    one, two = noise(rng, 1.0, 32000), 3 * noise(rng, 1.0, 32000)
    wanted = embedder.embed(one, 32000)
    first, second = embedder.stream(32000), embedder.stream(32000)
    pieces = []
    for begin in range(0, 32000, 4000):
        pieces.append(first.push(one[begin : begin + 4000]))
        second.push(two[begin : begin + 4000])
    pieces.append(first.push(one[:0], last=True))
    assert_equal(joined(pieces), wanted, 0)
    second.reset()
    assert_equal(push_all(second, one, 8000, True), wanted, 0)


def test_a_clip_is_the_mean_of_its_steps(rng: np.random.Generator) -> None:
    signal = noise(rng, 1.3, 32000)
    embedder = Embedder(STREAM, center=False, threads=1)
    steps, _ = embedder.embed(signal, 32000)
    np.testing.assert_allclose(embedder.embed_clip(signal, 32000), steps.mean(0), atol=1e-6)


@pytest.mark.parametrize("loudness", [0, 1, 30])
def test_a_minute_wipes_out_whatever_came_before(loudness: int, rng: np.random.Generator) -> None:
    """So the same minute and clip give the same at the start of a day as at its end."""
    embedder = Embedder(STREAM, center=False, threads=1)
    clip = 0.3 * np.sin(np.arange(64_000, dtype=np.float32) / 9)
    warm_up, past = noise(rng, 60, 32000), noise(rng, 20, 32000)
    stream = embedder.stream(32000)
    first, _ = stream.push(np.concatenate([warm_up, clip]))
    stream.push(np.float32(loudness) * past)
    again, _ = stream.push(np.concatenate([warm_up, clip]))
    np.testing.assert_allclose(again[-15:], first[-15:], rtol=0, atol=1e-5)


# ---- the object ------------------------------------------------------------------------------


def test_nothing_in_nothing_out(rng: np.random.Generator) -> None:
    stream = Embedder("logmel/128/16k").stream(44100)
    signal = noise(rng, 1.5, 44100)
    for empty in ([], np.zeros(0, np.int16), np.zeros((0, 2))):
        embedding, timestamps = stream.push(empty)
        assert embedding.shape == (0, 128)
        assert embedding.dtype == np.float32
        assert timestamps.shape == (0,)
        assert timestamps.dtype == np.float64
    expected = Embedder("logmel/128/16k").embed(signal, 44100)
    assert_equal(push_all(stream, signal, 4410, False), expected, 1e-5)


def test_a_stream_without_sound_has_no_frames() -> None:
    for sr in (16000, 44100):
        embedding, timestamps = Embedder("logmel").stream(sr).push(np.zeros(0), last=True)
        assert embedding.shape == (0, 128)
        assert timestamps.shape == (0,)


def test_after_the_last_block_comes_an_error_until_reset(rng: np.random.Generator) -> None:
    stream = Embedder("logmel/128/16k").stream(44100)
    signal = noise(rng, 1.4, 44100)
    first = push_all(stream, signal, 4410, True)
    for last in (True, False):
        with pytest.raises(InputError, match=r"has had its last block; call reset\(\)"):
            stream.push(signal, last)
    stream.reset()
    assert_equal(push_all(stream, signal, 17640, True), first, 1e-5)


def test_reset_in_the_middle_forgets_all(rng: np.random.Generator) -> None:
    stream = Embedder("logmel/128/16k", hop_size=0.02).stream(44100)
    one, two = noise(rng, 3.3, 44100), noise(rng, 1.4, 44100)
    push_all(stream, one, 4410, True)
    stream.reset()
    stream.push(one[:100_001])
    stream.reset()
    fresh = Embedder("logmel/128/16k", hop_size=0.02).stream(44100)
    assert_equal(push_all(stream, two, 4410, True), push_all(fresh, two, 4410, True), 0)


def test_reset_after_one_frame_forgets_it(rng: np.random.Generator) -> None:
    """Position 0 comes again, with other sound: columns kept from before must not be taken."""
    stream = Embedder("logmel/128/16k", center=False).stream(16000)
    one, two = noise(rng, 1.0, 16000), noise(rng, 1.0, 16000)
    stream.push(one)
    stream.reset()
    fresh = Embedder("logmel/128/16k", center=False).stream(16000)
    assert_equal(stream.push(two), fresh.push(two), 0)


def test_a_refused_block_leaves_the_stream_as_it_was(rng: np.random.Generator) -> None:
    embedder = Embedder("logmel/128/16k")
    signal = noise(rng, 1.5, 44100)
    stream = embedder.stream(44100)
    pieces = [stream.push(signal[:30_000])]
    for last in (False, True):
        with pytest.raises(InputError):
            stream.push(np.array([0.1, np.nan]), last)
    pieces.append(stream.push(signal[30_000:], last=True))
    assert_equal(joined(pieces), embedder.embed(signal, 44100), 1e-5)


@pytest.mark.parametrize("sr", [0, -1, "16000", None, 44100.5])
def test_what_is_no_rate_is_refused(sr: Any) -> None:
    with pytest.raises(InputError, match="sr is"):
        Embedder("logmel").stream(sr)


# ---- latency ---------------------------------------------------------------------------------


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(
    ("model", "sr"),
    [
        ("logmel/128/16k", 16000),
        ("logmel/128/16k", 44100),
        ("logmel/128/16k", 8000),
        ("logmel/256/48k", 8000),
        ("logmel/256/48k", 44100),
    ],
)
def test_embeddings_come_when_the_latency_says(
    model: str, sr: int, center: bool, rng: np.random.Generator
) -> None:
    stream = Embedder(model, hop_size=0.1, center=center).stream(sr)
    step = sr // 100
    waits = []
    for count in range(250):
        block = noise(rng, 0.01, sr)
        _, timestamps = stream.push(block)
        waits += [(count + 1) * step / sr - timestamp for timestamp in timestamps]
    assert len(waits) > 10
    # the block that completes a frame may bring up to its own length too much
    assert max(waits) <= stream.latency + step / sr + 1e-6
    # and the promise is not padded: the worst wait comes near it
    resampling = stream.latency - (0.5 if center else 1.0)
    assert max(waits) >= stream.latency - resampling - step / sr
    if sr == stream.spec.front_end.sample_rate:
        assert resampling == 0
        assert min(waits) >= stream.latency - 1e-9


# ---- a day -----------------------------------------------------------------------------------


def test_a_day_of_sound_keeps_time_and_memory(rng: np.random.Generator) -> None:
    """A day at 1 kHz, a minute a block, a frame every 10.0007 s."""
    hop = Fraction(100_007, 10)
    stream = Stream(LIGHT, None, 1000, hop, True)
    minute = noise(rng, 60, 1000)
    peaks, times = [], []
    tracemalloc.start()
    try:
        for _ in range(24 * 60):
            tracemalloc.reset_peak()
            times.append(stream.push(minute)[1])
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    timestamps = np.concatenate(times)
    assert len(timestamps) == 1 + math.floor((24 * 3600 - 0.5) / 10.0007)
    exact = np.array([start_of(i, hop) for i in range(len(timestamps))]) / 1000
    np.testing.assert_array_equal(timestamps, exact)
    assert abs(timestamps[-1] - (len(timestamps) - 1) * 10.0007) <= 0.0005 + 1e-9
    assert max(peaks[-60:]) < 1.1 * max(peaks[10:70]) + 8 * len(timestamps) * 8


def test_after_a_day_shared_columns_are_still_right(rng: np.random.Generator) -> None:
    """Frames that overlap, late in a stream: the same vectors as at its start."""
    stream = Stream(LIGHT, None, 1000, Fraction(100), False)
    minute = noise(rng, 60, 1000)
    late = stream.push(np.concatenate([minute, minute]))
    quiet = np.zeros(60_000, np.float32)
    stream = Stream(LIGHT, None, 1000, Fraction(100), False)
    for _ in range(200):
        stream.push(quiet)
    offset = 200 * 60.0
    later = joined([stream.push(minute), stream.push(minute)])
    kept = later[1] >= offset
    n = kept.sum()
    np.testing.assert_allclose(later[1][kept] - offset, late[1][:n], atol=1e-6)
    np.testing.assert_allclose(later[0][kept], late[0][:n], atol=1e-5)
