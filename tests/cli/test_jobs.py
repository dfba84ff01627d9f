"""Which files an argument names, where results go, and what stands in their way."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from listen_embed import Embedder
from listen_embed.cli import jobs
from listen_embed.cli.jobs import NOWHERE, Destination, Job, destination, make_plan
from listen_embed.errors import InputError, OutputError
from listen_embed.output import FORMATS

from ..program import touch, write_sound

# ---- destinations ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_known_suffix_is_a_file(here: Path, suffix: str) -> None:
    typed = destination(f"x/emb.{suffix}", FORMATS)
    assert typed == Destination(file=Path(f"x/emb.{suffix}"), suffix=suffix)
    assert destination(f"emb.{suffix.upper()}", FORMATS).suffix == suffix


@pytest.mark.parametrize("typed", ["results", "results/", "v1.2/", "there.npy", "."])
def test_folders(here: Path, typed: str) -> None:
    Path("there.npy").mkdir()
    assert destination(typed, FORMATS) == Destination(folder=Path(typed), suffix="npz")
    assert destination(typed, FORMATS, "csv").suffix == "csv"


@pytest.mark.parametrize(
    ("typed", "format", "why"),
    [
        (
            "emb.txt",
            None,
            r"known are \.npz, \.npy, \.csv, \.parquet; a folder is written emb.txt/",
        ),
        ("emb.npy", "csv", "contradict"),
        ("taken", None, "exists and is not a folder"),
        ("/dev/null", None, "exists and is not a folder"),
    ],
)
def test_destinations_that_make_no_sense(
    here: Path, typed: str, format: str | None, why: str
) -> None:
    touch("taken")
    with pytest.raises(InputError, match=why):
        destination(typed, FORMATS, format)


# ---- plans -----------------------------------------------------------------------------------


def test_a_folders_results_keep_its_subfolders(here: Path) -> None:
    touch("r/a.wav", "r/x/a.wav", "r/b.c.wav")
    plan = make_plan(["r"], destination("out", FORMATS, "csv"), destination("pics", ["png"]))
    assert [(str(job.target), str(job.picture), job.format) for job in plan.jobs] == [
        ("out/a.csv", "pics/a.png", "csv"),
        ("out/b.c.csv", "pics/b.c.png", "csv"),
        ("out/x/a.csv", "pics/x/a.png", "csv"),
    ]
    assert not plan.failures


def test_bad_arguments_do_not_stop_good_ones(here: Path) -> None:
    touch("a.wav", "b.wav")
    plan = make_plan(["nope.wav", "a.wav", "no*", "b.wav"], destination("out/", FORMATS))
    assert [job.name for job in plan.jobs] == ["a.wav", "b.wav"]
    assert [name for name, _ in plan.failures] == ["nope.wav", "no*"]


def test_a_file_named_twice_is_done_once(here: Path) -> None:
    touch("r/a.wav")
    plan = make_plan(["r/a.wav", "r", "r/*.wav"], destination("out/", FORMATS))
    assert [job.name for job in plan.jobs] == ["r/a.wav"]


def test_results_never_replace_each_other(here: Path) -> None:
    touch("x/a.wav", "y/a.wav", "z/a.wav")
    plan = make_plan(["x/a.wav", "y/a.wav", "z/a.wav"], destination("out/", FORMATS))
    assert [job.name for job in plan.jobs] == ["x/a.wav"]
    assert [name for name, _ in plan.failures] == ["y/a.wav", "z/a.wav"]
    for _, error in plan.failures:
        assert "out/a.npz would replace that of x/a.wav" in str(error)


def test_suffixes_that_tell_sounds_apart_stay(here: Path) -> None:
    touch("r/a.wav", "r/a.flac", "r/b.c.wav", "r/x/a.wav", "r/b.wav")
    plan = make_plan(["r"], destination("out", FORMATS, "csv"), destination("pics", ["png"]))
    assert [str(job.target) for job in plan.jobs] == [
        "out/a.flac.csv",
        "out/a.wav.csv",
        "out/b.c.csv",
        "out/b.csv",
        "out/x/a.csv",
    ]
    assert str(plan.jobs[1].picture) == "pics/a.wav.png"
    assert not plan.failures


def test_a_result_never_replaces_its_sound(here: Path) -> None:
    touch("sound.npy")
    plan = make_plan(["sound.npy"], destination("sound.npy", FORMATS))
    assert not plan.jobs
    assert "would replace the sound itself" in str(plan.failures[0][1])


def test_several_sounds_do_not_go_into_one_file(here: Path) -> None:
    touch("a.wav", "b.wav")
    single = destination("x.npy", FORMATS)
    for out, picture in (
        (single, NOWHERE),
        (NOWHERE, destination("x.png", ["png"])),
        (Destination(to_stdout=True, suffix="csv"), NOWHERE),
    ):
        with pytest.raises(InputError, match="2 sound files cannot go into one file"):
            make_plan(["a.wav", "b.wav"], out, picture)
    assert len(make_plan(["a.wav", "nope.wav"], single).jobs) == 1


def test_what_exists_in_a_folder_is_refused_replaced_or_kept(here: Path) -> None:
    touch("a.wav", "b.wav", "out/a.npz")
    out = destination("out", FORMATS)
    refused = make_plan(["a.wav", "b.wav"], out)
    assert [job.name for job in refused.jobs] == ["b.wav"]
    assert isinstance(refused.failures[0][1], OutputError)
    assert "--force" in str(refused.failures[0][1])
    replaced = make_plan(["a.wav", "b.wav"], out, on_existing="replace")
    assert len(replaced.jobs) == 2
    kept = make_plan(["a.wav", "b.wav"], out, on_existing="keep")
    assert [job.name for job in kept.jobs] == ["b.wav"]
    assert kept.n_kept == 1
    assert not kept.failures


def test_a_file_that_was_named_is_replaced_unless_kept(here: Path) -> None:
    touch("a.wav", "emb.npy")
    out = destination("emb.npy", FORMATS)
    assert len(make_plan(["a.wav"], out).jobs) == 1
    assert make_plan(["a.wav"], out, on_existing="keep").n_kept == 1


def test_a_missing_picture_is_reason_enough(here: Path) -> None:
    touch("a.wav", "out/a.npz")
    out, picture = destination("out", FORMATS), destination("pics/", ["png"])
    assert len(make_plan(["a.wav"], out, picture, on_existing="keep").jobs) == 1
    touch("pics/a.png")
    assert not make_plan(["a.wav"], out, picture, on_existing="keep").jobs


def test_standard_input_has_a_name(here: Path) -> None:
    touch("somewhere", "-")
    plan = make_plan(["-"], destination("out/", FORMATS), stdin=Path("somewhere"))
    assert [(job.name, str(job.source), str(job.target)) for job in plan.jobs] == [
        ("stdin", "somewhere", "out/stdin.npz")
    ]
    assert make_plan(["./-"], destination("out/", FORMATS)).jobs[0].source == Path("-")


# ---- work ------------------------------------------------------------------------------------


def test_work_writes_what_the_embedder_gives(here: Path) -> None:
    source = write_sound(here / "a.wav")
    embedder = Embedder("logmel", 128)
    job = Job(source=source, name="a", target=here / "a.npz", picture=here / "a.png")
    reached: list[float] = []
    n_frames = jobs.work_on(embedder, job, reached.append)
    embedding, timestamps = embedder.embed_file(source)
    assert n_frames == len(embedding)
    assert reached[-1] == timestamps[-1]
    with np.load(here / "a.npz") as made:
        np.testing.assert_array_equal(made["embedding"], embedding)
        np.testing.assert_array_equal(made["timestamps"], timestamps)
        assert str(made["model"]) == "logmel/128/16k"
        assert str(made["digest"]) == embedder.digest
    assert (here / "a.png").read_bytes().startswith(b"\x89PNG")


def test_work_without_a_target_only_counts(here: Path) -> None:
    job = Job(source=write_sound(here / "a.wav"), name="a")
    assert jobs.work_on(Embedder("logmel", 128), job, lambda _: None) == 16
    assert os.listdir(here) == ["a.wav"]


def test_a_full_standard_output_is_an_error_of_ours(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(source=write_sound(here / "a.wav"), name="a", to_stdout=True, format="csv")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError, match="standard output: cannot be written"):
            jobs.work_on(Embedder("logmel", 128), job, lambda _: None)
        monkeypatch.undo()
        # What is left in the buffer must not be tried again.
        full.buffer.raw.close()  # type: ignore[attr-defined]


def test_a_reader_who_has_gone_is_no_error_of_ours(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError

    job = Job(source=write_sound(here / "a.wav"), name="a", to_stdout=True, format="csv")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(Gone()))
        with pytest.raises(BrokenPipeError):
            jobs.work_on(Embedder("logmel", 128), job, lambda _: None)
