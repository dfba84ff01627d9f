"""The commands as a person types them: collect, adapt, run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .world import finished, monitor, sound, write_wav

RATE = 16000


def test_collect_adapt_run(tmp_path: Path) -> None:
    for number, state in enumerate(("off", "low", "high")):
        wav = write_wav(
            tmp_path / f"{state}.wav", sound((state, 8.0), rate=RATE, seed=number), RATE
        )
        said = finished(
            monitor(
                "collect",
                "--label",
                state,
                "--seconds",
                7,
                "--from",
                wav,
                "--out",
                tmp_path / "clips",
            )
        )
        assert "7.00 s" in said
    said = finished(
        monitor(
            "adapt",
            tmp_path / "clips",
            "--out",
            tmp_path / "machine.npz",
            "--model",
            "logmel/128/16k",
            "--hop",
            0.25,
        )
    )
    assert "macro-F1 1.0000" in said
    assert "true\\given" in said
    assert (tmp_path / "machine.svg").read_text().startswith("<svg")
    shift = write_wav(
        tmp_path / "shift.wav", sound(("off", 4.0), ("low", 5.0), ("high", 4.0), rate=RATE), RATE
    )
    lines = finished(
        monitor(
            "run",
            "--head",
            tmp_path / "machine.npz",
            "--from",
            shift,
            "--journal",
            tmp_path / "j.sqlite",
            "--jsonl",
            "-",
        )
    )
    events = [json.loads(line) for line in lines.splitlines()]
    assert [e["state"] for e in events if e["kind"] == "state"] == ["off", "low", "high"]
    assert [e["what"] for e in events if e["kind"] == "source"] == ["started", "ended"]


def test_a_model_that_streams_tells_states_and_alarms(tmp_path: Path) -> None:
    for number in range(6):
        for state in ("off", "low"):
            folder = tmp_path / "clips" / state
            folder.mkdir(parents=True, exist_ok=True)
            heard = sound((state, 6.0), rate=RATE, seed=number)
            write_wav(folder / f"{number}.wav", heard, RATE)
    machine = tmp_path / "machine.npz"
    said = finished(
        monitor("adapt", tmp_path / "clips", "--out", machine, "--model", "sea/64/stream")
    )
    assert "embeddings of sea/64/stream" in said
    shift = sound(("off", 8.0), ("low", 10.0), ("high", 6.0), ("low", 12.0), rate=RATE, seed=9)
    story = write_wav(tmp_path / "shift.wav", shift, RATE)
    watched = ("run", "--head", machine, "--from", story, "--journal", tmp_path / "j.sqlite")
    lines = finished(monitor(*watched, "--jsonl", "-"))
    events = [json.loads(line) for line in lines.splitlines()]
    assert [e["state"] for e in events if e["kind"] == "state"][:2] == ["off", "low"]
    alarms = [(e["what"], e["time_s"]) for e in events if e["kind"] == "anomaly"]
    assert [what for what, _ in alarms] == ["begins", "ends"]
    assert 18 < alarms[0][1] < 21 and 24 < alarms[1][1] < 32
    process = monitor(*watched, "--hop", 0.25)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "0.1 s" in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("run", "--head", "none.npz", "--from", "x.wav"), "none.npz"),
        (("adapt", "nowhere"), "no such folder"),
        (("collect", "--label", "a", "--from", "nowhere.wav"), "no such file"),
        (("collect", "--label", "a", "--from", "stdin:", "--seconds", "0"), "--seconds"),
    ],
)
def test_mistakes_are_one_line_and_exit_1(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    process = monitor(*arguments)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert complaint in error
    assert "Traceback" not in error
