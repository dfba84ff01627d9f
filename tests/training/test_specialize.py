"""From recordings to a model folder in one call: complete, resumable, clear when it cannot be."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import nn

import listen_embed.training
from listen_embed import registry
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError, MissingExtraError
from listen_embed.training import corpus, distill, pruning, specialize, train
from listen_embed.training import shards as shards_module
from listen_embed.training.network import estimate_bytes, fit_budget
from listen_embed.training.specialize import Options
from listen_embed.training.starts import MN04_FRONT_END, NANO_FRONT_END

from .sounds import noise, silence, write


def run(recordings: Path, out: Path, options: Options) -> Path:
    return specialize.specialize([recordings], out, options, progress=False)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# -- the model folder ----------------------------------------------------------------------------


def test_the_folder_is_whole(specialised: Any) -> None:
    names = files_of(specialised.folder)
    assert {name for name in names if not name.startswith("c/")} == {
        "model.toml", "model.tflite", "float/model.toml", "float/model.tflite", "README.md",
        "golden.npz", "report.png", "report.json",
    }  # fmt: skip
    assert "c/src/listen_model.c" in names
    beside = {path.name for path in specialised.folder.parent.iterdir()}
    assert beside == {"machines", "machines.work"}  # kept, as asked for


def test_it_is_a_model_by_its_path(specialised: Any) -> None:
    sound, sr = soundfile.read(specialised.recordings / "shift 1" / "1.wav", dtype="float32")
    embeddings = {}
    for part in ("", "float"):
        embedder = Embedder(specialised.folder / part, center=False)
        assert embedder.spec.name == "own/16/machines"
        assert embedder.spec.front_end == NANO_FRONT_END
        assert embedder.spec.licence == specialised.options.licence
        embeddings[part], timestamps = embedder.embed(sound, sr)
        assert embeddings[part].shape == (len(timestamps), 16)
        assert embeddings[part].dtype == np.float32
    int8, in_float = embeddings.values()
    norms = np.linalg.norm(int8, axis=1) * np.linalg.norm(in_float, axis=1)
    assert np.all((int8 * in_float).sum(axis=1) > 0.9 * norms)
    assert len(np.unique(int8)) <= 256 < len(np.unique(in_float))


def test_it_meets_its_golden_embedding(specialised: Any) -> None:
    with np.load(specialised.folder / "golden.npz", allow_pickle=False) as golden:
        embedder = Embedder(specialised.folder, hop_size=0.5)
        found, timestamps = embedder.embed(golden["audio"], int(golden["sr"]))
        np.testing.assert_allclose(found, golden["embedding"], atol=1e-5)
        np.testing.assert_array_equal(timestamps, golden["timestamps"])


def test_it_has_learnt_from_its_teacher(specialised: Any) -> None:
    report = json.loads((specialised.folder / "report.json").read_text())
    assert np.mean(report["cosine_float"]) > 0.75
    assert np.mean(report["cosine_int8"]) > 0.75
    assert report["float_to_int8"] > 0.9


def test_it_keeps_its_budget(specialised: Any) -> None:
    options = specialised.options
    size = (specialised.folder / "model.tflite").stat().st_size
    assert size <= options.budget_bytes
    assert size == pytest.approx(
        estimate_bytes(fit_budget(options.budget_bytes, options.emb_dim)), rel=0.02
    )
    spec = registry.load_folder(specialised.folder)
    assert spec.size_bytes == size
    assert spec.macs > 10_000


def test_the_card_has_all_settings(specialised: Any) -> None:
    card = (specialised.folder / "README.md").read_text(encoding="utf-8")
    assert str(specialised.recordings) not in card
    settings = asdict(specialised.options)
    for name in ("labels", "test", "keep", "front_end"):
        del settings[name]
    assert "| front_end | the student's own, see below |" in card
    for name, value in settings.items():
        text = ", ".join(value) if isinstance(value, tuple) else value
        text = f"{value:.12g}" if isinstance(value, float) else text
        assert f"| {name} | {text} |" in card
    assert "| sample_rate | 16000 |" in card  # of its front end
    assert 'Embedder("machines/")' in card
    assert "| stretches of sound | 5 |" in card  # the broken file gave none
    assert f"| hours | {45 / 3600:.3f} |" in card
    assert "specialised from logmel/128/16k" in card


# -- going on where it stopped -------------------------------------------------------------------


def test_an_interrupted_call_ends_as_if_it_had_not_been(
    specialised: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, learn, learnt = distill._Run.save, distill._Run.learn, []

    def interrupted(run: Any) -> None:
        save(run)
        raise KeyboardInterrupt

    def counted(run: Any, features: Any, targets: Any, number: int) -> float:
        learnt.append(number)
        return learn(run, features, targets, number)

    out = tmp_path / "again"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distill._Run, "save", interrupted)
        run(specialised.recordings, out, specialised.options)
    assert not out.exists()

    monkeypatch.setattr(distill._Run, "learn", counted)
    monkeypatch.setattr(shards_module, "_draw", None)  # nothing may be drawn again
    run(specialised.recordings, out, specialised.options)
    assert learnt == [1, 0]  # the second shard, and the fine-tuning's only one
    for name in ("model.tflite", "float/model.tflite"):
        assert (out / name).read_bytes() == (specialised.folder / name).read_bytes()


def test_other_settings_or_recordings_start_afresh(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", noise(1))
    options = Options()
    work = specialize._work_folder(tmp_path / "m", options, [file])
    assert work.parent == tmp_path / "m.work"
    assert specialize._work_folder(tmp_path / "m", options, [file]) == work
    others = [
        specialize._work_folder(tmp_path / "m", replace(options, seed=1), [file]),
        specialize._work_folder(tmp_path / "m", options, [file, write(tmp_path / "b.wav", [0.1])]),
        specialize._work_folder(tmp_path / "m", options, [write(file, noise(2))]),
    ]
    assert len({work, *others}) == 4


def test_a_teacher_that_was_made_again_starts_afresh(tmp_path: Path) -> None:
    card = tmp_path / "teacher" / registry.CARD
    card.parent.mkdir()
    card.write_text("first")
    options = Options(teachers=(str(card.parent),))
    work = specialize._work_folder(tmp_path / "m", options, [])
    card.write_text("second, longer")
    assert specialize._work_folder(tmp_path / "m", options, []) != work


def test_what_changes_no_result_goes_on_with_the_same_run(tmp_path: Path) -> None:
    work = specialize._work_folder(tmp_path / "m", Options(), [])
    more_hands = Options(
        workers=3, threads=2, licence="CC0", labels="a.csv", test=("b",), keep=True
    )
    assert specialize._work_folder(tmp_path / "m", more_hands, []) == work


# -- stages --------------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[..., nn.Module]:
    """Run everything up to the conversion and return the student."""

    def until_converted(recordings: Path, out: Path, options: Options) -> nn.Module:
        students = []

        def stop(plan: Any, student: nn.Module, split: Any) -> None:
            students.append(student)
            raise Stop

        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(train, "_converted", stop)
            run(recordings, out, options)
        return students[0]

    return until_converted


def test_sparse_students_keep_their_zeros_to_the_end(
    specialised: Any, tmp_path: Path, trained: Any
) -> None:
    options = replace(specialised.options, sparsity=0.9, n_shards=1, shard_size=128)
    student = trained(specialised.recordings, tmp_path / "sparse", options)
    weights = [m.weight.detach() for m in student.modules() if isinstance(m, nn.Conv2d)]
    shares = pruning.schedule(len(weights), 0.9)
    assert shares[0] == 0 < shares[1]
    for weight, share in zip(weights, shares, strict=True):
        more = int((weight == 0).sum()) - round(share * weight.numel())
        assert 0 <= more < 0.05 * weight.numel()  # the steps of int8 take the smallest others to 0
    (work,) = (tmp_path / "sparse.work").iterdir()
    assert {"distillation", "retraining", "int8"} < {path.name for path in work.iterdir()}


def test_several_teachers_stand_side_by_side(
    specialised: Any, tmp_path: Path, trained: Any
) -> None:
    teachers = ("logmel/128/16k", str(specialised.folder))
    options = replace(
        specialised.options, teachers=teachers, n_shards=1, int8_shards=0, shard_size=64,
        n_crops=12, sampling="diversity", front_end=str(specialised.folder), augment=False,
    )  # fmt: skip
    student = trained(specialised.recordings, tmp_path / "both", options)
    (work,) = (tmp_path / "both.work").iterdir()
    shard = shards_module.open_shard(work / "shards", 0)
    assert shard.targets.shape == (64, 128 + 16)
    assert shard.features[0].shape == (64, *NANO_FRONT_END.input_shape)
    with torch.no_grad():
        assert student(torch.zeros(1, 1, *NANO_FRONT_END.input_shape)).shape == (1, 16)
    crops = np.load(work / "crops.npy")
    built = corpus.open_corpus(work / "corpus")
    assert crops.shape == (len(built), 128)
    embedder = Embedder("logmel/128/16k", hop_size=3600.0, center=False)
    expected, _ = embedder.embed(built.crop(7, built.sr), built.sr)
    np.testing.assert_array_equal(crops[7], expected[0])


def test_pruned_students_start_from_mn04(specialised: Any, tmp_path: Path, shared: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    published = shared / "weights-upstream/efficientat-mn04/mn04_as_mAP_432.pt"
    (work / "mn04.pt").write_bytes(published.read_bytes())
    options = replace(specialised.options, student="pruned", budget_bytes=200_000)
    assert specialize._front_end(options) == MN04_FRONT_END
    specialize._check_budget(options, work)
    with pytest.raises(InputError, match="too small for a pruned student"):
        specialize._check_budget(replace(options, budget_bytes=40_000), work)


# -- what is wrong -------------------------------------------------------------------------------


def broken(folder: Path) -> None:
    for name in ("a.wav", "b.flac"):
        (folder / name).write_bytes(b"RIFF or not")


def silent(folder: Path) -> None:
    write(folder / "a.wav", silence(60))


def single(folder: Path) -> None:
    write(folder / "a.wav", noise(5))


def repeated(folder: Path) -> None:
    for i in range(20):
        write(folder / f"{i}.wav", noise(5))


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (broken, "none of 2 recordings has a second above -60 dB"),
        (silent, "none of 1 recordings has a second above -60 dB"),
        (single, r"only 5\.0 s of sound .* 30 s are the least"),
        (repeated, r"only 5\.0 s of sound \(silence and repeats do not count\)"),
        (lambda folder: (folder / "notes.txt").write_text("hall 3"), "no sound files in .*known"),
    ],
)
def test_recordings_that_will_not_do(
    tmp_path: Path, fill: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    fill(folder)
    options = Options(teachers=("logmel/128/16k",), workers=0)
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match=message):
        run(folder, tmp_path / "m", options)
    assert not (tmp_path / "m").exists()
    assert len(caplog.records) == (2 if fill is broken else 0)


def test_recordings_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="elsewhere does not exist"):
        run(tmp_path / "elsewhere", tmp_path / "m", Options())


def test_too_small_a_budget_shows_before_anything_is_decoded(
    machines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "build", None)
    options = Options(teachers=("logmel/128/16k",), budget_bytes=5_000)
    assert options.kind == "grown"
    with pytest.raises(InputError, match="budget of 5000 bytes is too small: 64 dimensions need"):
        run(machines, tmp_path / "m", options)


def test_more_dimensions_than_the_teacher_has(specialised: Any, tmp_path: Path) -> None:
    options = replace(specialised.options, emb_dim=200, budget_bytes=100_000, shard_size=64)
    with pytest.raises(InputError, match=r"emb_dim is 200; .* can be 1 to 128"):
        run(specialised.recordings, tmp_path / "m", options)


def test_a_pruned_student_learns_gently() -> None:
    grown, pruned = Options(student="grown"), Options(student="pruned")
    assert pruned.rates[0] < grown.rates[0] / 5
    assert replace(pruned, learning_rate=0.1).rates == (0.1, 0.1)
    assert replace(grown, learning_rate=0.1).rates == pytest.approx((0.1, 0.01))


@pytest.mark.parametrize("change", [{"shard_size": 63}, {"n_shards": 0}, {"passes": 0}])
def test_a_training_without_a_step_is_refused(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least one shard, of at least 64 crops"):
        run(tmp_path, tmp_path / "m", replace(Options(), **change))


def test_what_is_judged_by_must_not_be_learnt_from(machines: Path, tmp_path: Path) -> None:
    options = Options(test=(str(machines / "shift 1"),))
    with pytest.raises(InputError, match=r"1\.wav is to be learnt from and judged by; keep"):
        run(machines, tmp_path / "m", options)
    assert list(tmp_path.iterdir()) == []


def test_by_default_nano_is_widened_where_it_fits() -> None:
    kinds = [Options(budget_bytes=size).kind for size in (20_000, 30_000, 64_000, 500_000)]
    assert kinds == ["grown", "grown", "widened", "widened"]
    assert Options(front_end="logmel/128/16k").kind == "grown"
    assert Options(student="pruned", budget_bytes=20_000).kind == "pruned"
    nano = registry.find("sea/32/nano").front_end
    assert specialize._front_end(Options()) == nano
    with pytest.raises(InputError, match="a widened student keeps the front end"):
        specialize._front_end(Options(student="widened", front_end="logmel/128/16k"))
    student = specialize._start(Options(emb_dim=8), Path(), False)(torch.zeros(1, 1, 64, 49))
    assert student(torch.zeros(1, 1, *nano.input_shape)).shape == (1, 8)


def test_a_widened_student_is_whole_too(machines: Path, tmp_path: Path) -> None:
    options = Options(
        teachers=("logmel/128/16k",), n_shards=1, shard_size=64, passes=1, int8_shards=1, workers=0
    )
    assert options.kind == "widened"
    names = files_of(run(machines, tmp_path / "own", options))
    assert {"model.tflite", "c/src/listen_model.c", "README.md"} <= names


def test_without_keep_nothing_but_the_model_is_left(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "m.work" / "1", tmp_path / "m.work" / "2"
    for folder in (ours, theirs):
        folder.mkdir(parents=True)
        (folder / "a").write_text("x")
    specialize._clean(ours)
    assert list(tmp_path.rglob("a")) == [theirs / "a"]
    specialize._clean(theirs)
    assert list(tmp_path.iterdir()) == []


def test_the_timetable_names_the_stages_to_come(
    machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = Options(
        teachers=("logmel/128/16k",), budget_bytes=40_000, n_shards=2, shard_size=64,
        sampling="diversity", sparsity=0.5,
    )  # fmt: skip
    table = specialize._timetable(options, corpus.find_recordings([machines]), 5, tmp_path)
    assert list(table.expected) == [
        "decoding", "choosing", "distillation", "retraining", "int8", "conversion", "verdict",
    ]  # fmt: skip
    assert all(seconds > 0 for seconds in table.expected.values())
    assert "7 stages, about" in capsys.readouterr().err


def test_the_verdict_is_in_report_and_card(specialised: Any) -> None:
    verdict = json.loads((specialised.folder / "report.json").read_text())["verdict"]
    assert verdict["heard"] is True
    assert verdict["scores"].keys() == {
        "own model", "sea/64/general", "sea/32/nano", "logmel/128/16k",
    }  # fmt: skip
    card = (specialised.folder / "README.md").read_text(encoding="utf-8")
    assert f"**{verdict['sentence']}**" in card
    assert "| cosine to the teacher | 0." in card


def test_front_ends_must_have_log_mels(specialised: Any, tmp_path: Path) -> None:
    options = replace(specialised.options, front_end="teacher/1024/yamnet")
    with pytest.raises(InputError, match="no log-mel front end; choose another"):
        run(specialised.recordings, tmp_path / "m", options)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_that_is_taken_stays_as_it_was(machines: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "thesis"
    file = out / "chapter1.tex" if kind == "folder" else out
    file.parent.mkdir(exist_ok=True)
    file.write_text("It was a dark and stormy night")
    with pytest.raises(InputError, match="thesis exists and is no model folder"):
        run(machines, out, Options())
    assert file.read_text() == "It was a dark and stormy night"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("torch", "litert-torch"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "9"

    lines = ["numpy>=1", "torch>=2.6; extra == 'training'", "litert-torch; extra == 'training'"]
    lines += ["matplotlib>=3.8; extra == 'training'", "paho-mqtt>=2.1; extra == 'monitor'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(MissingExtraError) as caught:
        importlib.reload(listen_embed.training)
    assert str(caught.value) == (
        "listen_embed.training needs torch, litert-torch, not installed here. "
        'Install with: pip install "listen-embed[training]"'
    )


def test_every_option_is_documented() -> None:
    for field in fields(Options):
        assert field.name in (Options.__doc__ or "")


def test_a_student_that_streams_needs_its_budget_and_its_front_end(tmp_path: Path) -> None:
    options = Options(student="streaming", budget_bytes=250_000)
    specialize._check_budget(options, tmp_path)
    with pytest.raises(InputError, match="takes 248000"):
        specialize._check_budget(replace(options, budget_bytes=64_000), tmp_path)
    with pytest.raises(InputError, match="neither sparsity nor another front end"):
        specialize._check_budget(replace(options, front_end="sea/32/nano"), tmp_path)
    plan = specialize._plan("x", options, tmp_path, False)
    assert plan.stepping is not None
    assert plan.heard.n_steps == plan.stepping.window
