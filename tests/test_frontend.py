"""Front ends: against plain float64, for sound of every level, and however frames share columns."""

from __future__ import annotations

import dataclasses
import gzip
import io
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray

from listen_embed import frontend, registry
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor, mel_matrix, statistics, window_of
from listen_embed.spec import FrontEnd

from . import oracles

Array = NDArray[np.float32]
MODELS = sorted(oracles.FRONT_ENDS)


def one_frame(signal: NDArray[np.float32]) -> Frames:
    return Frames(signal, 0, [0], len(signal))


def frames_of(signal: NDArray[np.float32], starts: list[int], frame_samples: int) -> Frames:
    """Return frames as a Framer gives them: with the stretch that they cover, and no more."""
    stretch = signal[starts[0] : starts[-1] + frame_samples]
    return Frames(stretch, starts[0], starts, frame_samples)


def front_end_of(model: str) -> FrontEnd:
    return registry.find(model).front_end


def test_every_log_mel_front_end_has_an_oracle() -> None:
    in_use = {spec.front_end for spec in registry.models() if spec.front_end.features == "log-mel"}
    published = {spec.front_end for spec in registry.models() if spec.file is None}
    checked = {front_end_of(model) for model in MODELS}
    assert in_use & published == checked


FOURIER = {"numpy": (np.fft.rfft, np.float64), "scipy": (scipy.fft.rfft, np.float32)}


@pytest.fixture(params=sorted(FOURIER))
def fourier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Transform by numpy in float64, then by scipy in float32."""
    monkeypatch.setattr(frontend, "fastest_transform", lambda: FOURIER[request.param])
    return str(request.param)


def assert_close(
    found: Array, expected: NDArray[np.float64], fourier: str, front_end: FrontEnd, atol: float
) -> None:
    """Compare pictures; a transform in float32 errs by a share of the loudest, wherever it is."""
    rounding = 0.0
    if fourier == "scipy":
        per_db = front_end.scale * (1 if front_end.log == "db" else np.log(10) / 10)
        below_db = (expected.max() - expected) / per_db
        # An amplitude that is off by this share of the loudest band's moves the decibels so far.
        rounding = per_db * 20 * np.log10(1 + 4e-6 * 10 ** (below_db / 20))
    assert (np.abs(found - expected) <= atol + rounding).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("level", [1.0, 1e-3])
def test_noise_gives_the_picture_of_the_oracle(
    model: str, level: float, fourier: str, rng: np.random.Generator
) -> None:
    sr, frame_samples, oracle = oracles.FRONT_ENDS[model]
    front_end = front_end_of(model)
    assert (front_end.sample_rate, front_end.frame_samples) == (sr, frame_samples)
    frame = (level * rng.standard_normal(frame_samples)).astype(np.float32)
    (picture,) = FeatureExtractor(front_end)(one_frame(frame))
    expected = oracle(frame.astype(np.float64))
    assert picture.dtype == np.float32
    assert picture.shape == expected.shape == front_end.input_shape
    # Pictures span 80 dB or about 5 units of a scaled logarithm; float32 resolves that to 1e-5.
    atol = 2e-4 if np.ptp(expected) > 10 else 1e-5
    assert_close(picture, expected, fourier, front_end, atol)


@pytest.mark.parametrize("model", MODELS)
def test_a_loud_band_in_a_quiet_frame_gives_the_picture_of_the_oracle(
    model: str, fourier: str, rng: np.random.Generator
) -> None:
    _, frame_samples, oracle = oracles.FRONT_ENDS[model]
    tone = 0.5 * np.sin(2 * np.pi * 0.11 * np.arange(frame_samples))
    frame = (tone + 1e-2 * rng.standard_normal(frame_samples)).astype(np.float32)
    frame[: frame_samples // 3] *= 0.05  # the frame is not steady, so columns cannot change places
    (picture,) = FeatureExtractor(front_end_of(model))(one_frame(frame))
    expected = oracle(frame.astype(np.float64))
    atol = 2e-3 if np.ptp(expected) > 10 else 1e-4
    assert_close(picture, expected, fourier, front_end_of(model), atol)


@pytest.mark.parametrize("model", MODELS)
def test_silence_is_finite(model: str) -> None:
    front_end = front_end_of(model)
    (picture,) = FeatureExtractor(front_end)(
        one_frame(np.zeros(front_end.frame_samples, np.float32))
    )
    assert np.isfinite(picture).all()
    assert np.ptp(picture) == 0


def test_a_waveform_front_end_hands_over_the_samples(rng: np.random.Generator) -> None:
    front_end = front_end_of("yamnet")
    signal = rng.standard_normal(40_000).astype(np.float32)
    starts = [0, 5, 7680, 24_400]
    cut = FeatureExtractor(front_end)(Frames(signal, 0, starts, 15_600))
    assert cut.shape == (4, 15_600)
    for row, start in zip(cut, starts, strict=True):
        np.testing.assert_array_equal(row, signal[start : start + 15_600])


# ---- filters and windows ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("sea/64/sonyc-ust", oracles.triangles(8000, 1024, 64, 0, 4000, equal_area=True)),
        ("pruned/512/ft-95.45", oracles.triangles(48000, 2048, 256, 0, 24000, equal_area=True)),
        (
            "teacher/512/l3-env-mel128",
            oracles.triangles(
                48000,
                2048,
                128,
                0,
                24000,
                scale=(oracles.slaney, oracles.slaney_inverse),
                equal_area=True,
            ),
        ),
        ("teacher/384/mn04", oracles.kaldi_triangles(32000, 1024, 128, 0, 15000)),
        ("listen/64/cnc", oracles.triangles(48000, 2048, 128, 128, 24000)),
        ("logmel/128/16k", oracles.triangles(16000, 1024, 64, 0, 8000)),
    ],
)
def test_mel_filters_follow_their_formula(model: str, expected: NDArray[np.float64]) -> None:
    matrix = mel_matrix(front_end_of(model))
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.T, expected, atol=1e-6)


def test_mel_filters_are_those_stored_in_the_published_file(shared: Path) -> None:
    path = shared / "weights-upstream/edgel3-sea64/edgel3_sea_ust_audio_emb_64.h5.gz"
    with h5py.File(io.BytesIO(gzip.decompress(path.read_bytes()))) as file:
        stored = file["model_weights/melspectrogram_1/melspectrogram_1/Variable:0"][()]
    np.testing.assert_allclose(mel_matrix(front_end_of("sea/64/sonyc-ust")), stored, atol=1e-6)


def test_windows() -> None:
    periodic = window_of(front_end_of("sea/64/sonyc-ust"))
    np.testing.assert_allclose(periodic, oracles.periodic_hann(1024), atol=1e-7)
    symmetric = window_of(front_end_of("mn04"))
    np.testing.assert_allclose(symmetric, oracles.symmetric_hann(800), atol=1e-7)


# ---- shared columns --------------------------------------------------------------------------


SEQUENCES = {
    "one column apart": [0, 1, 2, 3, 4, 5],
    "ten columns apart": [0, 10, 20, 30],
    "gaps of several lengths": [0, 3, 4, 50, 51],
    "from somewhere on": [7, 8, 17],
    "further than a frame": [0, 400, 401],
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", SEQUENCES.values(), ids=SEQUENCES)
def test_shared_columns_are_those_of_each_frame_alone(
    model: str, steps: list[int], rng: np.random.Generator
) -> None:
    front_end = front_end_of(model)
    hop, frame_samples = front_end.hop_samples, front_end.frame_samples
    starts = [step * hop for step in steps]
    signal = rng.standard_normal(starts[-1] + frame_samples).astype(np.float32)

    alone = [
        FeatureExtractor(front_end)(frames_of(signal, [start], frame_samples)) for start in starts
    ]
    at_once = FeatureExtractor(front_end)(frames_of(signal, starts, frame_samples))
    np.testing.assert_allclose(at_once, np.concatenate(alone), rtol=1e-6, atol=1e-5)

    extractor = FeatureExtractor(front_end)
    one_by_one = [extractor(frames_of(signal, [start], frame_samples)) for start in starts]
    np.testing.assert_allclose(np.concatenate(one_by_one), at_once, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("model", ["sea/64/sonyc-ust", "mn04", "logmel/128/16k"])
def test_hops_that_are_no_whole_columns_change_nothing(
    model: str, rng: np.random.Generator
) -> None:
    front_end = front_end_of(model)
    hop, frame_samples = front_end.hop_samples, front_end.frame_samples
    # aligned, then not, then aligned with the first again: what is kept must not be mistaken
    starts = [0, hop, hop + 17, 2 * hop + 17, 3 * hop, 5 * hop, 5 * hop + 1]
    signal = rng.standard_normal(starts[-1] + frame_samples).astype(np.float32)
    extractor = FeatureExtractor(front_end)
    for group in ([0, 1], [2], [3], [4, 5], [6], [0, 2, 4]):
        chosen = [starts[i] for i in group]
        together = extractor(frames_of(signal, chosen, frame_samples))
        for picture, start in zip(together, chosen, strict=True):
            fresh = FeatureExtractor(front_end)(frames_of(signal, [start], frame_samples))
            np.testing.assert_allclose(picture, fresh[0], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("model", ["sea/64/sonyc-ust", "mn04", "logmel/128/16k"])
def test_shared_columns_are_computed_once(
    model: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame one column on from the last costs that column and those that touch padding."""
    front_end = front_end_of(model)
    hop, frame_samples = front_end.hop_samples, front_end.frame_samples
    signal = rng.standard_normal(frame_samples + 6 * hop).astype(np.float32)
    counts: list[int] = []
    columns = FeatureExtractor._columns

    def counting(self: FeatureExtractor, segments: NDArray[np.float32]) -> NDArray[np.float32]:
        counts.append(len(segments))
        return columns(self, segments)

    monkeypatch.setattr(FeatureExtractor, "_columns", counting)
    extractor = FeatureExtractor(front_end)
    extractor(frames_of(signal, [0], frame_samples))
    whole = sum(counts)
    assert whole == front_end.n_steps
    reach = -(-front_end.window_samples // hop)
    at_the_edges = 0 if front_end.padding == "none" else 2 * reach
    for step in (1, 2, 3):
        counts.clear()
        extractor(frames_of(signal, [step * hop], frame_samples))
        assert sum(counts) <= 1 + at_the_edges
    counts.clear()
    extractor(frames_of(signal, [4 * hop, 5 * hop, 6 * hop], frame_samples))
    assert sum(counts) <= 3 * (1 + at_the_edges)


def test_listens_deviation_is_the_unbiased_one(rng: np.random.Generator) -> None:
    """In a second of sound nobody could tell; torch's default it is all the same."""
    frame = rng.standard_normal((1, 12)).astype(np.float32)
    level = np.sqrt(np.mean(frame.astype(float) ** 2))
    deviation = np.sqrt(np.sum((frame - frame.mean()) ** 2) / 11)
    expected = (frame / (level + 1e-6) - frame.mean()) / (deviation + 1e-6)
    np.testing.assert_allclose(frontend._normalised(frame), expected, rtol=1e-5)


def test_reset_forgets_the_signal(rng: np.random.Generator) -> None:
    front_end = front_end_of("logmel/128/16k")
    extractor = FeatureExtractor(front_end)
    first, second = rng.standard_normal((2, front_end.frame_samples)).astype(np.float32)
    extractor(one_frame(first))
    extractor.reset()
    fresh = FeatureExtractor(front_end)(one_frame(second))
    np.testing.assert_array_equal(extractor(one_frame(second)), fresh)


def test_distant_frames_do_not_compute_what_lies_between(rng: np.random.Generator) -> None:
    front_end = front_end_of("logmel/128/16k")
    frame = rng.standard_normal(front_end.frame_samples).astype(np.float32)
    # A view of one frame that claims to be an hour: touching it all would take minutes.
    hop = 3600 * front_end.sample_rate
    signal = np.lib.stride_tricks.as_strided(frame, (4 * hop + len(frame),), (0,))
    starts = [i * hop for i in range(5)]
    pictures = FeatureExtractor(front_end)(Frames(signal, 0, starts, front_end.frame_samples))
    assert len(pictures) == 5
    np.testing.assert_array_equal(pictures, pictures[:1].repeat(5, axis=0))


# ---- statistics ------------------------------------------------------------------------------


def test_statistics_are_mean_and_deviation_over_time(rng: np.random.Generator) -> None:
    log_mels = rng.standard_normal((3, 64, 47)).astype(np.float32)
    summary = statistics(log_mels)
    assert summary.shape == (3, 128)
    for row, picture in zip(summary, log_mels.astype(np.float64), strict=True):
        for band, values in enumerate(picture):
            mean = sum(values) / 47
            variance = sum((value - mean) ** 2 for value in values) / 47
            assert row[band] == pytest.approx(mean, abs=1e-6)
            assert row[64 + band] == pytest.approx(variance**0.5, abs=1e-6)


@pytest.mark.parametrize("n_mels", [1, 2, 500])
def test_any_number_of_bands_is_the_product_with_the_filters(
    n_mels: int, rng: np.random.Generator
) -> None:
    """With many bands some hold no bin; they must come out as the floor, not as a neighbour."""
    front_end = dataclasses.replace(
        front_end_of("logmel/128/16k"), n_mels=n_mels, log_floor=1e-30, f_min=50.0, f_max=7000.0
    )
    frame = rng.standard_normal(front_end.frame_samples).astype(np.float32)
    (picture,) = FeatureExtractor(front_end)(one_frame(frame))
    bank = oracles.triangles(16000, 1024, n_mels, 50, 7000)
    window = oracles.periodic_hann(1024)
    power = np.abs(oracles.spectra(frame.astype(float), window, 1024, 320, picture.shape[1])) ** 2
    expected = 10 * np.log10(np.maximum(bank @ power, 1e-30))
    np.testing.assert_allclose(picture, expected, atol=1e-2)
