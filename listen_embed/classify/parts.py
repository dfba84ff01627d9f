"""What is learned from, what choices are made by, what is measured on: groups stay whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listen_embed.classify.labelled import LabelledClips
from listen_embed.errors import InputError

Rows = NDArray[np.intp]
_HELD_OUT = 0.15  # of the clips: twice, to choose by and to measure on


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows of a labelled set.

    Attributes
    ----------
    learn, choose, measure : ndarray, intp
        Trained on; when to stop and the thresholds are chosen by; seen by the report alone.
    how : str
        How they were made, in words.
    """

    learn: Rows
    choose: Rows
    measure: Rows
    how: str


def parts_of(labelled: LabelledClips, seed: int = 0) -> Parts:
    """Return a set's parts: by its splits, else by its folds, else drawn.

    The last fold is measured on, and the one before it chosen by. Drawn are whole groups, a label
    after the other, rare ones first, so that every part hears every label where that can be.

    Raises
    ------
    InputError
        There is nothing to learn from, or it lacks a label.
    """
    splits = np.array([clip.split for clip in labelled.clips])
    folds = np.array([clip.fold for clip in labelled.clips])
    if np.isin(["train", "test"], splits).all():
        parts = _by_names(labelled, splits, "test", "valid", "the splits as given", seed)
    elif len(np.unique(folds[folds != ""])) >= 2:
        names = sorted(np.unique(folds[folds != ""]), key=lambda name: (len(name), name))
        choose = names[-2] if len(names) > 2 else ""
        how = f"fold {names[-1]} measured" + (f", fold {choose} chosen by" if choose else "")
        parts = _by_names(labelled, folds, names[-1], choose, how, seed)
    else:
        everything = np.arange(len(labelled))
        rest, measure = drawn(labelled, everything, _HELD_OUT, seed)
        learn, choose = drawn(labelled, rest, _HELD_OUT, seed + 1)
        parts = Parts(learn, choose, measure, f"groups drawn with seed {seed}")
    _check(labelled, parts)
    return parts


def _by_names(
    labelled: LabelledClips, names: NDArray[np.str_], measure: str, choose: str, how: str, seed: int
) -> Parts:
    part = np.where(names == measure, 2, np.where((names == choose) & (names != ""), 1, 0))
    part = _whole_groups(labelled.groups, part)
    learn, chosen, measured = (np.flatnonzero(part == i) for i in range(3))
    if not len(chosen):
        learn, chosen = drawn(labelled, learn, _HELD_OUT, seed)
    return Parts(learn, chosen, measured, how)


def _whole_groups(groups: Rows, part: Rows) -> Rows:
    """Return parts in which a group that straddles them is learned from, all of it."""
    low = np.full(groups.max() + 1, 2)
    np.minimum.at(low, groups, part)
    high = np.zeros(groups.max() + 1, np.intp)
    np.maximum.at(high, groups, part)
    return np.where(low[groups] == high[groups], part, 0)


def drawn(labelled: LabelledClips, rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Return rows without, and those of, a share of each label's clips in whole groups."""
    rng = np.random.default_rng(seed)
    targets, groups = labelled.targets[rows], labelled.groups[rows]
    taken = np.zeros(len(rows), bool)
    for label in np.argsort(targets.sum(0)):
        with_label = np.unique(groups[targets[:, label] > 0])
        wanted = max(1, round(share * targets[:, label].sum()))
        for group in rng.permutation(with_label):
            if len(with_label) < 2 or (taken & (targets[:, label] > 0)).sum() >= wanted:
                break
            if _leaves_every_label(targets, taken | (groups == group)):
                taken |= groups == group
    return rows[~taken], rows[taken]


def _leaves_every_label(targets: NDArray[np.float32], taken: NDArray[np.bool_]) -> bool:
    return bool((targets[~taken].sum(0) >= np.minimum(1, targets.sum(0))).all())


def folds_of(labelled: LabelledClips, n_folds: int, seed: int = 0) -> Rows:
    """Return a fold for each clip: the given ones, or drawn, labels evenly and groups whole."""
    given = [clip.fold for clip in labelled.clips]
    names = sorted(set(given))
    if "" not in names and len(names) > 1:
        return _whole_folds(labelled.groups, np.array([names.index(name) for name in given]))
    return drawn_folds(labelled, n_folds, seed)


def drawn_folds(labelled: LabelledClips, n_folds: int, seed: int = 0) -> Rows:
    """Return a fold for each clip, whatever was given: labels evenly and groups whole."""
    rng = np.random.default_rng(seed)
    groups, targets = labelled.groups, labelled.targets
    fold_of_group = np.full(groups.max() + 1, -1)
    counts = np.zeros((n_folds, targets.shape[1]))
    order = rng.permutation(groups.max() + 1)
    rarity = np.array([targets.sum(0)[targets[groups == g].sum(0) > 0].min(initial=len(groups))
                       for g in order])  # fmt: skip
    for group in order[np.argsort(rarity, kind="stable")]:
        inside = targets[groups == group].sum(0)
        crowded = (counts * (inside > 0)).sum(1) + 1e-3 * counts.sum(1)
        fold_of_group[group] = int(crowded.argmin())
        counts[fold_of_group[group]] += inside
    return fold_of_group[groups]


def _whole_folds(groups: Rows, folds: Rows) -> Rows:
    """Return folds in which a group has one: that of its first clip."""
    _, first = np.unique(groups, return_index=True)
    return folds[first][groups]


def _check(labelled: LabelledClips, parts: Parts) -> None:
    for name, rows in (("learn from", parts.learn), ("measure on", parts.measure)):
        if not len(rows):
            raise InputError(f"there are no clips to {name} ({parts.how}); give more groups")
    n_learned = labelled.targets[parts.learn].sum(0)
    if missing := [label for label, n in zip(labelled.labels, n_learned, strict=True) if not n]:
        raise InputError(
            f"no clip to learn from has: {', '.join(missing)} ({parts.how}). Give such clips to "
            "the training part, or leave these labels out"
        )
