"""Whether a model pays: judged on recordings, beside others, in plain words."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed.errors import InputError
from listen_embed.training import verdict
from listen_embed.training.verdict import OWN, RIVAL, Known, Verdict, labels_of

from .sounds import noise, tone, write


def known(*pairs: tuple[str, str]) -> list[Known | None]:
    return [Known(label, recording) for label, recording in pairs]


# -- labels --------------------------------------------------------------------------------------


def test_folders_are_labels(tmp_path: Path) -> None:
    files = [tmp_path / "pump" / "a.wav", tmp_path / "fan" / "b.wav"]
    found = labels_of(files)
    assert [found[file].label for file in files] == ["pump", "fan"]
    assert found[files[0]].recording != found[files[1]].recording


def test_a_table_of_labels_is_read(tmp_path: Path) -> None:
    files = [tmp_path / "sounds" / f"{name}.wav" for name in "abc"]
    table = tmp_path / "labels.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "recording"])
        rows.writerow([files[0], "x", "first"])  # as it stands
        rows.writerow(["sounds/b.wav", "y", ""])  # relative to the table
        rows.writerow(["sounds/elsewhere.wav", "z", ""])
    assert labels_of(files, table) == {
        files[0]: Known("x", "first"), files[1]: Known("y", "sounds/b.wav"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na.wav,x\n", "columns path and label"),
        ("path,label\nother.wav,x\n", "names none of the 1 recordings"),
        ("path,label\n", "names none of the 1 recordings"),
        (b"\xff\xfe\x00", "cannot be read as labels"),
        (None, "cannot be read as labels"),
    ],
)
def test_tables_that_will_not_do(tmp_path: Path, content: Any, message: str) -> None:
    table = tmp_path / "labels.csv"
    if content is not None:
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        labels_of([tmp_path / "a.wav"], table)


def test_only_classes_of_two_recordings_are_judged_by() -> None:
    pairs = known(("a", "1"), ("a", "2"), ("b", "3"), ("b", "3"), ("c", "4"), ("c", "5"))
    assert verdict._usable([*pairs, None]) == [0, 1, 4, 5]  # b has one recording only
    assert verdict._usable(pairs[:4]) == []
    assert verdict._usable([]) == []


# -- measures ------------------------------------------------------------------------------------


def test_few_shot_accuracy_is_of_recordings_that_were_not_taught(rng: Any) -> None:
    labels = [label for label in "ab" for _ in range(40)]
    recordings = [f"{label}{i // 4}" for i, label in enumerate(labels)]  # four files of each
    facts = [Known(*pair) for pair in zip(labels, recordings, strict=True)]
    centres = {name: rng.standard_normal(8) for name in set(recordings)}
    # What a recording sounds like says nothing about its class, and would give it away.
    x = np.stack([centres[name] for name in recordings]) + 0.01 * rng.standard_normal((80, 8))
    assert verdict._few_shot(x, facts).mean() < 0.75
    telling = np.array([[label == "a", label == "b"] for label in labels], float)
    telling += 0.1 * rng.standard_normal(telling.shape)
    assert verdict._few_shot(telling, facts).mean() == 1
    assert len(verdict._few_shot(x, facts)) == verdict._DRAWS


def test_neighbours_agree_with_themselves_and_not_with_noise(rng: Any) -> None:
    x = rng.standard_normal((60, 6))
    assert verdict._agreement(x, x).mean() == 1
    turned = 3 * x @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
    assert verdict._agreement(turned, x).mean() == 1
    unlike = verdict._agreement(rng.standard_normal((60, 6)), x).mean()
    assert unlike == pytest.approx(5 / 59, abs=0.06)


@pytest.mark.parametrize(
    ("difference", "error", "sentence"),
    [
        (0.05, 0.01, "Your model is better than sea/64/general here."),
        (0.01, 0.02, "Your model is no better than sea/64/general here: the two are level."),
        (-0.05, 0.01, "Your model is no better than sea/64/general here: sea/64/general is ahead."),
    ],
)
def test_the_sentence_is_plain(difference: float, error: float, sentence: str) -> None:
    found = Verdict("accuracy", {OWN: 0.8}, difference, error, 40, heard=True)
    assert found.sentence == sentence
    assert found.basis == "accuracy, on 40 recordings that were heard in training, without labels"


def test_a_better_teacher_is_named() -> None:
    scores = {OWN: 0.7, RIVAL: 0.75, "sea/32/nano": 0.85, "logmel/128/16k": 0.9}
    untaught = (RIVAL, "sea/32/nano")
    found = Verdict("accuracy", scores, -0.05, 0.1, 40, heard=True, untaught=untaught)
    assert found.advice.endswith("add --teacher sea/32/nano.")
    assert replace(found, error=0.2).advice == ""  # which may be chance
    assert replace(found, untaught=()).advice == ""


# -- together ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return three tones and three noises, of two kinds in folders, and a broken file."""
    folder = tmp_path_factory.mktemp("asked")
    tones = [write(folder / "tone" / f"{i}.wav", tone(400 + 150 * i, 2)) for i in range(3)]
    noises = [write(folder / "noise" / f"{i}.wav", noise(2, seed=i)) for i in range(3)]
    broken = folder / "tone" / "broken.wav"
    broken.write_bytes(b"RIFF")
    return [*tones, *noises, broken]


def test_a_model_is_judged_beside_others(recordings: list[Path], specialised: Any) -> None:
    teachers = ("logmel/128/16k",)
    found = verdict.judge(
        specialised.folder, teachers, recordings, labels_of(recordings), progress=False
    )
    assert list(found.scores) == [OWN, RIVAL, "sea/32/nano", "logmel/128/16k"]
    assert "accuracy after up to 5 recordings" in found.measure
    assert found.n_recordings == 6
    assert found.untaught == (RIVAL, "sea/32/nano")
    assert found.scores["logmel/128/16k"] == 1
    assert found.difference == pytest.approx(found.scores[OWN] - found.scores[RIVAL])


def test_without_labels_the_teachers_neighbours_count(
    recordings: list[Path], specialised: Any
) -> None:
    found = verdict.judge(
        specialised.folder, ("logmel/128/16k",), recordings, {}, heard=False, progress=False
    )
    assert "the teacher finds too" in found.measure
    assert found.scores["logmel/128/16k"] == 1
    assert found.basis.endswith("6 recordings that were not trained on")
    assert found.advice == ""  # they are what it is held against


def test_of_many_recordings_some_are_taken_evenly() -> None:
    paths = [Path(str(i)) for i in range(10)]
    assert verdict._evenly(paths, 20) == paths
    assert [int(str(p)) for p in verdict._evenly(paths, 4)] == [0, 2, 5, 7]
