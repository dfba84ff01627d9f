"""The wave encoder: it learns from a teacher without labels, and travels as int8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from listen_embed.classify import bases, wave
from listen_embed.classify.mixing import companded
from listen_embed.classify.network import WaveEncoder
from listen_embed.errors import InputError

from .sounds import KINDS, sound, write

SETTINGS = wave.Settings(epochs=3, batch=4, versions=2, learning_rate=3e-3)


@pytest.fixture(scope="module")
def base() -> bases.Base:
    return bases.of_model("sea/32/nano")


@pytest.fixture(scope="module")
def stretches(base: bases.Base, tmp_path_factory: pytest.TempPathFactory) -> wave.Stretches:
    folder = tmp_path_factory.mktemp("recordings")
    for kind in KINDS:
        write(folder / f"{kind}.wav", sound(kind, 3, 30.0))
    write(folder / "short.wav", sound("beeps", 4, 1.0))
    write(folder / "silence.wav", np.zeros(16_000, np.float32))
    found = wave.collect([folder], base, tmp_path_factory.mktemp("data"), progress=False)
    return wave.Stretches(found.waves, found.log_mels)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wave, "N_HELD_OUT", 3)


def test_recordings_become_stretches_but_silence_does_not(stretches: wave.Stretches) -> None:
    assert len(stretches) == 3 * 6 + 1
    assert stretches.waves.shape == (19, 80_000) and len(stretches.log_mels) == 19
    assert (np.abs(stretches.waves).max(axis=1) > 100).all()


def test_it_learns_and_goes_on(stretches: wave.Stretches, base: bases.Base, tmp_path: Path) -> None:
    once = wave.pretrain(
        stretches, base, replace(SETTINGS, epochs=1), tmp_path / "a", progress=False
    )
    state = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert state["epoch"] == 1 and not once.training
    with pytest.raises(InputError, match="other settings"):
        wave.pretrain(stretches, base, SETTINGS, tmp_path / "a", progress=False)
    run = wave._Run(stretches, base, SETTINGS, tmp_path / "b")
    losses = [run.learn() for _ in range(3)]
    assert losses[-1] < losses[0]
    run.save()
    again = wave._Run(stretches, base, SETTINGS, tmp_path / "b")
    again.resume()
    assert (again.epoch, again.step) == (3, run.step)
    assert again.measure() == pytest.approx(run.measure(), abs=1e-5)


def test_too_few_stretches_are_refused(
    stretches: wave.Stretches, base: bases.Base, tmp_path: Path
) -> None:
    few = wave.Stretches(stretches.waves[:4], stretches.log_mels[:4])
    with pytest.raises(InputError, match="4 stretches of 5 s are too few; 7 are the least"):
        wave.pretrain(few, base, SETTINGS, tmp_path, progress=False)


def test_versions_mix_waveforms_and_log_mels_alike(
    stretches: wave.Stretches, base: bases.Base, tmp_path: Path
) -> None:
    run = wave._Run(stretches, base, SETTINGS, tmp_path)
    plan = run._plan(np.array([4, 9]), np.random.default_rng(1))
    assert len(plan.partners) == 1
    waves = run._waves(plan.rows)
    gain = run._gain(plan, waves)
    mixed = companded(waves[:1] + gain[:, None] * waves[plan.partners])
    torch.testing.assert_close(run._mixed_waves(plan)[:1], mixed)
    torch.testing.assert_close(run._mixed_mels(plan)[1:], run._log_mels(plan.rows)[1:])


def test_it_travels_in_eight_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    encoder, waves = WaveEncoder(n_joined=4), torch.randn(2, 16_000).clamp(-1, 1)
    with torch.no_grad():
        encoder.train()(waves)
        wave.save(encoder, tmp_path / "encoder.npz")
        monkeypatch.setattr(wave, "WEIGHTS", tmp_path / "encoder.npz")
        wanted, found = encoder.eval()(waves), wave.pretrained()(waves)
    assert (tmp_path / "encoder.npz").stat().st_size < 400_000
    assert torch.cosine_similarity(found.flatten(1), wanted.flatten(1)).min() > 0.99


def test_without_a_pretrained_one_it_must_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wave, "WEIGHTS", tmp_path / "none.npz")
    with pytest.raises(InputError, match="let it learn"):
        wave.initial(0, learns=False)
    one, again = (wave.initial(0, learns=True).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)
