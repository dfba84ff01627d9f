"""Teaching while watching: ten seconds learnt fast, judged with at once, saved, taken back."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from listen_embed.errors import InputError
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.run import make_embedder
from listen_embed.monitor.teaching import Teacher

from .world import sound

RATE = 16000
NEW = np.random.default_rng(5).normal(0, 0.1, 10 * RATE).astype(np.float32)


@pytest.fixture
def taught(tmp_path: Path, machine_file: Path) -> tuple[Teacher, list[Machine]]:
    path, told = tmp_path / "m.npz", []
    path.write_bytes(machine_file.read_bytes())
    machine = Machine.load(path)
    return Teacher(machine, path, lambda hop_s: make_embedder(machine, hop_s), told.append), told


def test_ten_seconds_are_learnt_within_two(taught: tuple[Teacher, list[Machine]]) -> None:
    teacher, told = taught
    embed = make_embedder(teacher.machine, 0.25).embed
    before = teacher.machine.judge(embed(NEW, RATE)[0][8])
    assert before.score > 1
    begun = time.process_time()
    lesson = teacher.teach("noise", NEW, RATE)
    assert time.process_time() - begun < 2.0
    assert (lesson.label, lesson.seconds) == ("noise", 10.0)
    after = told[-1].judge(embed(NEW, RATE)[0][8])
    assert (after.label, after.score < 1) == ("noise", True)
    first, drawn = teacher._before[-1].profile.embedding_map, told[-1].profile.embedding_map
    assert (first.axes, first.mean) == (drawn.axes, drawn.mean)  # the past stays where it was
    assert set(drawn.places) == {*first.places, "noise"}
    assert told[-1].states == ["high", "low", "off", "noise"]  # and so do the colours
    low = told[-1].judge(embed(sound(("low", 2.0), rate=RATE, seed=50), RATE)[0][2])
    assert low.label == "low"


def test_it_is_saved_and_can_be_taken_back(taught: tuple[Teacher, list[Machine]]) -> None:
    teacher, told = taught
    first = teacher.machine
    teacher.teach("noise", NEW, RATE)
    teacher.teach("more", NEW[::-1].copy(), RATE)
    assert "more" in Machine.load(teacher._path).classifier.labels
    teacher.undo()
    assert Machine.load(teacher._path).classifier.labels == ("high", "low", "noise", "off")
    assert teacher.undo() is first
    assert told[-1] is first
    assert not teacher.can_undo
    with pytest.raises(InputError, match="nothing was learnt"):
        teacher.undo()


@pytest.mark.parametrize("label", ["", "../x", "unknown"])
def test_wrong_labels_are_refused(taught: tuple[Teacher, list[Machine]], label: str) -> None:
    with pytest.raises(InputError, match="label"):
        taught[0].teach(label, NEW, RATE)


def test_too_little_sound_is_refused(taught: tuple[Teacher, list[Machine]]) -> None:
    with pytest.raises(InputError, match="give 1 s or more"):
        taught[0].teach("noise", NEW[: RATE // 2], RATE)


def test_a_machine_without_examples_cannot_be_taught(
    taught: tuple[Teacher, list[Machine]],
) -> None:
    teacher = taught[0]
    bare = Machine(teacher.machine.classifier, teacher.machine.anomaly)
    with pytest.raises(InputError, match="make it anew"):
        Teacher(bare, teacher._path, lambda hop_s: None, print).teach("noise", NEW, RATE)
