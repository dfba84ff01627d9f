"""The method head: which way is taken, and that held-out clips taught nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed.classify import head, scores
from listen_embed.classify.labelled import LabelledClip, LabelledClips


def set_of(n: int, is_multi: bool = False) -> LabelledClips:
    clips = [LabelledClip(Path(f"{i}.wav"), ("abc"[i % 3],), group=str(i // 2)) for i in range(n)]
    return LabelledClips(tuple(clips), ("a", "b", "c"), is_multi)


def frames_of(labelled: LabelledClips, rng: np.random.Generator, spread: float) -> head.Frames:
    places = 2 * rng.normal(size=(3, 10))
    clip = np.repeat(np.arange(len(labelled)), 3)
    values = places[labelled.targets.argmax(1)][clip] + spread * rng.normal(size=(len(clip), 10))
    return head.Frames(values.astype(np.float32), clip)


@pytest.mark.parametrize("way", ["nearest mean", "ridge"])
def test_both_ways_learn(way: head.Way, rng: np.random.Generator) -> None:
    labelled = set_of(60)
    found = head.held_out(frames_of(labelled, rng, 1.0), labelled, way)
    assert scores.accuracy(labelled.targets, found) > 0.9
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("way", ["nearest mean", "ridge"])
def test_held_out_clips_taught_nothing(way: head.Way, rng: np.random.Generator) -> None:
    labelled = set_of(60)
    nothing = frames_of(labelled, rng, 1.0)
    nothing = head.Frames(rng.normal(size=nothing.values.shape).astype(np.float32), nothing.clip)
    found = head.held_out(nothing, labelled, way)
    assert scores.accuracy(labelled.targets, found) < 0.55


def test_few_clips_and_several_labels_leave_one_way() -> None:
    assert head.ways_for(set_of(12)) == ("nearest mean",)
    assert head.ways_for(set_of(60)) == ("nearest mean", "ridge")
    assert head.ways_for(set_of(12, is_multi=True)) == ("ridge",)


def test_means_are_those_of_a_clips_frames() -> None:
    frames = head.Frames(np.float32([[1, 2], [3, 4], [5, 6]]), np.array([0, 0, 2]))
    assert frames.means(3).tolist() == [[2, 3], [0, 0], [5, 6]]
    assert frames.of(np.array([2])).values.tolist() == [[5, 6]]
