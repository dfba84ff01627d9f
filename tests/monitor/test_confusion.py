"""Confusion: counts and scores against scikit-learn, and a picture that is well-formed."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from listen_embed.monitor.confusion import Confusion

TRUE = list("aaabbbccdd") * 3
GIVEN = list("aabbbcccda") * 2 + list("aaabbb") + ["c", "unknown", "d", "d"]


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    confusion = Confusion.of(TRUE, GIVEN)
    expected = metrics.precision_recall_fscore_support(
        TRUE, GIVEN, labels=list("abcd"), zero_division=0
    )
    np.testing.assert_allclose(confusion.scores().T, np.array(expected[:3]))
    macro = metrics.f1_score(TRUE, GIVEN, labels=list("abcd"), average="macro", zero_division=0)
    assert confusion.macro_f1 == pytest.approx(macro)
    assert confusion.accuracy == pytest.approx(metrics.accuracy_score(TRUE, GIVEN))


def test_unknown_is_a_column_of_its_own() -> None:
    confusion = Confusion.of(TRUE, GIVEN)
    assert confusion.labels == tuple("abcd")
    assert confusion.columns == (*"abcd", "unknown")
    assert confusion.counts.sum() == 30


def test_text_and_markdown_name_every_label() -> None:
    confusion = Confusion.of(TRUE, GIVEN)
    assert f"macro-F1 {confusion.macro_f1:.4f}" in confusion.text()
    assert confusion.markdown().count("\n") == 6


def test_the_picture_is_well_formed_whatever_the_labels() -> None:
    root = ElementTree.fromstring(Confusion.of(["<a&b>", "c"], ["c", "c"]).svg('"<t>"'))
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<a&b>" in texts
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == 1 + 2 * 2
