"""What is wrong with the sound itself is seen, said once, and said to be over."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from listen_embed.monitor.journal import Journal
from listen_embed.monitor.pipeline import Pipeline, Rhythm
from listen_embed.monitor.profile import Level, Profile
from listen_embed.monitor.sources import Notice

from ..world import RATE, RULES, Blocks, ToneMachine, cut, listen, sound, told, tone_ear

LOW = sound(("low", 20.0))
STATES = ("low", "high", "off")


class Learnt(ToneMachine):
    profile = Profile(rate=RATE, levels={"low": Level(-14.0, -13.0)})


def health(
    tmp_path: Path, samples: NDArray[np.float32], rate: int = RATE
) -> list[tuple[str, bool, int]]:
    """Return what is said of the sound's health: what, whether it is so, the second."""
    book = Journal(tmp_path / "j.sqlite")
    source = Blocks(*cut(samples, 800, rate=rate), Notice("ended"))
    Pipeline(tone_ear(), Learnt(), RULES, book, source, rhythm=Rhythm(1.0, 1.0)).run(
        threading.Event()
    )
    book.close()
    said = [(dict(d), at) for _, kind, at, d in told(tmp_path / "j.sqlite") if kind == "health"]
    return [(data["what"], data["on"], round(at / rate)) for data, at in said]


def test_good_sound_is_no_news(tmp_path: Path) -> None:
    assert health(tmp_path, LOW) == []


def test_a_dead_microphone(tmp_path: Path) -> None:
    samples = np.concatenate([LOW[: 5 * RATE], np.zeros(6 * RATE, np.float32), LOW[: 6 * RATE]])
    assert health(tmp_path, samples) == [("silent", True, 7), ("silent", False, 13)]


def test_clipping(tmp_path: Path) -> None:
    loud = np.clip(8 * LOW[: 6 * RATE], -1, 1)
    found = health(tmp_path, np.concatenate([LOW[: 5 * RATE], loud, LOW[: 4 * RATE]]))
    assert [row for row in found if row[0] == "clipping"] == [
        ("clipping", True, 6),
        ("clipping", False, 12),
    ]


@pytest.mark.parametrize(("gains", "what"), [((1.0, 0.1), "too quiet"), ((0.1, 1.0), "too loud")])
def test_a_level_20_db_off(
    tmp_path: Path, gains: tuple[float, float], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = -13.5 + 20 * float(np.log10(gains[0]))
    levels = dict.fromkeys(STATES, Level(learnt - 0.5, learnt + 0.5))
    monkeypatch.setattr(Learnt, "profile", Profile(rate=RATE, levels=levels))
    found = health(tmp_path, np.concatenate([gains[0] * LOW, gains[1] * LOW]))
    assert [row[:2] for row in found] == [(what, True)]
    assert 29 <= found[0][2] <= 39


def test_a_rate_below_the_one_learnt_at(tmp_path: Path) -> None:
    assert health(tmp_path, sound(("low", 3.0), rate=4000), 4000)[0] == ("low rate", True, 0)


def test_being_killed_changes_nothing(tmp_path: Path) -> None:
    """What is counted so far is part of the checkpoint."""
    samples = np.concatenate([LOW[: 5 * RATE], np.zeros(6 * RATE, np.float32), LOW[: 6 * RATE]])
    whole = Blocks(*cut(samples, 800), Notice("ended"))
    listen(whole, tmp_path / "whole.sqlite")
    for n_blocks in (55, 62, 100):
        listen(Blocks(*cut(samples, 800)[:n_blocks]), tmp_path / "torn.sqlite")
    listen(Blocks(*cut(samples, 800), Notice("ended")), tmp_path / "torn.sqlite")
    assert told(tmp_path / "torn.sqlite") == told(tmp_path / "whole.sqlite")
