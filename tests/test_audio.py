"""Audio: what comes in becomes mono float32 at the right rate, or a clear error."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
import resampy
import soundfile
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from listen_embed import audio, polyphase
from listen_embed.errors import AudioFileError, InputError
from listen_embed.spec import Resampler

RATES = [
    (8000, 48000),
    (48000, 8000),
    (44100, 16000),
    (22050, 8000),
    (44100, 48000),
    (11025, 32000),
    (96000, 16000),
    (44101, 48000),
]
RESAMPLERS: list[Resampler] = ["soxr", "kaiser_best"]


# ---- arrays ----------------------------------------------------------------------------------


def test_floats_stay_what_they_are(rng: np.random.Generator) -> None:
    signal = rng.standard_normal(1000)
    for dtype in (np.float32, np.float64, np.longdouble, ">f4"):
        mono = audio.to_mono(signal.astype(dtype))
        assert mono.dtype == np.float32
        np.testing.assert_array_equal(mono, signal.astype(np.float32))
    np.testing.assert_allclose(audio.to_mono(signal.astype(np.float16)), signal, atol=2e-3)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, ">i2", "<i4"])
def test_integers_are_scaled_by_full_scale(dtype: Any, rng: np.random.Generator) -> None:
    limits = np.iinfo(dtype)
    signal = rng.integers(limits.min, limits.max, (500, 2), dtype=np.int64).astype(dtype)
    signal[0] = limits.min
    expected = signal.astype(np.float64) / -float(limits.min)
    mono = audio.to_mono(signal)
    assert mono[0] == -1
    np.testing.assert_allclose(mono, expected.mean(axis=1), atol=1e-7)
    np.testing.assert_allclose(audio.to_mono(signal[:, 0]), expected[:, 0], atol=1e-7)


def test_channels_are_averaged(rng: np.random.Generator) -> None:
    signal = rng.standard_normal((300, 5))
    np.testing.assert_allclose(audio.to_mono(signal), signal.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(audio.to_mono(signal[:, :1]), signal[:, 0].astype(np.float32))
    assert audio.to_mono(np.zeros((1, 64))).shape == (1,)  # one sample of 64 channels


def test_a_layout_decides_what_the_shape_leaves_open(rng: np.random.Generator) -> None:
    signal = rng.standard_normal((2, 48_000)).astype(np.float32)
    np.testing.assert_allclose(audio.to_mono(signal, "channels-first"), signal.mean(axis=0))
    assert audio.to_mono(signal, "channels-last").shape == (2,)
    np.testing.assert_array_equal(audio.to_mono(signal[:1]), signal[0])  # torchaudio's mono
    with pytest.raises(InputError, match=r"layout is 'rows'.*channels-last"):
        audio.to_clips(signal, "rows")  # type: ignore[arg-type]


def test_eight_bits_are_centred_on_128() -> None:
    given = np.array([0, 128, 255], np.uint8)
    np.testing.assert_allclose(audio.to_mono(given), [-1, 0, 127 / 128])


def test_torch_tensors_are_arrays(rng: np.random.Generator) -> None:
    signal = rng.standard_normal((1, 9000)).astype(np.float32)
    tensor = torch.from_numpy(signal).requires_grad_()
    np.testing.assert_array_equal(audio.to_mono(tensor), signal[0])
    assert audio.to_clips(tensor) is None


def test_batches_are_told_from_clips(rng: np.random.Generator) -> None:
    clips = [rng.standard_normal(n).astype(np.float32) for n in (5, 9)]
    columns: list[Any] = [
        clips,
        tuple(clips),
        [torch.from_numpy(clip) for clip in clips],
        pandas.Series(clips),
        pyarrow.array(clips),
        pyarrow.chunked_array([[clips[0]], [clips[1]]]),
    ]
    for column in columns:
        found = audio.to_clips(column)
        assert found is not None
        for clip, wanted in zip(found, clips, strict=True):
            np.testing.assert_array_equal(audio.to_mono(clip), wanted)
    for numbers in ([0.5, 1.0], pandas.Series([0.5, 1.0]), pyarrow.array([0.5, 1.0])):
        assert audio.to_clips(numbers) is None
        np.testing.assert_array_equal(audio.to_mono(numbers), [0.5, 1.0])
    assert len(audio.to_clips(np.zeros((3, 8)), "batch") or []) == 3
    with pytest.raises(InputError, match="a batch is"):
        audio.to_clips(np.zeros(8), "batch")


def test_the_callers_array_is_left_alone() -> None:
    for signal in (np.full(9, 1000, np.int16), np.full((9, 2), 0.5, np.float32)):
        before = signal.copy()
        signal.flags.writeable = False
        audio.to_mono(signal)
        np.testing.assert_array_equal(signal, before)


def test_lists_and_views_are_arrays_too() -> None:
    np.testing.assert_allclose(audio.to_mono([0.25, -0.5]), [0.25, -0.5])
    np.testing.assert_allclose(audio.to_mono([[0.5, 0.0], [0.0, 0.5]]), [0.25, 0.25])
    np.testing.assert_array_equal(audio.to_mono(np.arange(10.0)[::-2]), np.arange(10.0)[::-2])


def test_an_empty_block_is_an_empty_block() -> None:
    assert audio.to_mono(np.zeros(0)).shape == (0,)
    assert audio.to_mono(np.zeros((0, 2), np.int16)).shape == (0,)


@pytest.mark.parametrize(
    ("given_audio", "said"),
    [
        (np.zeros(4, bool), "dtype bool"),
        (np.array([None, 1.0]), "dtype object"),
        (np.zeros(4, complex), "dtype complex128"),
        (np.zeros(4, np.int64), "dtype int64"),
        ("a.wav", "embed_file"),
        (None, "dtype object"),
        (np.float32(0), r"shape \(\)"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.zeros((2, 48000)), "2 clips of 48000 samples, or one clip of 2 channels"),
        (np.zeros((5, 0)), r"shape \(5, 0\)"),
        ([[0.1, 0.2], [0.3]], "inhomogeneous"),
        (np.array([0, 0, np.nan]), r"NaN, infinity .* sample 2"),
        (np.array([[0, 0], [0, -np.inf]], np.float32), r"NaN, infinity .* sample 1"),
        (np.array([1e300]), "NaN, infinity or values beyond 1e"),
        (np.array([1e13], np.float32), "values beyond 1e"),
        (np.full((2, 2), 3e38, np.float32), "values beyond 1e"),
    ],
)
def test_what_is_no_audio_is_refused(given_audio: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        audio.to_mono(given_audio)
    assert "allowed are" in str(caught.value) or 'layout="channels-first"' in str(caught.value)


@pytest.mark.parametrize("sr", [1000, 44100, 768000, 16000.0, np.int32(8000), np.float32(8000)])
def test_rates(sr: Any) -> None:
    checked = audio.check_rate(sr)
    assert type(checked) is int
    assert checked == sr


@pytest.mark.parametrize(
    "sr",
    [0, -8000, 999, 768001, "48000", True, None, 44100.5, np.nan, np.inf, 10**400, 1j, [8000]],
)
def test_what_is_no_rate_is_refused(sr: Any) -> None:
    with pytest.raises(InputError, match=r"sr is .*from 1000 to 768000") as caught:
        audio.check_rate(sr)
    assert repr(sr)[:20] in str(caught.value)


@pytest.mark.parametrize("hop", [0.001, 0.1, 1, 3600, np.float64(0.5), np.int8(2)])
def test_hops(hop: Any) -> None:
    checked = audio.check_hop(hop)
    assert type(checked) is float
    assert checked == hop


@pytest.mark.parametrize(
    "hop", [0, -0.1, 0.0009, 3601, "0.1", True, None, np.nan, np.inf, -np.inf, 1j, [0.1], 10**400]
)
def test_what_is_no_hop_is_refused(hop: Any) -> None:
    with pytest.raises(InputError, match=r"hop_size is .*from 0\.001 to 3600"):
        audio.check_hop(hop)


# ---- resampling ------------------------------------------------------------------------------


def push_all(
    converter: audio.RateConverter, signal: NDArray[np.float32], size: int
) -> NDArray[np.float32]:
    blocks = [converter.push(signal[i : i + size]) for i in range(0, len(signal), size)]
    return np.concatenate([*blocks, converter.push(np.zeros(0, np.float32), last=True)])


@pytest.mark.parametrize(("sr_in", "sr_out"), RATES)
@pytest.mark.parametrize("size", [17, 160, 1001, 4800])
def test_soxr_in_blocks_is_soxr_at_once(
    sr_in: int, sr_out: int, size: int, rng: np.random.Generator
) -> None:
    signal = rng.standard_normal(sr_in // 2 + 7).astype(np.float32)
    at_once = soxr.resample(signal, sr_in, sr_out, quality="HQ")
    in_blocks = push_all(audio.rate_converter(sr_in, sr_out, "soxr"), signal, size)
    np.testing.assert_array_equal(in_blocks, at_once)


def test_the_filter_is_resampys_table() -> None:
    stored, entries, _ = resampy.filters.load_filter("kaiser_best")
    computed, per_crossing = polyphase._table()
    assert per_crossing == entries
    np.testing.assert_allclose(computed, stored, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("sr_in", "sr_out"), RATES)
@pytest.mark.parametrize("size", [500, 4800])
def test_kaiser_best_in_blocks_is_resampy_at_once(
    sr_in: int, sr_out: int, size: int, rng: np.random.Generator
) -> None:
    signal = rng.standard_normal(sr_in // 5 + 7).astype(np.float32)
    at_once = resampy.resample(signal.astype(np.float64), sr_in, sr_out, filter="kaiser_best")
    in_blocks = push_all(audio.rate_converter(sr_in, sr_out, "kaiser_best"), signal, size)
    assert in_blocks.dtype == np.float32
    assert len(in_blocks) == len(at_once) == len(signal) * sr_out // sr_in
    np.testing.assert_allclose(in_blocks, at_once, atol=1e-6)


@pytest.mark.parametrize("size", [1, 17])
def test_kaiser_best_in_tiny_blocks(size: int, rng: np.random.Generator) -> None:
    signal = rng.standard_normal(300).astype(np.float32)
    at_once = resampy.resample(signal.astype(np.float64), 48000, 8000, filter="kaiser_best")
    in_blocks = push_all(audio.rate_converter(48000, 8000, "kaiser_best"), signal, size)
    np.testing.assert_allclose(in_blocks, at_once, atol=1e-6)


@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize(("sr_in", "sr_out"), [*RATES, (16000, 16000)])
def test_a_sine_stays_that_sine(resampler: Resampler, sr_in: int, sr_out: int) -> None:
    seconds, hz = 0.5, 440.0
    signal = np.sin(2 * np.pi * hz * np.arange(int(seconds * sr_in)) / sr_in).astype(np.float32)
    resampled = push_all(audio.rate_converter(sr_in, sr_out, resampler), signal, 4800)
    assert abs(len(resampled) - len(signal) * sr_out / sr_in) <= 1
    expected = np.sin(2 * np.pi * hz * np.arange(len(resampled)) / sr_out)
    inner = slice(len(expected) // 4, -len(expected) // 4)
    # resampy cuts the step through its table to a whole number: 1365 for 1365.3 at a sixth
    tolerance = 2e-3 if resampler == "kaiser_best" else 1e-5
    np.testing.assert_allclose(resampled[inner], expected[inner], atol=tolerance)


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_what_the_new_rate_cannot_hold_is_gone(resampler: Resampler) -> None:
    signal = np.sin(2 * np.pi * 6000 * np.arange(24000) / 48000).astype(np.float32)
    resampled = push_all(audio.rate_converter(48000, 8000, resampler), signal, 4800)
    assert np.abs(resampled[500:-500]).max() < 1e-4


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_equal_rates_pass_through(resampler: Resampler, rng: np.random.Generator) -> None:
    converter = audio.rate_converter(16000, 16000, resampler)
    block = rng.standard_normal(100).astype(np.float32)
    assert converter.latency == 0
    np.testing.assert_array_equal(converter.push(block), block)


@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize(("sr_in", "sr_out"), [*RATES[:-1], (1000, 48000)])
def test_no_sample_is_held_back_longer_than_the_latency(
    resampler: Resampler, sr_in: int, sr_out: int
) -> None:
    converter = audio.rate_converter(sr_in, sr_out, resampler)
    block = np.zeros(sr_in // 100, np.float32)
    n_out, held_back = 0, []
    for count in range(1, 151):
        n_out += len(converter.push(block))
        held_back.append(count * len(block) / sr_in - n_out / sr_out)
    assert max(held_back) <= converter.latency + 1 / sr_out + 1e-9
    # and the figure is no empty promise: blocks of a hundredth of a second add at most that
    assert converter.latency <= 2 * max(held_back) + 0.011


@given(
    n=st.integers(0, 400),
    rates=st.sampled_from([(8000, 48000), (48000, 8000), (44100, 16000), (768000, 8000)]),
    resampler=st.sampled_from(RESAMPLERS),
)
def test_short_clips_have_their_length(
    n: int, rates: tuple[int, int], resampler: Resampler
) -> None:
    converter = audio.rate_converter(*rates, resampler)
    resampled = push_all(converter, np.ones(n, np.float32), 100)
    assert abs(len(resampled) - n * rates[1] / rates[0]) <= 1


# ---- files -----------------------------------------------------------------------------------


@pytest.fixture
def noise(rng: np.random.Generator) -> NDArray[np.float32]:
    return (0.1 * rng.standard_normal((50_000, 2))).astype(np.float32)


def read_all(path: Path, seconds: float = 10.0) -> tuple[NDArray[np.float32], int]:
    blocks, rates = zip(*audio.read_blocks(path, seconds), strict=True)
    assert len(set(rates)) == 1
    return np.concatenate(blocks), rates[0]


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "FLOAT", 0),
        ("a.flac", "PCM_16", 1e-4),
        ("a.aiff", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 0.02),
        ("a.mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_files_become_mono_blocks(
    tmp_path: Path, noise: NDArray[np.float32], name: str, subtype: str, tolerance: float
) -> None:
    path = tmp_path / name
    if tolerance > 1e-3:  # what a lossy format can keep
        noise = np.cumsum(noise, axis=0) / 100
    soundfile.write(path, noise, 44100, subtype=subtype)
    for seconds in (0.1, 10.0):
        signal, sr = read_all(path, seconds)
        assert sr == 44100
        assert signal.shape == (50_000,)
        np.testing.assert_allclose(signal, noise.mean(axis=1), atol=tolerance + 1e-7)
    assert audio.duration(path) == pytest.approx(50_000 / 44100)
    assert audio.sample_rate(path) == 44100


def test_blocks_have_the_length_asked_for(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    lengths = [len(block) for block, _ in audio.read_blocks(tmp_path / "a.wav", 2.0)]
    assert lengths == [16000, 16000, 16000, 2000]


def test_a_long_file_needs_the_memory_of_a_block(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 48000, 1) as file:
        for _ in range(300):
            file.write(np.full(48000, 0.1, np.float32))
    tracemalloc.start()
    try:
        for _ in audio.read_blocks(tmp_path / "long.wav", 1.0):
            pass
        assert tracemalloc.get_traced_memory()[1] < 8 * 48000 * 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.02])
@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "FLOAT"),
        ("a.flac", "PCM_16"),
        ("a.aiff", "PCM_16"),
        ("a.au", "PCM_16"),
        ("a.rf64", "PCM_16"),
        ("a.w64", "PCM_16"),
    ],
)
def test_a_file_that_was_cut_off_is_refused(
    tmp_path: Path, noise: NDArray[np.float32], name: str, subtype: str, kept: float
) -> None:
    path = tmp_path / name
    soundfile.write(path, noise, 44100, subtype=subtype)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioFileError, match=r"cut off|damaged|not readable"):
        read_all(path)


def test_half_an_mp3_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.full(200_000, 0.1, np.float32), 44100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioFileError, match=r"cut off, \d+ of 200000 samples"):
        read_all(path)


@pytest.mark.parametrize("announced", [0xFFFF_FFFF, 0x7FFF_F000])
def test_a_wav_from_a_pipe_is_read_to_its_end(
    tmp_path: Path, noise: NDArray[np.float32], announced: int
) -> None:
    """ffmpeg and sox write such sizes to a pipe, for they cannot come back and correct them."""
    path = tmp_path / "a.wav"
    soundfile.write(path, noise, 44100, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 4, announced)
    struct.pack_into("<I", content, content.index(b"data") + 4, announced)
    path.write_bytes(content)
    assert len(read_all(path)[0]) == 50_000


def test_a_wav_with_a_chunk_behind_the_sound_is_read(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise, 44100, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + b"junk" + bytes(5000))
    assert len(read_all(path)[0]) == 50_000


def test_bytes_that_are_no_audio_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    contents = {
        "empty.wav": b"",
        "text.wav": b"this is no sound" * 100,
        "noise.flac": rng.bytes(10_000),
        "head.wav": b"RIFF\xff\xff\xff\x7fWAVEfmt ",
        "ogg.ogg": b"OggS" + rng.bytes(1000),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioFileError, match=rf"{name}: not readable as audio .*WAV, FLAC"):
            read_all(tmp_path / name)


def test_a_damaged_flac_is_refused(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise, 44100)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match="damaged after sample"):
        read_all(path)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 44100)
    with pytest.raises(AudioFileError, match="holds no samples"):
        read_all(tmp_path / "a.wav")


def test_a_file_with_nan_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0, np.nan]), 44100, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN"):
        read_all(tmp_path / "a.wav")


def test_a_file_with_an_impossible_rate_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 500)
    with pytest.raises(InputError, match="sr is 500"):
        read_all(tmp_path / "a.wav")


def test_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="is a folder; give a sound file"):
        read_all(tmp_path)
    with pytest.raises(AudioFileError, match=r"no\.wav: does not exist"):
        read_all(tmp_path / "no.wav")
    with pytest.raises(AudioFileError, match="does not exist"):
        audio.duration(tmp_path / "no.wav")
    with pytest.raises(AudioFileError, match="does not exist"):
        audio.sample_rate(tmp_path / "no.wav")


def test_a_file_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), 8000)
    # root may read everything, so the operating system's answer is given for it
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    with pytest.raises(AudioFileError, match="no permission to read it"):
        read_all(path)
