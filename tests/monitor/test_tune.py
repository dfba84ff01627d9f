"""Hearing sound again: alarms are counted as the monitor would raise them."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from listen_embed.monitor.debounce import DebounceRules
from listen_embed.monitor.sources import open_source
from listen_embed.monitor.tune import hear_again, outcome, outcomes

from .world import (
    RATE,
    Blocks,
    ToneMachine,
    cut,
    finished,
    kinds,
    listen,
    monitor,
    sound,
    tone_ear,
    write_wav,
)

LOUD = np.concatenate([sound(("low", 3.0)), 3 * sound(("low", 2.0)), sound(("low", 3.0))])


def test_alarms_are_those_of_the_pipeline(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", np.clip(LOUD, -1, 1))
    machine, stop = ToneMachine(), threading.Event()
    scores = list(hear_again(open_source(str(wav)), machine, tone_ear(), stop))
    listen(Blocks(*cut(np.clip(LOUD, -1, 1), RATE)), tmp_path / "j.sqlite")
    found = outcome(scores, DebounceRules(5, 0.4), 0.1)
    assert found.n_alarms == kinds(tmp_path / "j.sqlite").count("anomaly:begins") == 1
    assert found.hours == pytest.approx(len(scores) / 36000)
    assert 0.1 < found.alarm_share < 0.5


def test_a_higher_threshold_never_alarms_more() -> None:
    scores = np.random.default_rng(0).exponential(size=3000).tolist()
    found = outcomes(scores, DebounceRules(5, 1.0), 0.1, [0.2, 1.0, 2.0, 9.0])
    shares = [each.alarm_share for each in found]
    assert shares == sorted(shares, reverse=True)
    assert found[-1].n_alarms == 0
    assert found[1].per_hour == found[1].n_alarms / found[1].hours


def test_the_command_shows_a_table(tmp_path: Path, machine_file: Path) -> None:
    samples = np.random.default_rng(1).normal(0, 0.2, 5 * 16000).astype(np.float32)
    story = np.concatenate([sound(("low", 5.0), rate=16000), samples])
    wav = write_wav(tmp_path / "day.wav", story, 16000)
    lines = finished(monitor("tune", "--head", machine_file, "--from", wav)).splitlines()
    assert lines[0].split() == ["threshold", "alarms", "alarms/h", "in", "alarm", "expected/h"]
    row = next(line.split() for line in lines if line.split()[0] == "1.00")
    assert row[1] == "1"
    assert lines[-1] == "0.00 h were heard"
