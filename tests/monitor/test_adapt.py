"""Learning a machine from clips: what counts as an example, and honest cross-validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.monitor.adapt import adapt, cross_validate, find_clips
from listen_embed.monitor.examples import Examples, embed_clips
from listen_embed.monitor.machine import Machine

from .world import sound, write_wav

RATE = 16000


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder("logmel/128/16k", hop_size=0.25, center=False, threads=1)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    for number, state in enumerate(("off", "low", "high")):
        (folder / state).mkdir(parents=True)
        write_wav(folder / state / "a.wav", sound((state, 9.0), rate=RATE, seed=number), RATE)
    (folder / "notes.txt").write_text("not a clip")
    (folder / ".hidden").mkdir()
    (folder / "unknown").mkdir()
    return folder


def made(rows: np.ndarray, labels: list[str], stretches: np.ndarray) -> Examples:
    """Return examples of one recording a stretch."""
    levels = np.full(len(rows), -30.0, np.float32)
    return Examples(rows, labels, stretches, stretches, levels, 0.5, 1.0, RATE)


def test_three_states_are_learnt_from_nine_seconds_each(clips: Path, embedder: Embedder) -> None:
    adapted = adapt(clips, embedder)
    assert adapted.confusion.macro_f1 == 1.0
    assert adapted.n_clips == 3
    assert adapted.machine.classifier.labels == ("high", "low", "off")
    assert (adapted.machine.model, adapted.machine.digest) == (embedder.spec.name, embedder.digest)
    fresh = sound(("high", 2.0), rate=RATE, seed=99)
    judgement = adapted.machine.judge(embedder.embed(fresh, RATE)[0][0])
    assert judgement.label == "high"
    assert judgement.score < 1
    strange = np.random.default_rng(0).normal(0, 0.3, 2 * RATE).astype(np.float32)
    assert adapted.machine.judge(embedder.embed(strange, RATE)[0][0]).score > 1


def test_the_machine_survives_the_disk(clips: Path, embedder: Embedder, tmp_path: Path) -> None:
    machine = adapt(clips, embedder).machine
    machine.save(tmp_path / "m.npz")
    row = embedder.embed(sound(("low", 2.0), rate=RATE), RATE)[0][0]
    assert Machine.load(tmp_path / "m.npz").judge(row) == machine.judge(row)


def test_only_whole_frames_count_but_one_at_least(tmp_path: Path, embedder: Embedder) -> None:
    frame_s = embedder.spec.front_end.frame_samples / RATE
    seconds = (0.3, frame_s, frame_s + 0.25, frame_s + 0.49)
    clips = []
    for number, length in enumerate(seconds):
        path = tmp_path / f"{number}.wav"
        clips.append(("low", write_wav(path, sound(("low", length), rate=RATE), RATE)))
    examples, bad = embed_clips(clips, embedder)
    assert bad == []
    counts = np.bincount(examples.stretches)
    assert counts.tolist() == [1, 1, 2, 2]


def test_neighbouring_frames_are_held_out_together() -> None:
    labels = ["a"] * 40 + ["b"] * 30
    stretches = np.concatenate([np.repeat(np.arange(8), 5), 8 + np.repeat(np.arange(6), 5)])
    folds = made(np.zeros((70, 2), np.float32), labels, stretches).folds()
    for stretch in range(14):
        assert len(set(folds[stretches == stretch])) == 1
    assert set(folds[:40]) == set(folds[40:]) == set(range(5))


def test_a_label_with_one_stretch_is_honestly_never_right() -> None:
    """It is only ever held out, so nobody can have learnt it."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(c, 0.1, (20, 3)) for c in (0, 5, 10)]).astype(np.float32)
    labels = ["a"] * 20 + ["b"] * 20 + ["once"] * 20
    stretches = np.concatenate([np.arange(20), 20 + np.arange(20), np.full(20, 40)])
    given = cross_validate(made(rows, labels, stretches), 0.0)
    assert given[:40] == labels[:40]
    assert "once" not in given[40:]


def test_folders_without_two_labels_are_refused(clips: Path, tmp_path: Path) -> None:
    assert sorted({label for label, _ in find_clips(clips)}) == ["high", "low", "off"]
    with pytest.raises(InputError, match="no such folder"):
        find_clips(tmp_path / "none")
    with pytest.raises(InputError, match="fewer than two labels"):
        find_clips(clips / "low")


def test_a_bad_clip_is_named_and_left_out(clips: Path, embedder: Embedder) -> None:
    (clips / "low" / "broken.wav").write_bytes(b"RIFF....")
    adapted = adapt(clips, embedder)
    assert adapted.n_clips == 3
    assert any("left out" in said and "broken.wav" in said for said in adapted.warnings)
    for clip in (clips / "off").glob("*.wav"):
        clip.write_bytes(b"")
    for clip in (clips / "high").glob("*.wav"):
        clip.write_bytes(b"")
    with pytest.raises(InputError, match="fewer than two labels have clips"):
        adapt(clips, embedder)


def test_a_label_with_one_clip_and_too_little_sound_are_warned_of(
    clips: Path, embedder: Embedder
) -> None:
    said = "\n".join(adapt(clips, embedder).warnings)
    assert "low has 1 recording" in said
    assert "minutes of normal sound were held out" in said


def test_what_is_learnt_can_be_added_to(clips: Path, embedder: Embedder, tmp_path: Path) -> None:
    machine = adapt(clips, embedder).machine
    machine.save(tmp_path / "m.npz")
    back = Machine.load(tmp_path / "m.npz").examples
    assert back is not None
    more = embed_clips([("new", clips / "low" / "a.wav")], embedder)[0]
    both = back + more
    assert both.labels == [*machine.examples.labels, *["new"] * len(more)]
    assert len(np.unique(both.recordings)) == 4
