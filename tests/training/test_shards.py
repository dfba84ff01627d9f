"""Shards: the same whoever makes them, whole or absent, and what they hold is what was drawn."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed import audio, registry
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError, ModelNotFoundError
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.spec import FrontEnd
from listen_embed.training import corpus
from listen_embed.training import shards as shards_module
from listen_embed.training.augment import NONE, Augmentation
from listen_embed.training.shards import (
    CorpusSounds,
    JoinedSounds,
    Recipe,
    Shard,
    WorkshopSounds,
    make_shard,
    open_shard,
    shards,
)
from listen_embed.training.spectrum import steady_spectrum

from .sounds import SR, decibels, noise, rms, tone, write

TEACHER = "logmel/128/16k"
NARROW = FrontEnd(
    sample_rate=8_000,
    frame_samples=4_000,
    n_fft=256,
    window_samples=256,
    hop_samples=400,
    n_mels=12,
    f_max=4000.0,
    log_floor=1e-10,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a corpus of two recordings: noise, then a tone."""
    place = tmp_path_factory.mktemp("corpus")
    files = [
        write(place / "a.wav", noise(6, seed=1)),
        write(place / "b.wav", tone(1000.1, 3.5)),  # whole hertz would repeat
    ]
    corpus.build(files, place / "built", SR, progress=False)
    return place / "built"


@pytest.fixture
def recipe(folder: Path) -> Recipe:
    sounds = CorpusSounds(folder, np.arange(9), 16_000, Augmentation(), relabel=0.3)
    return Recipe(sounds, (NARROW, registry.find(TEACHER).front_end), (TEACHER,), size=5, seed=4)


def assert_equal(first: Shard, second: Shard) -> None:
    np.testing.assert_array_equal(first.targets, second.targets)
    assert len(first.features) == len(second.features)
    for ours, theirs in zip(first.features, second.features, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def drawn(recipe: Recipe, number: int, n_samples: int) -> list[Any]:
    """Return the sounds of a shard."""
    rng = np.random.default_rng([recipe.seed, number])
    return [recipe.sounds.draw(n_samples, rng) for _ in range(recipe.size)]


# -- one shard -----------------------------------------------------------------------------------


def test_features_are_the_front_ends(tmp_path: Path, recipe: Recipe) -> None:
    make_shard(tmp_path, recipe, 2)
    shard = open_shard(tmp_path, 2)
    narrow, wide = shard.features
    assert (narrow.shape, wide.shape) == ((5, *NARROW.input_shape), (5, 64, 47))
    assert narrow.dtype == wide.dtype == np.float16
    wide_front_end = recipe.front_ends[1]
    for row, heard in enumerate(drawn(recipe, 2, 16_000)):
        at_8k = soxr.resample(heard, 16_000, 8_000, quality="HQ")[:4000]
        for found, front_end, sound in ((narrow, NARROW, at_8k), (wide, wide_front_end, heard)):
            frame = Frames(sound, 0, [0], len(sound))
            expected = FeatureExtractor(front_end)(frame)[0].astype(np.float16)
            np.testing.assert_array_equal(found[row], expected)


def test_a_front_end_hears_through_its_own_resampler(tmp_path: Path, recipe: Recipe) -> None:
    kaiser = replace(NARROW, resampler="kaiser_best")
    recipe = replace(recipe, front_ends=(kaiser,), size=2)
    make_shard(tmp_path, recipe, 0)
    (found,) = open_shard(tmp_path, 0).features
    for row, heard in enumerate(drawn(recipe, 0, 16_000)[:2]):
        at_8k = audio.rate_converter(16_000, 8_000, "kaiser_best").push(heard, last=True)[:4000]
        expected = FeatureExtractor(kaiser)(Frames(at_8k, 0, [0], 4000))[0].astype(np.float16)
        np.testing.assert_array_equal(found[row], expected)


def test_targets_are_the_teachers_embeddings(tmp_path: Path, recipe: Recipe) -> None:
    other = "logmel/256/48k"  # hears the same sound at another rate
    make_shard(tmp_path, replace(recipe, teachers=(TEACHER, other)), 0)
    targets = open_shard(tmp_path, 0).targets
    assert targets.shape == (5, 128 + 256)
    assert targets.dtype == np.float32
    embedder, second = (Embedder(name, hop_size=1.0, center=False) for name in (TEACHER, other))
    for row, heard in enumerate(drawn(recipe, 0, 16_000)):
        ours = embedder.embed(heard, 16_000)[0][0]
        np.testing.assert_allclose(targets[row, :128], ours, rtol=1e-5, atol=2e-5)  # of dB
        by_second, _ = second.embed(heard, 16_000)
        np.testing.assert_allclose(targets[row, 128:], by_second[0], atol=0.05)


def test_shards_are_mapped_not_loaded(tmp_path: Path, recipe: Recipe) -> None:
    make_shard(tmp_path, recipe, 0)
    assert all(isinstance(f, np.memmap) for f in open_shard(tmp_path, 0).features)


def test_number_and_seed_decide_a_shard(tmp_path: Path, recipe: Recipe) -> None:
    for name, changed, number in [
        ("first", recipe, 0),
        ("again", recipe, 0),
        ("number", recipe, 1),
        ("seed", replace(recipe, seed=5), 0),
    ]:
        make_shard(tmp_path / name, changed, number)
    first = open_shard(tmp_path / "first", 0)
    assert_equal(first, open_shard(tmp_path / "again", 0))
    for name, number in (("number", 1), ("seed", 0)):
        assert not np.array_equal(first.targets, open_shard(tmp_path / name, number).targets)


def test_lengths_come_in_turn(tmp_path: Path, recipe: Recipe) -> None:
    """Longer crops are as many times fewer; student and teacher hear all of each."""
    recipe = replace(recipe, lengths=(1, 2), size=6)
    assert [recipe.length(number) for number in range(4)] == [1, 2, 1, 2]
    for number in (2, 3):
        make_shard(tmp_path, recipe, number)
    short, long = (open_shard(tmp_path, number) for number in (2, 3))
    assert [f.shape for f in short.features] == [(6, 12, 10), (6, 64, 47)]
    wide = recipe.front_ends[1].lasting(2 * recipe.front_ends[1].frame_seconds)
    assert [f.shape for f in long.features] == [(3, 12, 20), (3, *wide.input_shape)]
    assert (short.targets.shape, long.targets.shape) == ((6, 128), (3, 128))
    rng = np.random.default_rng([recipe.seed, 3])
    teacher = Embedder(TEACHER, frame_size=2.0, center=False)
    for row in range(3):
        heard = recipe.sounds.draw(wide.frame_samples, rng)
        (by_teacher,), _ = teacher.embed(heard, 16_000)
        np.testing.assert_allclose(long.targets[row], by_teacher, atol=1e-4)


@dataclass(frozen=True)
class Hum:
    """Another kind of sounds."""

    sr: int = 16_000

    def draw(self, n_samples: int, rng: np.random.Generator) -> Any:
        return np.full(n_samples, rng.random(dtype="f4"))


# -- many shards -----------------------------------------------------------------------------------


def test_a_shard_is_the_same_alone_in_a_row_and_from_a_worker(
    tmp_path: Path, recipe: Recipe
) -> None:
    make_shard(tmp_path / "alone", recipe, 2)
    alone = open_shard(tmp_path / "alone", 2)
    in_a_row = list(shards(tmp_path / "row", recipe, 0, 4, workers=0))
    by_workers = list(shards(tmp_path / "workers", recipe, 1, 4, workers=1, ahead=2))
    assert (len(in_a_row), len(by_workers)) == (4, 3)
    assert_equal(in_a_row[2], alone)
    for ours, theirs in zip(in_a_row[1:], by_workers, strict=True):
        assert_equal(ours, theirs)


def test_earlier_shards_are_used_again(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list(shards(tmp_path, recipe, 0, 2, workers=0))
    monkeypatch.setattr(shards_module, "_draw", None)  # nothing may be drawn now
    for ours, theirs in zip(first, shards(tmp_path, recipe, 0, 2, workers=0), strict=True):
        assert_equal(ours, theirs)


def test_shards_of_another_recipe_are_not_taken_for_ours(
    tmp_path: Path, recipe: Recipe, folder: Path
) -> None:
    list(shards(tmp_path, recipe, 0, 1, workers=0))
    list(shards(tmp_path, replace(recipe), 0, 1, workers=0))  # an equal one is the same one
    sounds = recipe.sounds
    assert isinstance(sounds, CorpusSounds)
    narrower = replace(NARROW, n_mels=8)
    for changed, message in [
        (replace(recipe, seed=5), "seed is 4 there and 5 here"),
        (replace(recipe, size=6), "size is 5 there and 6 here"),
        (replace(recipe, teachers=("other",)), f"teachers.0 is '{TEACHER}' there and 'other'"),
        (replace(recipe, front_ends=(narrower, recipe.front_ends[1])), "front_ends.0.n_mels is 12"),
        (replace(recipe, front_ends=(NARROW,)), "front_ends.1 is {.* there and None here"),
        (replace(recipe, sounds=replace(sounds, relabel=0.0)), "sounds.relabel is 0.3 there and"),
        (replace(recipe, sounds=replace(sounds, how=NONE)), "sounds.how.equalise is 0.5 there"),
        (replace(recipe, sounds=replace(sounds, chosen=np.arange(8))), "sounds.chosen is 'int64"),
        (replace(recipe, sounds=Hum()), "sounds.kind is 'CorpusSounds' there and 'Hum'"),
    ]:
        with pytest.raises(InputError, match=f"another recipe: .*{message}.*choose another folder"):
            list(shards(tmp_path, changed, 0, 1, workers=0))
    assert [path.name for path in tmp_path.glob("shard-*")] == ["shard-00000"]


def test_a_recipe_is_the_same_wherever_its_corpus_lies(
    tmp_path: Path, recipe: Recipe, folder: Path
) -> None:
    list(shards(tmp_path / "shards", recipe, 0, 1, workers=0))
    shutil.copytree(folder, tmp_path / "moved")
    moved = replace(recipe, sounds=replace(recipe.sounds, folder=tmp_path / "moved"))
    list(shards(tmp_path / "shards", moved, 0, 1, workers=0))
    file = write(tmp_path / "c.wav", noise(9, seed=9))
    corpus.build([file], tmp_path / "moved", SR, progress=False)
    with pytest.raises(InputError, match=r"sounds\.folder is '8000 Hz sha256:"):
        list(shards(tmp_path / "shards", moved, 0, 1, workers=0))


def test_shards_from_before_recipes_were_noted_are_kept(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shard(tmp_path, recipe, 0)
    assert not (tmp_path / "recipe.json").exists()
    monkeypatch.setattr(shards_module, "_draw", None)  # nothing may be drawn now
    (shard,) = shards(tmp_path, recipe, 0, 1, workers=0)
    assert shard.targets.shape == (5, 128)
    assert {path.name for path in tmp_path.iterdir()} == {"shard-00000", "recipe.json"}
    with pytest.raises(InputError, match="seed is 4 there and 5 here"):
        list(shards(tmp_path, replace(recipe, seed=5), 0, 1, workers=0))


def test_a_corpus_that_was_built_anew_is_opened_anew(tmp_path: Path) -> None:
    sounds = CorpusSounds(tmp_path / "built", np.array([0]), SR, NONE)
    for hertz in (1000.1, 500.1):
        file = write(tmp_path / "a.wav", tone(hertz, 4))
        corpus.build([file], tmp_path / "built", SR, progress=False)
        heard = sounds.draw(SR, np.random.default_rng(0))
        assert np.abs(np.fft.rfft(heard)).argmax() == round(hertz)


def test_who_stops_listening_leaves_whole_shards_alone(tmp_path: Path, recipe: Recipe) -> None:
    made = shards(tmp_path, recipe, 0, 50, workers=1, ahead=8)
    next(made)
    made.close()
    until = time.monotonic() + 30  # the worker hears of it, and takes back what it had begun
    while any(tmp_path.glob(".*")) and time.monotonic() < until:
        time.sleep(0.05)
    names = {path.name for path in tmp_path.iterdir()} - {"recipe.json"}
    assert "shard-00000" in names
    assert "shard-00049" not in names
    assert all((tmp_path / name / "targets.npy").exists() for name in names)


def test_a_workers_error_arrives(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(ModelNotFoundError, match="nobody"):
        list(shards(tmp_path, replace(recipe, teachers=("nobody",)), 0, 3, workers=1))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("n_written", [0, 1, 2])
def test_a_half_made_shard_is_none(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    genuine, saved = np.save, []

    def save(path: Any, array: Any) -> None:
        if len(saved) == n_written:
            raise Killed
        saved.append(path)
        genuine(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", save)
        with pytest.raises(Killed):
            make_shard(tmp_path / "killed", recipe, 3)
    assert not list((tmp_path / "killed").glob("shard-*"))
    make_shard(tmp_path / "killed", recipe, 3)
    make_shard(tmp_path / "whole", recipe, 3)
    assert_equal(open_shard(tmp_path / "killed", 3), open_shard(tmp_path / "whole", 3))
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["shard-00003"]


def test_two_makers_of_one_shard_agree(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = shards_module._draw

    def be_overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(shards_module, "_draw", genuine)
        make_shard(tmp_path, recipe, 0)
        return genuine(*arguments)

    monkeypatch.setattr(shards_module, "_draw", be_overtaken)
    make_shard(tmp_path, recipe, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000"]


# -- where sounds come from --------------------------------------------------------------------


@pytest.mark.parametrize(("relabel", "hertz"), [(0.0, 1000), (1.0, 2000)])
def test_relabelled_crops_fill_the_upper_band(folder: Path, relabel: float, hertz: int) -> None:
    only_the_tone = np.array([6, 7, 8])
    sounds = CorpusSounds(folder, only_the_tone, 16_000, NONE, relabel)
    for seed in range(5):
        heard = sounds.draw(16_000, np.random.default_rng(seed))
        assert np.abs(np.fft.rfft(heard)).argmax() == hertz
        assert rms(heard) == pytest.approx(0.1, rel=0.02)


def test_crops_keep_their_rate_where_it_is_the_corpus_own(folder: Path) -> None:
    sounds = CorpusSounds(folder, np.array([7]), SR, NONE, relabel=0.5)
    heard = sounds.draw(SR, np.random.default_rng(0))
    assert np.abs(np.fft.rfft(heard)).argmax() == 1000


@pytest.fixture(scope="module")
def joined(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> JoinedSounds:
    """Return three crops of a tone at 8 kHz beside one of another tone at 16 kHz."""
    place = tmp_path_factory.mktemp("second")
    file = write(place / "c.wav", tone(3000.1, 4, sr=16_000), 16_000)
    corpus.build([file], place / "built", 16_000, progress=False)
    at_8k = CorpusSounds(folder, np.array([6, 7, 8]), 16_000, NONE)
    at_16k = CorpusSounds(place / "built", np.array([1]), 16_000, replace(NONE, noise=1.0))
    return JoinedSounds((at_8k, at_16k))


def test_joined_corpora_are_heard_as_often_as_they_have_crops(joined: JoinedSounds) -> None:
    assert joined.sr == 16_000
    heard = [joined.draw(16_000, np.random.default_rng(seed)) for seed in range(200)]
    peaks = [int(np.abs(np.fft.rfft(sound)).argmax()) for sound in heard]
    assert set(peaks) == {1000, 3000}
    assert peaks.count(1000) / len(peaks) == pytest.approx(3 / 4, abs=0.08)
    # No noise: the first says what is done to all.
    assert all(rms(sound) == pytest.approx(0.1, rel=0.02) for sound in heard)


def test_joined_corpora_are_mixed_with_each_other(joined: JoinedSounds) -> None:
    first = replace(joined.parts[0], how=replace(NONE, mix=1.0, mix_snr_db=(0.0, 0.0)))
    both = JoinedSounds((first, joined.parts[1]))
    heard = []
    for seed in range(20):
        spectrum = np.abs(np.fft.rfft(both.draw(16_000, np.random.default_rng(seed))))
        heard.append(frozenset(hertz for hertz in (1000, 3000) if spectrum[hertz] > 100))
    assert frozenset({1000, 3000}) in heard


def test_a_recipe_of_joined_corpora_is_described_by_all_of_them(
    tmp_path: Path, recipe: Recipe, joined: JoinedSounds
) -> None:
    both = replace(recipe, sounds=joined)
    list(shards(tmp_path, both, 0, 1, workers=0))
    fewer = replace(joined, parts=joined.parts[:1])
    with pytest.raises(InputError, match=r"sounds\.parts\.1 is .* there and None here"):
        list(shards(tmp_path, replace(both, sounds=fewer), 0, 1, workers=0))


def test_workshop_sounds_are_machines_in_noise_at_any_level(folder: Path) -> None:
    background = CorpusSounds(folder, np.arange(6), SR, NONE)
    for synthetic in (0.0, 1.0):
        noisy = WorkshopSounds(background, synthetic, noise=1.0, snr_db=(6.0, 6.0))
        assert noisy.sr == SR
        levels = []
        for seed in range(20):
            sound = noisy.draw(SR, np.random.default_rng(seed))
            assert sound.dtype == np.float32
            assert sound.shape == (SR,)
            levels.append(decibels(rms(sound) / 0.1))
        # The machine at RMS 0.1, noise 6 dB below adds about 1 dB, then -30 to 10 dB of gain.
        assert min(levels) > -31
        assert max(levels) < 13
        assert np.ptp(levels) > 15


def test_workshop_noise_has_the_stated_level(folder: Path) -> None:
    background = CorpusSounds(folder, np.arange(6), SR, NONE)
    for seed in range(5):
        clean = WorkshopSounds(background, 1.0, noise=0.0).draw(SR, np.random.default_rng(seed))
        noisy = WorkshopSounds(background, 1.0, noise=1.0, snr_db=(6.0, 6.0)).draw(
            SR, np.random.default_rng(seed)
        )
        gain = np.dot(noisy, clean) / np.dot(clean, clean)
        added = noisy - gain * clean
        assert decibels(rms(gain * clean) / rms(added)) == pytest.approx(6, abs=0.5)


def test_without_teachers_the_features_steady_spectra_are_the_targets(
    tmp_path: Path, recipe: Recipe
) -> None:
    (shard,) = shards(tmp_path, replace(recipe, teachers=()), 0, 1, workers=0)
    wanted = steady_spectrum(np.asarray(shard.features[0], np.float32))
    half_a_step = 2.0**-5  # of float16 between 64 and 128
    np.testing.assert_allclose(shard.targets, wanted, atol=half_a_step)
