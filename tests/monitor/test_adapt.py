"""Learning a machine from clips: what counts as an example, and honest cross-validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.monitor.adapt import Examples, adapt, cross_validate, embed_clips, find_clips
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


def test_three_states_are_learnt_from_nine_seconds_each(clips: Path, embedder: Embedder) -> None:
    adapted = adapt(clips, embedder)
    assert adapted.confusion.macro_f1 == 1.0
    assert adapted.n_clips == 3
    assert adapted.machine.classifier.labels == ("high", "low", "off")
    assert (adapted.machine.model, adapted.machine.digest) == (embedder.spec.name, embedder.digest)
    fresh = sound(("high", 2.0), rate=RATE, seed=99)
    judgement = adapted.machine.judge(embedder.embed(fresh, RATE)[0][0])
    assert judgement.label == "high"
    assert judgement.score < 3
    strange = np.random.default_rng(0).normal(0, 0.3, 2 * RATE).astype(np.float32)
    assert adapted.machine.judge(embedder.embed(strange, RATE)[0][0]).score > 3


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
    examples = embed_clips(clips, embedder)
    counts = np.bincount(examples.stretches)
    assert counts.tolist() == [1, 1, 2, 2]


def test_neighbouring_frames_are_held_out_together() -> None:
    labels = ["a"] * 40 + ["b"] * 30
    stretches = np.concatenate([np.repeat(np.arange(8), 5), 8 + np.repeat(np.arange(6), 5)])
    folds = Examples(np.zeros((70, 2), np.float32), labels, stretches).folds()
    for stretch in range(14):
        assert len(set(folds[stretches == stretch])) == 1
    assert set(folds[:40]) == set(folds[40:]) == set(range(5))


def test_a_label_with_one_stretch_is_honestly_never_right() -> None:
    """It is only ever held out, so nobody can have learnt it."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(c, 0.1, (20, 3)) for c in (0, 5, 10)]).astype(np.float32)
    labels = ["a"] * 20 + ["b"] * 20 + ["once"] * 20
    stretches = np.concatenate([np.arange(20), 20 + np.arange(20), np.full(20, 40)])
    given = cross_validate(Examples(rows, labels, stretches), 0.0)
    assert given[:40] == labels[:40]
    assert "once" not in given[40:]


def test_folders_without_two_labels_are_refused(clips: Path, tmp_path: Path) -> None:
    assert sorted({label for label, _ in find_clips(clips)}) == ["high", "low", "off"]
    with pytest.raises(InputError, match="no such folder"):
        find_clips(tmp_path / "none")
    with pytest.raises(InputError, match="fewer than two labels"):
        find_clips(clips / "low")
