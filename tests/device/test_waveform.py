"""Log-mels with a waveform beside them: C as a stream against Python, at every rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.device import check
from listen_embed.device.export import export_c
from listen_embed.device.model_source import Options
from listen_embed.errors import InputError
from listen_embed.spec import FrontEnd, ModelSpec

from .one import Call, Values, graph_of
from .test_check import SANITIZED, exported, hard_sounds

PLAIN = FrontEnd(
    sample_rate=16_000, frame_samples=4_803, n_fft=256, window_samples=256, hop_samples=160,
    n_mels=20, f_max=4000.0, log_offset=1e-4, shift=20.0, scale=0.05, features="log-mel+waveform",
)  # fmt: skip
RATES = {
    "16 kHz": PLAIN,
    "32 kHz": replace(PLAIN, sample_rate=32_000, frame_samples=9_601, n_fft=512),
    "48 kHz": replace(PLAIN, sample_rate=48_000, frame_samples=14_410, n_fft=1024),
}
MEAN = {"keepDims": False}


def hearing_both(front_end: FrontEnd) -> tuple[ModelSpec, bytes]:
    """Return a model whose embedding is the mean of every band, and that of the waveform added."""
    spec = ModelSpec(
        model_type="own", emb_dim=front_end.n_bands, variant="both", front_end=front_end,
        licence="MIT",
    )  # fmt: skip
    n, picture = front_end.wave_samples, (1, front_end.n_bands, front_end.n_steps, 1)
    tensors = [
        Values(picture, 0.02, -11),
        Values((1, n), 1 / 127, 3),
        Values((2,), 0.0, 0, np.array([2, 3], np.int32)),
        Values((1, front_end.n_bands), 0.02, 5),
        Values((1,), 0.0, 0, np.array([1], np.int32)),
        Values((1,), 1 / 4096, -3),
        Values((1, front_end.n_bands), 0.022, 5),
    ]
    calls = [
        Call("MEAN", [0, 2], 3, "ReducerOptions", MEAN),
        Call("MEAN", [1, 4], 5, "ReducerOptions", MEAN),
        Call("ADD", [3, 5], 6, "AddOptions"),
    ]
    return spec, graph_of(tensors, calls)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(
    ("name", "samples"), [*((name, "int16") for name in RATES), ("32 kHz", "float32")]
)
def test_a_wave_encoder_hears_what_it_hears_in_python(
    name: str, samples: Any, tmp_path: Path
) -> None:
    spec, content = hearing_both(RATES[name])
    hop = 9 * spec.front_end.hop_samples / spec.front_end.sample_rate
    program, made = exported(tmp_path, spec, content, hop_size=hop, samples=samples)
    sound = check.check_sound(spec, made.frame_hop, Options(samples=samples), 6)
    given = check.run_on_host(program, sound, spec, content, block=333)
    wanted = check.pictures_of(sound, spec, content, made.frame_hop)
    assert given.pictures.shape == wanted.shape
    n = spec.front_end.n_bands * spec.front_end.n_steps
    heard, waves = given.pictures[:, n:].astype(int), wanted[:, n:].astype(int)
    assert len(np.unique(waves)) > 200
    assert np.abs(heard - waves).max() <= 1 and (heard == waves).mean() > 0.999
    assert np.array_equal(check.through_interpreter(given.pictures, content), given.embeddings)
    again = check.run_on_host(program, sound, spec, content, block=1)
    assert again.content == given.content


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("samples", ["int16", "float32"])
def test_sanitizers_find_nothing_in_hard_sounds(samples: Any, tmp_path: Path) -> None:
    spec, content = hearing_both(RATES["32 kHz"])
    program, made = exported(tmp_path, spec, content, SANITIZED, samples=samples)
    for name, sound in hard_sounds(20_000).items():
        loud = sound.astype(np.float32) / 3000 if samples == "float32" else sound
        given = check.run_on_host(program, loud, spec, content)
        wanted = check.pictures_of(loud, spec, content, made.frame_hop)
        assert np.abs(wanted.astype(int) - given.pictures).max() <= 1, name
    if samples == "float32":
        no_sound = np.tile(np.array([np.nan, np.inf, -np.inf, 1e38, 1e-42], np.float32), 4000)
        assert len(check.run_on_host(program, no_sound, spec, content).embeddings) == 2


def test_there_is_no_waveform_in_integers(tmp_path: Path) -> None:
    spec, content = hearing_both(PLAIN)
    with pytest.raises(InputError, match=r"features='log-mel\+waveform'"):
        export_c(spec, tmp_path / "out", Options(arithmetic="fixed"), content)
    assert not (tmp_path / "out").exists()


def test_a_network_of_another_waveform_is_refused(tmp_path: Path) -> None:
    spec, content = hearing_both(PLAIN)
    other = replace(spec, front_end=replace(PLAIN, frame_samples=4_805))
    with pytest.raises(InputError, match="4805"):
        export_c(other, tmp_path / "out", model=content)
