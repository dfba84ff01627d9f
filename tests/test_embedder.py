"""The public door: what goes in, what comes out, and what is refused, with real models."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from listen_embed import Embedder, frontend, get_clip_embedding, get_embedding, registry, store
from listen_embed.embedder import Stream
from listen_embed.errors import (
    AudioFileError,
    ConversionError,
    InputError,
    ListenEmbedError,
    ListenEmbedWarning,
    ModelNotFoundError,
)
from listen_embed.framing import hop_in_samples
from listen_embed.spec import ModelSpec
from listen_embed.upstream.graph import GraphBuilder

from . import oracles
from .program import write_sound
from .test_registry import CARD, write_card
from .web import Web

RATES = [8000, 16000, 22050, 44100, 48000]


def noise(rng: np.random.Generator, seconds: float, sr: int) -> NDArray[np.float32]:
    return (0.1 * rng.standard_normal(max(1, round(seconds * sr)))).astype(np.float32)


@pytest.fixture
def light() -> Embedder:
    return Embedder("logmel/128/16k")


# ---- frames and times ------------------------------------------------------------------------


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize("hop_size", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("center", [True, False])
def test_frames_and_times_are_those_of_upstream(
    sr: int, hop_size: float, center: bool, rng: np.random.Generator
) -> None:
    """Upstream resamples, pads and counts; written again in oracles.py, with resampy's length."""
    published = dataclasses.replace(
        registry.find("logmel/128/16k").front_end, resampler="kaiser_best"
    )
    ours = ModelSpec(model_type="x", emb_dim=128, variant="y", licence="MIT", front_end=published)
    for seconds, channels in ((0.01, 1), (0.7, 2), (1.0, 1), (2.34567, 2)):
        signal = np.tile(noise(rng, seconds, sr)[:, None], (1, channels))
        n_resampled = int(len(signal) * 16000 / sr)
        expected = oracles.upstream_frames(
            np.zeros(n_resampled), 16000, round(hop_size * 16000), center
        )
        stream = Stream(ours, None, sr, hop_in_samples(hop_size, 16000), center)
        embedding, timestamps = stream.push(signal, last=True)
        assert embedding.shape == (len(expected), 128)
        np.testing.assert_allclose(
            timestamps, hop_size * np.arange(len(expected)), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("sr", RATES)
def test_the_embedding_is_the_statistics_of_the_oracles_log_mel(
    sr: int, rng: np.random.Generator, light: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way once more in float64, but for the resampler."""
    # Bands that resampling left 90 dB below the others show the rounding of a float32 transform.
    monkeypatch.setattr(frontend, "fastest_transform", lambda: (np.fft.rfft, np.float64))
    signal = noise(rng, 2.5, sr)
    resampled = soxr.resample(signal, sr, 16000, quality="HQ") if sr != 16000 else signal
    frames = oracles.upstream_frames(resampled.astype(np.float64), 16000, 1600, True)
    pictures = [oracles.log_mel(frame, 16000, 1024, 320, 64) for frame in frames[::4]]
    expected = [np.concatenate([p.mean(axis=1), p.std(axis=1)]) for p in pictures]
    embedding, _ = light.embed(signal, sr)
    assert len(embedding) == len(frames)
    # silence before the clip lies at -100 dB, so deviations reach 40 dB
    np.testing.assert_allclose(embedding[::4], expected, atol=2e-3)


def test_a_sound_is_found_where_it_is(light: Embedder) -> None:
    """Timestamps mean something: the loudest frame is centred on the click."""
    signal = np.full(5 * 16000, 1e-4, np.float32)
    signal[::2] *= -1
    signal[int(2.5 * 16000) - 400 : int(2.5 * 16000) + 400] *= 1000
    embedding, timestamps = light.embed(signal, 16000)
    # of frames that hold the whole click, the middle one is at 2.5 s
    levels = embedding[:, :64].mean(axis=1)
    loud = timestamps[levels > levels.max() - 1]
    assert abs((loud[0] + loud[-1]) / 2 - 2.5) < 0.051


def test_clips_longer_than_a_block_have_no_seams(rng: np.random.Generator, light: Embedder) -> None:
    signal = noise(rng, 21.7, 16000)
    embedding, timestamps = light.embed(signal, 16000)
    assert len(embedding) == len(timestamps)
    for begin in (95, 99, 100, 101, 199, 205):
        start = begin * 1600 - 8000
        expected, _ = Embedder("logmel/128/16k", center=False).embed(
            signal[start : start + 16000], 16000
        )
        np.testing.assert_allclose(embedding[begin], expected[0], atol=1e-5)


# ---- inputs ----------------------------------------------------------------------------------


def test_the_default_model_needs_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    monkeypatch.setenv("LISTEN_EMBED_CACHE", str(tmp_path / "none"))
    embedding, timestamps = get_embedding(noise(rng, 2, 44100), 44100)
    assert embedding.dtype == np.float32
    assert timestamps.dtype == np.float64
    assert embedding.shape == (len(timestamps), registry.find().emb_dim)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_integers_embed_as_the_floats_they_stand_for(
    dtype: Any, rng: np.random.Generator, light: Embedder
) -> None:
    full_scale = -float(np.iinfo(dtype).min)
    integers = np.round(noise(rng, 1.5, 16000) * full_scale).astype(dtype)
    as_floats = integers / full_scale
    expected, _ = light.embed(as_floats, 16000)
    np.testing.assert_allclose(light.embed(integers, 16000)[0], expected, atol=1e-5)
    np.testing.assert_allclose(
        light.embed(as_floats.astype(np.float32), 16000)[0], expected, atol=1e-5
    )


def test_channels_are_averaged(rng: np.random.Generator, light: Embedder) -> None:
    stereo = np.stack([noise(rng, 1.5, 48000), noise(rng, 1.5, 48000)], axis=1)
    expected, _ = light.embed(stereo.mean(axis=1), 48000)
    np.testing.assert_allclose(light.embed(stereo, 48000)[0], expected, atol=1e-5)


def test_lists_of_clips(rng: np.random.Generator, light: Embedder) -> None:
    clips = [noise(rng, 1.2, 16000), noise(rng, 2.0, 16000), noise(rng, 1.0, 48000)]
    rates = [16000, 16000, 48000]
    embeddings, timestamps = get_embedding(clips, rates, "logmel", 128)
    assert [len(e) for e in embeddings] == [len(t) for t in timestamps]
    for clip, sr, embedding in zip(clips, rates, embeddings, strict=True):
        np.testing.assert_array_equal(embedding, light.embed(clip, sr)[0])
    same_rate, _ = get_embedding(clips[:2], 16000, "logmel", 128)
    for one, other in zip(same_rate, embeddings, strict=False):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="3 clips but 2 sample rates"):
        get_embedding(clips, rates[:2], "logmel", 128)


def test_numbers_in_a_list_are_one_clip(light: Embedder) -> None:
    tone = np.sin(np.arange(16000) / 5).tolist()
    embedding, _ = get_embedding(tone, 16000, "logmel", 128)
    np.testing.assert_array_equal(embedding, light.embed(np.array(tone), 16000)[0])


@pytest.mark.parametrize(
    ("given_audio", "sr"),
    [
        ([], 16000),
        (np.zeros(0), 16000),
        (np.zeros((0, 2)), 16000),
        (np.zeros((1, 2, 3)), 16000),
        (np.zeros(100, bool), 16000),
        (np.array([object()]), 16000),
        (np.array([np.nan] * 100), 16000),
        (np.ones(100), 0),
        (np.ones(100), -16000),
        (np.ones(100), "16000"),
    ],
    ids=repr,
)
def test_what_is_no_sound_is_refused(given_audio: Any, sr: Any, light: Embedder) -> None:
    for call in (light.embed, get_embedding):
        with pytest.raises(InputError) as caught:
            call(given_audio, sr)
        assert isinstance(caught.value, ListenEmbedError)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("hop_size", [0, -0.1, "0.1", np.nan])
def test_what_is_no_hop_is_refused(hop_size: Any, light: Embedder) -> None:
    with pytest.raises(InputError, match="hop_size"):
        Embedder("logmel", hop_size=hop_size)
    with pytest.raises(InputError, match="hop_size"):
        light.stream(16000, hop_size=hop_size)


@pytest.mark.parametrize("threads", [0, -1, 1.0, "2", True])
def test_what_is_no_number_of_threads_is_refused(threads: Any) -> None:
    with pytest.raises(InputError, match="threads is"):
        Embedder("logmel", threads=threads)


# ---- silence and short clips -----------------------------------------------------------------


@pytest.mark.parametrize("sr", [16000, 44100])
def test_silence_warns_and_is_finite(sr: int, light: Embedder) -> None:
    with pytest.warns(ListenEmbedWarning, match="silent"):
        embedding, timestamps = light.embed(np.zeros(3 * sr, np.float32), sr)
    assert len(timestamps) == 26
    assert np.isfinite(embedding).all()
    np.testing.assert_array_equal(embedding, embedding[:1].repeat(26, axis=0))


@pytest.mark.parametrize("n", [1, 2, 5, 100, 43999])
@pytest.mark.parametrize("center", [True, False])
def test_a_short_clip_warns_and_is_filled_with_zeros(
    n: int, center: bool, rng: np.random.Generator
) -> None:
    embedder = Embedder("logmel/128/16k", center=center)
    clip = noise(rng, n / 44100, 44100)
    with pytest.warns(ListenEmbedWarning, match=r"less than one frame of 1\.000 s; zeros"):
        embedding, timestamps = embedder.embed(clip, 44100)
    assert len(embedding) >= 1
    assert timestamps[0] == 0
    assert np.isfinite(embedding).all()


@pytest.mark.parametrize("sr", [48000, 768000])
def test_one_sample_of_any_rate_is_one_frame_at_least(sr: int, light: Embedder) -> None:
    """At a lower rate nothing would be left of it; that is a frame of silence, not no frame."""
    with pytest.warns(ListenEmbedWarning):
        assert len(light.embed(np.ones(1), sr)[0]) == 1


def test_warnings_point_at_the_caller(light: Embedder) -> None:
    with pytest.warns(ListenEmbedWarning) as caught:
        light.embed(np.zeros(20000), 16000)
    assert [warning.filename for warning in caught] == [__file__]


def test_sound_gives_no_warning(rng: np.random.Generator, light: Embedder) -> None:
    light.embed(noise(rng, 1.0, 16000), 16000)  # warnings are errors in tests


# ---- files -----------------------------------------------------------------------------------


def test_a_file_is_embedded_as_its_samples(
    tmp_path: Path, rng: np.random.Generator, light: Embedder
) -> None:
    path = tmp_path / "a.wav"
    stereo = np.stack([noise(rng, 23.4, 44100), noise(rng, 23.4, 44100)], axis=1)
    soundfile.write(path, stereo, 44100, subtype="FLOAT")
    expected, times = light.embed(stereo, 44100)
    for source in (path, str(path)):
        embedding, timestamps = light.embed_file(source)
        np.testing.assert_allclose(embedding, expected, atol=1e-5)
        np.testing.assert_array_equal(timestamps, times)
    pieces = list(light.iter_file(path))
    assert len(pieces) > 2
    np.testing.assert_array_equal(np.concatenate([p[0] for p in pieces]), embedding)
    np.testing.assert_array_equal(np.concatenate([p[1] for p in pieces]), timestamps)


def test_files_that_cannot_be_embedded_say_why(tmp_path: Path, light: Embedder) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    for path in (tmp_path, tmp_path / "text.wav", tmp_path / "missing.wav"):
        with pytest.raises(AudioFileError, match=str(path)):
            light.embed_file(path)


def test_a_silent_or_short_file_warns_by_its_name(tmp_path: Path, light: Embedder) -> None:
    path = tmp_path / "quiet.wav"
    soundfile.write(path, np.zeros(8000), 16000)
    with pytest.warns(ListenEmbedWarning) as caught:
        light.embed_file(path)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert all(message.startswith(str(path)) for message in messages)


def test_an_hour_needs_the_memory_of_a_minute(tmp_path: Path) -> None:
    embedder = Embedder("logmel/128/16k", hop_size=20.0)

    def peak(minutes: int) -> int:
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 8000, 1) as file:
            for _ in range(minutes):
                file.write(np.full(60 * 8000, 0.1, np.float32))
        tracemalloc.start()
        try:
            embedder.embed_file(path)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is imported and cached at first use
    assert peak(60) < 1.2 * peak(1) + 100_000


# ---- the object ------------------------------------------------------------------------------


def test_an_embedder_is_reusable_and_deterministic(
    rng: np.random.Generator, light: Embedder
) -> None:
    first, second = noise(rng, 1.3, 44100), noise(rng, 1.1, 16000)
    expected = light.embed(first, 44100)[0]
    light.embed(second, 16000)
    np.testing.assert_array_equal(light.embed(first, 44100)[0], expected)


def test_streams_of_one_embedder_do_not_mix(rng: np.random.Generator, light: Embedder) -> None:
    one, two = noise(rng, 1.5, 16000), noise(rng, 1.5, 16000)
    streams = [light.stream(16000), light.stream(16000)]
    pieces: list[list[NDArray[np.float32]]] = [[], []]
    for begin in range(0, 24000, 3000):
        for stream, kept, signal in zip(streams, pieces, (one, two), strict=True):
            kept.append(stream.push(signal[begin : begin + 3000], begin == 21000)[0])
    for kept, signal in zip(pieces, (one, two), strict=True):
        np.testing.assert_allclose(np.concatenate(kept), light.embed(signal, 16000)[0], atol=1e-5)


def test_what_an_embedder_says_of_itself(light: Embedder) -> None:
    assert repr(light) == "Embedder('logmel/128/16k', hop_size=0.1, center=True)"
    assert light.spec.name == "logmel/128/16k"
    assert light.digest == light.spec.digest()
    assert light.digest != Embedder("logmel/256/48k").digest


def test_features_given_already_are_embedded_too(rng: np.random.Generator, light: Embedder) -> None:
    from listen_embed.framing import Framer
    from listen_embed.frontend import FeatureExtractor

    signal = noise(rng, 3, 16000)
    front_end = light.spec.front_end
    frames = Framer(16000, hop_in_samples(0.1, 16000), True).push(signal, last=True)
    features = FeatureExtractor(front_end)(frames)
    np.testing.assert_allclose(
        light.embed_features(features), light.embed(signal, 16000)[0], atol=1e-5
    )


# ---- clips -----------------------------------------------------------------------------------


def test_a_clip_is_the_mean_of_whole_frames_spread_evenly(
    rng: np.random.Generator, light: Embedder
) -> None:
    signal = noise(rng, 2.6, 16000)
    starts = [0, 12_800, 25_600]  # the last ends with the clip
    frames = [light.at(center=False).embed(signal[s : s + 16_000], 16000)[0][0] for s in starts]
    np.testing.assert_allclose(light.embed_clip(signal, 16000), np.mean(frames, axis=0), atol=1e-4)


def test_a_clip_may_be_heard_in_one_pass(rng: np.random.Generator) -> None:
    embedder = Embedder("sea/64/general")
    embedder.spec = dataclasses.replace(embedder.spec, clip="whole")
    sr = embedder.spec.front_end.sample_rate
    signal = noise(rng, 3.3, sr)
    whole = Embedder("sea/64/general", frame_size=3.3, hop_size=10, center=False)
    (expected,) = whole.embed(signal, sr)[0]
    np.testing.assert_array_equal(embedder.embed_clip(signal, sr), expected)
    # 75 s are three pieces of 25 s
    long = np.resize(signal, 75 * sr)
    pieces = [embedder.embed_clip(part, sr) for part in np.split(long, 3)]
    np.testing.assert_allclose(embedder.embed_clip(long, sr), np.mean(pieces, axis=0), atol=1e-6)


def test_clips_of_a_batch_have_a_row_each(rng: np.random.Generator, light: Embedder) -> None:
    clips = [noise(rng, seconds, 16000) for seconds in (0.4, 1.0, 2.2)]
    with pytest.warns(ListenEmbedWarning, match="less than one frame"):
        rows = light.embed_clip(clips, 16000)
    assert rows.shape == (3, 128)
    np.testing.assert_array_equal(rows[1], light.embed_clip(clips[1], 16000))
    np.testing.assert_array_equal(
        get_clip_embedding(clips[2], 16000, "logmel", 128), light.embed_clip(clips[2], 16000)
    )


def test_other_frame_sizes_are_for_networks_that_take_them(rng: np.random.Generator) -> None:
    sound = noise(rng, 3, 16000)
    longer = Embedder("sea/32/nano", frame_size=2.0, hop_size=0.5, center=False)
    _, timestamps = longer.embed(sound, 16000)
    assert timestamps.tolist() == [0, 0.5, 1]
    assert longer.digest == Embedder("sea/32/nano").digest
    assert get_embedding(sound, 16000, "sea/32/nano", frame_size=2.0)[0].shape[1] == 32
    with pytest.raises(InputError, match="one length only"):
        Embedder("listen/64/workshop", frame_size=2.0)
    with pytest.raises(InputError, match=r"frame_size is 0.*0\.1 to 60"):
        Embedder("sea/32/nano", frame_size=0)


# ---- sharing ---------------------------------------------------------------------------------


def test_threads_share_an_embedder(rng: np.random.Generator) -> None:
    embedder = Embedder("sea/32/nano", hop_size=0.25)
    sounds = [noise(rng, 1.5, 16000) for _ in range(4)]
    expected = [embedder.embed(sound, 16000)[0] for sound in sounds]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda i: (i % 4, embedder.embed(sounds[i % 4], 16000)[0]), range(200))
        for i, embedding in found:
            np.testing.assert_array_equal(embedding, expected[i])


@pytest.mark.parametrize("model", ["logmel", "sea/32/nano"])
def test_an_embedder_pickles(model: str, rng: np.random.Generator) -> None:
    embedder = Embedder(model, hop_size=0.3, center=False, frame_size=1.2)
    copied = pickle.loads(pickle.dumps(embedder))
    assert repr(copied) == repr(embedder)
    assert copied.digest == embedder.digest
    sound = noise(rng, 2, 16000)
    for found, expected in zip(
        copied.embed(sound, 16000), embedder.embed(sound, 16000), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_facade_keeps_models_loaded(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = noise(rng, 1, 16000)
    get_embedding(sound, 16000, "sea/32/nano")

    def refuse(*_: Any) -> bytes:
        raise AssertionError("loaded again")

    monkeypatch.setattr(store, "load", refuse)
    embedding, timestamps = get_embedding(sound, 16000, "sea/32/nano", hop_size=0.5)
    assert timestamps.tolist() == [0, 0.5]
    assert embedding.shape == (2, 32)


def test_a_folder_that_changed_is_loaded_again(tmp_path: Path, rng: np.random.Generator) -> None:
    sound = noise(rng, 1, 16000)
    folder = tmp_path / "model"
    shutil.copytree(registry.find("sea/32/nano").file.parent, folder)  # type: ignore[union-attr]
    before = get_embedding(sound, 16000, folder)[0]
    shutil.rmtree(folder)
    shutil.copytree(registry.find("sea/64/general").file.parent, folder)  # type: ignore[union-attr]
    assert before.shape[1] == 32
    assert get_embedding(sound, 16000, folder)[0].shape[1] == 64


def test_a_hop_beyond_the_sound_gives_one_frame(light: Embedder) -> None:
    for center in (True, False):
        sound = np.full(16_000, 0.1, np.float32)
        timestamps = light.at(hop_size=10, center=center).embed(sound, 16000)[1]
        assert timestamps.tolist() == [0]
    sound = np.full(40_000, 0.1, np.float32)
    assert light.at(hop_size=2).embed(sound, 16000)[1].tolist() == [0, 2]


def test_integers_in_floats_are_noticed(light: Embedder) -> None:
    with pytest.warns(ListenEmbedWarning, match=r"reaches 20000 .* int16"):
        light.embed(np.full(16_000, 20_000.0), 16000)


def test_no_such_model() -> None:
    with pytest.raises(ModelNotFoundError, match=r"sea/64/sonyc-ust.*listen-embed models"):
        get_embedding(np.ones(16000), 16000, "sea", 65)


# ---- model folders ---------------------------------------------------------------------------


def tflite(n_inputs: tuple[int, ...], n_outputs: int) -> bytes:
    graph = GraphBuilder()
    picture = graph.input((1, *n_inputs))
    size = int(np.prod(n_inputs))
    flat = graph.reshape(picture, (1, size))
    weights = np.zeros((n_outputs, size), np.float32)
    weights[:, 0] = 1 + np.arange(n_outputs)
    return graph.finish([graph.fully_connected(flat, weights, np.zeros(n_outputs, np.float32))])


def test_a_model_folder_embeds(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = write_card(tmp_path / "pump")
    (folder / "model.tflite").write_bytes(tflite((64, 47, 1), 12))
    embedder = Embedder(folder)
    embedding, _ = embedder.embed(noise(rng, 2, 16000), 16000)
    assert embedding.shape == (16, 12)
    np.testing.assert_allclose(embedding, embedding[:, :1] * (1 + np.arange(12)), rtol=1e-5)
    assert embedder.digest == embedder.spec.digest((folder / "model.tflite").read_bytes())


@pytest.mark.parametrize("shape", [((64, 46, 1), 12), ((64, 47, 1), 13), ((15600,), 12)])
def test_a_network_that_does_not_fit_its_card_is_refused(
    tmp_path: Path, shape: tuple[tuple[int, ...], int]
) -> None:
    folder = write_card(tmp_path / "pump")
    (folder / "model.tflite").write_bytes(tflite(*shape))
    with pytest.raises(InputError, match="mine/12/pump: the front end gives 3008 values"):
        Embedder(folder)


@pytest.mark.parametrize("content", [b"", b"no network", b"\0\0\0\0TFL3"])
def test_a_folder_with_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Above all an empty one: it must not pass for a model without a network."""
    folder = write_card(tmp_path / "pump", CARD.replace("emb_dim = 12", "emb_dim = 128"))
    (folder / "model.tflite").write_bytes(content)
    with pytest.raises(ConversionError):
        Embedder(folder)


# ---- a network, the genuine one --------------------------------------------------------------


def test_threads_and_batches_change_no_embedding(mirror: Web, rng: np.random.Generator) -> None:
    signal = noise(rng, 4, 8000)
    one = Embedder("sea/64/sonyc-ust", threads=1).embed(signal, 8000)[0]
    two = Embedder("sea/64/sonyc-ust", threads=2).embed(signal, 8000)[0]
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-5 * np.abs(one).max())


def test_edgel3_users_find_their_call(mirror: Web, rng: np.random.Generator) -> None:
    """edgel3.get_embedding(audio, sr, model_type='sea', emb_dim=128, ...)."""
    signal = noise(rng, 1.5, 44100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        emb, ts = get_embedding(
            signal, 44100, model_type="sea", emb_dim=64, variant="sonyc-ust", center=True
        )
    assert emb.shape == (11, 64)
    np.testing.assert_allclose(ts, 0.1 * np.arange(11))


# ---- files -----------------------------------------------------------------------------------


def test_a_whole_file_has_one_vector(tmp_path: Path) -> None:
    embedder = Embedder("logmel")
    path = write_sound(tmp_path / "a.wav", 12.3)
    samples, sr = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(embedder.embed_clip_file(path), embedder.embed_clip(samples, sr))
    short = write_sound(tmp_path / "short.wav", 0.2)
    with pytest.warns(ListenEmbedWarning, match=r"short\.wav lasts 0\.200 s"):
        embedder.embed_clip_file(short)


def test_who_listens_hears_what_is_embedded(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", 12.3, sr=48_000)
    heard: list[tuple[np.ndarray, np.ndarray, bool]] = []
    embedder = Embedder("logmel")
    n_frames = sum(
        len(timestamps)
        for _, timestamps in embedder.iter_file(path, lambda *given: heard.append(given))
    )
    assert n_frames == len(embedder.embed_file(path)[1])
    blocks, resampled, last = zip(*heard, strict=True)
    np.testing.assert_array_equal(np.concatenate(blocks), soundfile.read(path, dtype="float32")[0])
    assert abs(len(np.concatenate(resampled)) - 12.3 * 16_000) <= 1
    assert last == (False, False, True)
