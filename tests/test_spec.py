"""Specs: what a front end is, what it is not allowed to be, and what it works out."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from listen_embed import registry
from listen_embed.errors import InputError
from listen_embed.spec import Download, FrontEnd, ModelSpec

LOG_MEL: dict[str, Any] = {
    "sample_rate": 16000,
    "frame_samples": 16000,
    "n_fft": 1024,
    "window_samples": 1024,
    "hop_samples": 320,
    "n_mels": 64,
    "f_max": 8000.0,
    "log_floor": 1e-10,
}


def changed(**values: Any) -> FrontEnd:
    return FrontEnd(**(LOG_MEL | values))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("sea/64/sonyc-ust", (64, 50)),
        ("pruned/512/ft-95.45", (256, 199)),
        ("teacher/512/l3-env-mel256", (256, 199)),
        ("teacher/512/l3-env-mel128", (128, 199)),
        ("teacher/512/l3-env-linear", (257, 197)),
        ("teacher/384/mn04", (128, 100)),
        ("teacher/1024/yamnet", (15600,)),
        ("listen/64/cnc", (128, 128)),
        ("logmel/128/16k", (64, 47)),
        ("logmel/256/48k", (128, 96)),
    ],
)
def test_the_published_pictures_have_their_size(model: str, shape: tuple[int, ...]) -> None:
    assert registry.find(model).front_end.input_shape == shape


@pytest.mark.parametrize(
    ("padding", "n_steps", "left", "right"),
    [
        ("none", 1 + (999 - 64) // 30, 0, 0),
        ("end", math.ceil(999 / 30), 0, 33 * 30 + 64 - 999),
        ("same", math.ceil(999 / 30), 27, 28),  # the odd one goes behind, as TensorFlow has it
        ("reflect", 1 + 999 // 30, 32, 32),
    ],
)
def test_padding(padding: Any, n_steps: int, left: int, right: int) -> None:
    front_end = changed(
        frame_samples=999, n_fft=64, window_samples=64, hop_samples=30, n_mels=8, padding=padding
    )
    assert front_end.n_steps == n_steps
    assert (front_end.pad_left, front_end.pad_right) == (left, right)


def test_preemphasis_takes_a_sample() -> None:
    assert changed().signal_samples == 16000
    assert changed(preemphasis=0.97).signal_samples == 15999


def test_without_mels_the_bands_are_the_bins() -> None:
    assert changed(n_mels=0, f_max=0.0).n_bands == 513
    assert changed().n_bands == 64


def test_front_ends_are_values() -> None:
    assert changed() == changed()
    assert hash(changed()) == hash(changed())
    assert changed() != changed(hop_samples=160)
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed().n_mels = 3  # type: ignore[misc]


def test_a_table_gives_a_front_end_and_back() -> None:
    assert FrontEnd.from_dict(LOG_MEL) == changed()
    assert FrontEnd.from_dict(dataclasses.asdict(changed())) == changed()


@pytest.mark.parametrize(
    ("name", "value", "beside"),
    [
        ("n_mels", 256, {"n_fft": 1 << 16, "frame_samples": 80_000, "hop_samples": 8_000}),
        ("frame_samples", 512 + 32_767, {"n_fft": 512, "window_samples": 512, "hop_samples": 1}),
    ],
)
def test_what_would_fill_the_memory_is_refused(
    name: str, value: int, beside: dict[str, int]
) -> None:
    assert FrontEnd.from_dict(LOG_MEL | beside | {name: value})
    with pytest.raises(InputError, match=r"n_(mels|steps)=\d+ is out of range"):
        FrontEnd.from_dict(LOG_MEL | beside | {name: value + 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_rate": 0},
        {"sample_rate": 16000.5},
        {"sample_rate": "16000"},
        {"frame_samples": 0},
        {"frame_samples": 16000 * 3600},
        {"n_fft": 1},
        {"n_fft": 1 << 20},
        {"n_fft": 1024.0},
        {"window_samples": 2048},
        {"hop_samples": 0},
        {"hop_samples": 16001},
        {"n_mels": -1},
        {"n_mels": 514},
        {"n_mels": True},
        {"f_max": 8001.0},
        {"f_max": 0.0},
        {"f_min": 9000.0},
        {"f_max": math.nan},
        {"log_floor": 0.0},
        {"log_floor": -1.0},
        {"log_floor": math.inf},
        {"log_offset": math.nan},
        {"scale": math.nan},
        {"shift": math.inf},
        {"preemphasis": math.nan},
        {"dynamic_range": -80.0},
        {"mel_root": 1},
        {"frame_samples": 500},  # shorter than one window, so no column
        {"power": 3},
        {"window": "hamming"},
        {"padding": "zeros"},
        {"resampler": "linear"},
        {"features": "mfcc"},
        {"mel_scale": "bark"},
        {"mel_norm": "htk"},
        {"log": "log2"},
        {"reference": "global"},
        {"normalise": "max"},
        {"hop": 320},  # unknown
    ],
    ids=str,
)
def test_a_wrong_constant_is_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=r"front end: ") as caught:
        FrontEnd.from_dict(LOG_MEL | wrong)
    named = {"frame_samples": "frame_samples|hop_samples|n_steps", "f_min": "f_max"}
    assert any(part in str(caught.value) for part in named.get(name, name).split("|"))


def test_a_missing_constant_is_refused() -> None:
    with pytest.raises(InputError, match="sample_rate"):
        FrontEnd.from_dict({key: LOG_MEL[key] for key in LOG_MEL if key != "sample_rate"})


# ---- models ----------------------------------------------------------------------------------


def a_model(**values: Any) -> ModelSpec:
    facts = {"model_type": "x", "emb_dim": 3, "variant": "y", "licence": "MIT"} | values
    return ModelSpec(front_end=values.pop("front_end", changed()), **facts)


def test_a_model_has_one_name() -> None:
    assert a_model().name == "x/3/y"


@pytest.mark.parametrize("emb_dim", [0, -1, "3", 3.0])
def test_a_width_is_a_whole_number(emb_dim: Any) -> None:
    with pytest.raises(InputError, match="emb_dim is"):
        a_model(emb_dim=emb_dim)


def test_work_per_second_follows_from_the_frame() -> None:
    front_end = FrontEnd(sample_rate=16000, frame_samples=8000, features="waveform")
    spec = ModelSpec(
        model_type="x", emb_dim=3, variant="y", licence="MIT", front_end=front_end, macs=500
    )
    assert spec.macs_per_second == 1000


def test_the_digest_tells_weights_and_front_ends_apart() -> None:
    spec = a_model()
    other = dataclasses.replace(spec, front_end=changed(hop_samples=160))
    digests = {spec.digest(b"a"), spec.digest(b"b"), spec.digest(), other.digest(b"a")}
    assert len(digests) == 4
    assert all(len(digest) == 64 for digest in digests)
    # a name, a licence or a default are no part of what an embedding is
    renamed = dataclasses.replace(spec, variant="z", licence="CC0-1.0", default=5)
    assert renamed.digest(b"a") == spec.digest(b"a")


# ---- downloads -------------------------------------------------------------------------------


def test_a_download_knows_its_file() -> None:
    download = Download(urls=("https://a.org/x/f.h5.gz",), converter="keras_l3", sha256="ab")
    assert download.file_name == "f.h5.gz"
    assert download.digest == "sha256:ab"
    blob = Download(urls=("https://a.org/f",), converter="keras_l3", git_blob="cd")
    assert blob.digest == "git-blob:cd"


@pytest.mark.parametrize(
    "wrong",
    [{"urls": ()}, {"sha256": ""}, {"git_blob": "cd"}],
    ids=["no address", "no digest", "two digests"],
)
def test_a_download_needs_an_address_and_one_digest(wrong: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"urls": ("https://a.org/f",), "converter": "yamnet", "sha256": "ab"}
    with pytest.raises(InputError, match="exactly one of sha256 and git_blob"):
        Download(**(facts | wrong))
