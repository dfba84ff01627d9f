"""What was known before corrections: kept in order, and nothing else taken for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed.errors import HeadError
from listen_embed.heads import OnlineClassifier
from listen_embed.monitor.undoing import Past


def head(n_samples: int) -> OnlineClassifier:
    return OnlineClassifier().learn(np.eye(4)[np.arange(n_samples) % 4], ["a"] * n_samples)


def test_the_past_is_what_was_given_less(tmp_path: Path) -> None:
    path = tmp_path / "m.learnt.npz"
    past = Past(path, 0)
    assert not past
    for count in (3, 5, 9):
        past.keep(head(count))
    others = {"m.learnt.before-x.npz", "n.learnt.before-3.npz"}
    for name in others:
        (tmp_path / name).touch()
    again = Past(path, 9)  # of nine samples itself: the third is no past of it
    assert again.last().count == 5
    again.gone_back(head(5))
    assert again.last().count == 3
    again.gone_back(head(3))
    assert not again
    assert {one.name for one in tmp_path.iterdir()} == others


def test_a_new_head_has_no_past(tmp_path: Path) -> None:
    path = tmp_path / "m.learnt.npz"
    Past(path, 0).keep(head(3))
    assert not Past(path, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_past_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.learnt.before-3.npz").write_bytes(b"no head")
    with pytest.raises(HeadError, match="before-3"):
        Past(tmp_path / "m.learnt.npz", 9).last()
