"""Reports: figures, words that stay in their places, and pictures of odd labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from listen_embed.classify.report import Measured

LABELS = ("a|b", "$x$", "<i>")


@pytest.fixture
def measured() -> Measured:
    targets = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    found = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0, 1, 0], [0.5, 0.1, 0.4]], np.float32)
    names = ("0.wav", "1.wav", "2.wav", "3.wav")
    plain = np.eye(3, dtype=np.float32)[[0, 0, 1, 0]]
    return Measured(LABELS, names, targets, found, False, "held out", plain)


def test_the_surest_mistakes_come_first(measured: Measured) -> None:
    worst = measured.worst()
    assert [(w["clip"], w["given"]) for w in worst] == [("1.wav", "$x$"), ("3.wav", "a|b")]
    assert worst[0]["true"] == ["a|b"] and worst[0]["probability"] == 0.7
    assert measured.pairs() == [(1, "a|b", "$x$"), (1, "<i>", "a|b")]


def test_words_stay_in_their_table(measured: Measured) -> None:
    words = measured.in_words()
    assert "accuracy 0.500 (log-mel statistics: 0.750)" in words and "held out" in words
    assert "needs no network" in words
    assert measured.in_short().startswith("accuracy 0.500 (log-mel statistics: 0.750) on 4 clips")
    assert "| a\\|b | 2 | 0.833 |" in words and "<i>" not in words


@pytest.mark.filterwarnings("ignore:Glyph")
def test_files_are_written(measured: Measured, tmp_path: Path) -> None:
    measured.write(tmp_path, [{"epoch": 1, "loss": 0.5, "score": 0.4}])
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["log_mel"]["accuracy"] == 0.75
    assert facts["accuracy"] == 0.5 and facts["history"][0]["loss"] == 0.5
    assert facts["average_precision"]["$x$"] == 1.0
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_a_label_that_was_not_measured_has_no_figure() -> None:
    targets = np.array([[1, 0], [1, 0]], np.float32)
    found = np.array([[0.8, 0.3], [0.4, 0.1]], np.float32)
    measured = Measured(("a", "b"), ("0", "1"), targets, found, True, "")
    figures = measured.figures()
    assert figures["log_mel"] is None and "log-mel" not in measured.in_words()
    assert measured.in_short().startswith("mean average precision 1.000 on 2 clips")
    assert figures["average_precision"] == {"a": 1.0, "b": None} and figures["accuracy"] is None
