"""C as a stream on this computer against Python: every kind of front end, block and sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import frontend, registry, store
from listen_embed.device import check
from listen_embed.device.export import export_c
from listen_embed.device.model_source import Options
from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.spec import FrontEnd, ModelSpec

from .one import Values, model

SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BASE = FrontEnd(
    sample_rate=8000, frame_samples=4000, n_fft=256, window_samples=256, hop_samples=160,
    n_mels=20, f_max=4000.0, log_offset=1e-4, shift=20.0, scale=0.05,
)  # fmt: skip
FRONT_ENDS = {
    "plain": BASE,
    "end": replace(BASE, padding="end", log="ln", shift=4.5, scale=0.2),
    "same": replace(BASE, padding="same", mel_scale="slaney", mel_norm="slaney"),
    "reflect, pre-emphasis": replace(
        BASE, padding="reflect", preemphasis=0.97, window_samples=200, window="hann-symmetric"
    ),
    "kaldi, odd window": replace(BASE, mel_scale="kaldi", window_samples=201, f_min=50.0),
    "magnitude": replace(BASE, power=1),
    "root": replace(BASE, mel_root=True),
    "bins": replace(BASE, n_mels=0, n_fft=64, window_samples=64),
    "peak of the frame": replace(BASE, reference="frame-max", dynamic_range=40.0, shift=40.0),
    "hop above window": replace(BASE, hop_samples=320),
}


def averaging(front_end: FrontEnd) -> tuple[ModelSpec, bytes]:
    """Return a model whose embedding is the mean of every band."""
    bands, steps = front_end.input_shape
    spec = ModelSpec(
        model_type="own", emb_dim=bands, variant="mean", front_end=front_end, licence="MIT"
    )
    tensors = [
        Values((1, bands, steps, 1), 0.02, -11),
        Values((2,), 0.0, 0, np.array([2, 3], np.int32)),
        Values((1, bands), 0.02, 5),
    ]
    return spec, model("MEAN", tensors, "ReducerOptions", keepDims=False)


def exported(
    place: Path, spec: ModelSpec, content: bytes, flags: Any = ("-O2",), **options: Any
) -> Any:
    """Return a program, and the export that it is made of."""
    made = export_c(spec, place / "out", Options(**options), content)
    return check.build_for_host(place / "out", place, flags), made


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("overlap", [1, 7])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_every_front_end_draws_what_python_draws(
    name: str, overlap: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # C is held against the exact transform; scipy's has the rounding of float32 itself.
    monkeypatch.setattr(frontend, "fastest_transform", lambda: (np.fft.rfft, np.float64))
    spec, content = averaging(FRONT_ENDS[name])
    hop = spec.front_end.hop_samples * (25 if overlap == 1 else 3) / spec.front_end.sample_rate
    program, made = exported(tmp_path, spec, content, hop_size=hop)
    sound = check.check_sound(spec, made.frame_hop, Options(), 6)
    given = check.run_on_host(program, sound, spec, content, block=333)
    wanted = check.pictures_of(sound, spec, content, made.frame_hop)
    apart = np.abs(wanted.astype(int) - given.pictures)
    assert given.pictures.shape == wanted.shape
    assert len(np.unique(wanted)) > 40
    assert apart.max() <= 1
    assert (apart == 0).mean() >= 0.998
    assert np.array_equal(check.through_interpreter(given.pictures, content), given.embeddings)


@pytest.mark.needs("gcc")
def test_blocks_of_any_size_give_the_same_bytes(tmp_path: Path) -> None:
    spec, content = averaging(FRONT_ENDS["reflect, pre-emphasis"])
    program, made = exported(tmp_path, spec, content, hop_size=0.1)
    sound = check.check_sound(spec, made.frame_hop, Options(), 5)
    wanted = check.run_on_host(program, sound, spec, content, 4096).content
    for block in (1, 2, 63, 160, 161, 800, 4095):
        assert check.run_on_host(program, sound, spec, content, block).content == wanted


def hard_sounds(n: int) -> dict[str, Any]:
    chance = np.random.default_rng(7)
    return {
        "silence": np.zeros(n, np.int16),
        "loudest": np.full(n, 32767, np.int16),
        "offset": np.full(n, -32768, np.int16),
        "alternating": np.where(np.arange(n) % 2, 32767, -32768).astype(np.int16),
        "noise": chance.integers(-32768, 32768, n).astype(np.int16),
        "one click": np.eye(1, n, n // 2, dtype=np.int16)[0] * 32767,
    }


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("samples", ["int16", "float32"])
def test_sanitizers_find_nothing_in_hard_sounds(samples: Any, tmp_path: Path) -> None:
    spec = registry.find("sea/32/nano")
    content = store.load(spec)
    program, made = exported(tmp_path, spec, content, SANITIZED, samples=samples)
    for sound in hard_sounds(20_000).values():
        if samples == "float32":
            sound = sound.astype(np.float32) / 3000
        given = check.run_on_host(program, sound, spec, content)
        wanted = check.pictures_of(sound, spec, content, made.frame_hop)
        assert np.abs(wanted.astype(int) - given.pictures).max() <= 1


@pytest.mark.needs("gcc")
def test_numbers_that_are_no_sound_do_no_harm(tmp_path: Path) -> None:
    spec = registry.find("sea/32/nano")
    content = store.load(spec)
    program, _ = exported(tmp_path, spec, content, SANITIZED, samples="float32")
    sound = np.tile(np.array([np.nan, np.inf, -np.inf, 1e38, 1e-42], np.float32), 4000)
    assert len(check.run_on_host(program, sound, spec, content).embeddings) == 1


def test_hops_between_columns_are_refused(tmp_path: Path) -> None:
    spec, content = averaging(BASE)
    with pytest.raises(InputError, match="multiple of 160 samples"):
        export_c(spec, tmp_path / "out", Options(hop_size=0.03), content)
    assert not (tmp_path / "out").exists()


@pytest.mark.needs("gcc")
def test_a_wrong_band_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, content = averaging(BASE)
    made = export_c(spec, tmp_path / "out", model=content)
    monkeypatch.setattr(check.boards, "are_installed", lambda: False)
    check.check(tmp_path / "out", spec, content, Options(), made)
    source = tmp_path / "out" / "src" / "listen_bands.h"
    source.write_text(source.read_text().replace("gap <= LISTEN_BANDS", "gap < LISTEN_BANDS"))
    with pytest.raises(ListenEmbedError, match="log-mels differ"):
        check.check(tmp_path / "out", spec, content, Options(), made)
