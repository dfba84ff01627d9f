"""Stages and what they take: announced before, and counted down while they run."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed.training import timetable
from listen_embed.training.timetable import Timetable, in_words

Captured = pytest.CaptureFixture[str]
STAGES = {"decoding": 30.0, "distillation": 1800.0, "conversion": 60.0}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 s"), (40.4, "40 s"), (89, "89 s"), (120, "2 min"), (3600, "60 min"), (9000, "2.5 h")],
)
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_all_stages_are_announced(capsys: Captured) -> None:
    Timetable(STAGES).announce()
    assert capsys.readouterr().err.splitlines() == [
        "3 stages, about 32 min in all:",
        "  1 decoding, about 30 s",
        "  2 distillation, about 30 min",
        "  3 conversion, about 60 s",
    ]


def test_what_is_left_counts_the_stages_to_come(capsys: Captured) -> None:
    table = Timetable(STAGES)
    timetable.begin(table, "distillation")
    assert capsys.readouterr().err == "2 of 3: distillation; about 31 min left in all\n"
    assert table.after("distillation") == 60
    assert table.after("conversion") == 0
    assert table.after("something else") == 0
    timetable.begin(True, "distillation")
    assert capsys.readouterr().err == ""


def test_a_bar_tells_what_is_left_of_all_stages() -> None:
    shown = io.StringIO()
    with timetable.bar(Timetable(STAGES), "distillation", total=4, unit="shard", file=shown) as bar:
        assert bar.format_dict["left_in_all"] == "?"
        bar.start_t -= 100
        bar.update(2)
        assert bar.format_dict["left_in_all"] == "3 min"  # 100 s of its own, and a minute
    assert "distillation:" in shown.getvalue() and "left in all" in shown.getvalue()


def test_a_resumed_bar_counts_what_it_did_itself() -> None:
    table = Timetable(STAGES)
    with timetable.bar(
        table, "conversion", total=10, initial=8, unit="x", file=io.StringIO()
    ) as bar:
        bar.start_t -= 50
        bar.update(1)
        assert bar.format_dict["left_in_all"] == "50 s"


@pytest.mark.parametrize("shown", [True, False])
def test_without_a_timetable_a_bar_is_shown_or_not(shown: bool) -> None:
    written = io.StringIO()
    with timetable.bar(shown, "decoding", total=1, unit="file", file=written) as bar:
        bar.update()
    assert ("decoding" in written.getvalue()) == shown
