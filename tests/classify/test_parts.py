"""Parts: whole groups, every label, and what is given before what is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from listen_embed.classify.labelled import LabelledClip, LabelledClips
from listen_embed.classify.parts import folds_of, parts_of
from listen_embed.errors import InputError


def clips_of(n: int, **facts: object) -> LabelledClips:
    clips = [LabelledClip(Path(f"{i}.wav"), ("ab"[i % 2],), group=f"g{i // 4}") for i in range(n)]
    clips = [replace(c, **{k: v(i) for k, v in facts.items()}) for i, c in enumerate(clips)]  # type: ignore[operator]
    return LabelledClips(tuple(clips), ("a", "b"), False)


def test_drawn_parts_keep_groups_whole_and_hear_every_label() -> None:
    labelled = clips_of(80)
    parts = parts_of(labelled)
    rows = [parts.learn, parts.choose, parts.measure]
    assert sorted(np.concatenate(rows)) == list(range(80))
    groups = [set(labelled.groups[part]) for part in rows]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert all((labelled.targets[part].sum(0) > 0).all() for part in rows)
    assert len(parts.measure) in range(8, 17)


def test_parts_are_the_same_again_and_others_with_another_seed() -> None:
    labelled = clips_of(80)
    first, again, other = parts_of(labelled), parts_of(labelled), parts_of(labelled, 7)
    assert first.measure.tolist() == again.measure.tolist() != other.measure.tolist()


def test_given_splits_and_folds_are_kept() -> None:
    by_split = parts_of(clips_of(40, split=lambda i: ("train", "valid", "test")[(i // 4) % 3]))
    assert set(by_split.measure // 4 % 3) == {2} and set(by_split.choose // 4 % 3) == {1}
    by_fold = parts_of(clips_of(40, fold=lambda i: str(1 + (i // 4) % 5)))
    assert set(by_fold.measure // 4 % 5) == {4} and set(by_fold.choose // 4 % 5) == {3}
    assert by_fold.how == "fold 5 measured, fold 4 chosen by"


def test_a_group_that_straddles_folds_is_learned_from_whole() -> None:
    labelled = clips_of(
        40, fold=lambda i: str(1 + i % 3), group=lambda i: "leak" if i < 9 else f"g{i}"
    )
    parts = parts_of(labelled)
    assert set(range(9)) <= set(parts.learn.tolist())


def test_a_label_only_to_be_measured_is_refused() -> None:
    labelled = clips_of(20, split=lambda i: "test" if i % 2 else "train", group=str)
    with pytest.raises(InputError, match="no clip to learn from has: b"):
        parts_of(labelled)


def test_folds_are_even_and_whole() -> None:
    labelled = clips_of(80)
    folds = folds_of(labelled, 5)
    assert np.bincount(folds).tolist() == [16] * 5
    for group in np.unique(labelled.groups):
        assert len(set(folds[labelled.groups == group])) == 1
