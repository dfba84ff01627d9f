"""Corrections: learnt at once, journalled, taken back."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import HeadError, InputError
from listen_embed.heads import OnlineClassifier
from listen_embed.monitor.broker import Connection, parse
from listen_embed.monitor.config import MonitorConfig, make_config
from listen_embed.monitor.correcting import Corrector
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.run import make_embedder, run

from .world import Broker, eventually, monitor, sound, write_wav

RATE = 16000
NEW = np.random.default_rng(5).normal(0, 0.1, 10 * RATE).astype(np.float32)
Made = tuple[Corrector, list[Any], Path]


@pytest.fixture
def made(tmp_path: Path, machine_file: Path) -> Made:
    path, told = tmp_path / "m.npz", []
    path.write_bytes(machine_file.read_bytes())
    machine = Machine.load(path)
    return Corrector(machine, path, lambda *given: told.append(given)), told, path


def heard(corrector: Corrector) -> Any:
    """Let a corrector hear ten seconds of noise; return the embeddings."""
    rows = make_embedder(corrector.machine, 0.1).embed(NEW, RATE)[0]
    for number, row in enumerate(rows):
        corrector.hear(row, 1000 + number / 10)
    return rows


def test_a_correction_is_learnt_within_50_ms_and_taken_back(made: Made) -> None:
    corrector, told, path = made
    rows = heard(corrector)
    low = make_embedder(corrector.machine, 0.25).embed(
        sound(("low", 2.0), rate=RATE, seed=50), RATE
    )
    assert corrector.machine.judge(low[0][2]).label == "low"
    begun = time.process_time()
    lesson = corrector.correct("milling", 1002, 1005)
    assert time.process_time() - begun < 0.05
    assert (lesson.label, lesson.seconds) == ("milling", 3)
    machine, said = told[-1]
    assert machine.judge(rows[70]).label == "milling"  # also where it was not corrected
    assert machine.judge(low[0][2]).label == "low"
    assert said == {"what": "corrected", "label": "milling", "rows": 31}
    assert machine.states == ["high", "low", "off", "milling"]
    saved = OnlineClassifier.load(path.with_name("m.learnt.npz"))
    assert saved.predict_one(rows[70]) == "milling"
    corrector.undo()
    assert told[-1][0].judge(rows[70]).label != "milling"
    assert told[-1][1]["what"] == "correction undone" and not corrector.can_undo
    with pytest.raises(InputError, match="nothing was corrected"):
        corrector.undo()


def test_what_was_learnt_is_there_after_a_start(made: Made) -> None:
    corrector, _, path = made
    rows = heard(corrector)
    corrector.correct("milling", 1002, 1005)
    again = Corrector(Machine.load(path), path, print)
    assert again.machine.judge(rows[70]).label == "milling"


def test_corrections_are_taken_back_one_by_one_after_a_start(made: Made) -> None:
    corrector, _, path = made
    rows = heard(corrector)
    begun = corrector.machine.online.predict_proba(rows)
    corrector.correct("milling", 1002, 1005)
    once = corrector.machine.online.predict_proba(rows)
    corrector.correct("sawing", 1006, 1008)
    again = Corrector(Machine.load(path), path, print)
    for expected in (once, begun):
        assert again.can_undo
        again.undo()
        assert np.array_equal(again.machine.online.predict_proba(rows), expected)
        again = Corrector(Machine.load(path), path, print)
    assert not again.can_undo
    assert list(path.parent.glob("*.before-*")) == []


def test_a_kill_between_two_files_leaves_no_past_that_was_none(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrector, _, path = made
    heard(corrector)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for n_lessons in range(2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(corrector, "_take", killed)  # the past is kept, the lesson is not
            corrector.correct("milling", 1002, 1005)
        corrector = Corrector(Machine.load(path), path, print)
        heard(corrector)
        assert corrector.can_undo == (n_lessons > 0)
        corrector.correct("milling", 1002, 1005)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(corrector._past, "gone_back", killed)
        corrector.undo()
    corrector = Corrector(Machine.load(path), path, print)
    corrector.undo()
    assert not corrector.can_undo


def test_a_deleted_file_takes_its_past_along(made: Made) -> None:
    corrector, _, path = made
    heard(corrector)
    corrector.correct("milling", 1002, 1005)
    corrector.correct("milling", 1002, 1005)
    path.with_name("m.learnt.npz").unlink()
    again = Corrector(Machine.load(path), path, print)
    assert not again.can_undo and "milling" not in again.machine.states


def test_twenty_corrections_are_kept_and_a_damaged_one_is_named(made: Made) -> None:
    corrector, _, path = made
    heard(corrector)
    for _ in range(22):
        corrector.correct("milling", 1002, 1002.1)
    kept = sorted(path.parent.glob("m.learnt.before-*.npz"), key=lambda one: len(one.name))
    assert len(kept) == 20
    for one in kept:
        one.write_bytes(b"no head")
    states = corrector.machine.states
    assert "m.learnt.before-" in str(corrector.answer(b'{"undo": true}')["error"])
    assert corrector.machine.states == states


def test_the_machines_own_file_stays_as_it_was(made: Made) -> None:
    corrector, _, path = made
    before = path.read_bytes()
    heard(corrector)
    corrector.correct("milling", 1002, 1005)
    assert path.read_bytes() == before


def test_corrections_that_cannot_be_learnt_are_refused(made: Made) -> None:
    corrector, told, path = made
    heard(corrector)
    for label, since, until, why in (
        ("unknown", 1000, 1001, "label 'unknown'"),
        ("a/b", 1000, 1001, "label 'a/b'"),
        ("milling", 2000, 2001, "nothing that was heard from 2000.0 to 2001.0 is remembered"),
        ("milling", 1005, 1002, "nothing that was heard"),
    ):
        with pytest.raises(InputError, match=why):
            corrector.correct(label, since, until)
    assert not told and not path.with_name("m.learnt.npz").exists()


def test_what_another_model_learnt_is_refused(made: Made) -> None:
    _, _, path = made
    OnlineClassifier().learn_one(np.zeros(3), "a").save(path.with_name("m.learnt.npz"))
    with pytest.raises(HeadError, match="was learnt with another model"):
        Corrector(Machine.load(path), path, print)


def test_a_machine_that_does_not_say_what_it_was_taught_is_refused(made: Made) -> None:
    machine = Machine.load(made[2])
    with pytest.raises(InputError, match="does not hold what it was taught"):
        Corrector(Machine(machine.classifier, machine.anomaly), made[2], print)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"{", "no JSON"), (b"[" * 9999, "no JSON"), (b"\xff", "no JSON"), (b"3", "JSON object"),
        (b"{}", "label ''"), (b'{"label": "a", "since": "x"}', "since is 'x'; give a number"),
        (b'{"label": "a", "until": NaN}', "until is nan"), (b'{"undo": true}', "nothing was"),
        (b'{"label": "a", "seconds": true}', "seconds is True"),
    ],
)  # fmt: skip
def test_messages_that_are_not_understood(message: bytes, said: str, made: Made) -> None:
    assert said in str(made[0].answer(message)["error"])


def test_corrections_over_mqtt(broker: Broker, made: Made, tmp_path: Path) -> None:
    _, _, path = made
    write_wav(tmp_path / "long.wav", np.tile(NEW, 12), RATE)
    stop, answers = threading.Event(), []
    config = MonitorConfig(
        str(path), f"{tmp_path}/long.wav?pace=1", str(tmp_path / "j.sqlite"),
        mqtt=[f"{broker.url}/m"], learn=True, drain_s=2,
    )  # fmt: skip
    watching = threading.Thread(target=run, args=(config, stop))
    watching.start()
    other = Connection(parse(f"{broker.url}/m"), lambda client: client.subscribe("m/corrected", 1))
    other.client.on_message = lambda c, d, message: answers.append(json.loads(message.payload))
    other.open()
    other.wait_up()

    def answered(what: dict[str, Any]) -> bool:
        other.client.publish("m/correct", json.dumps(what), 1).wait_for_publish(5)
        time.sleep(0.5)
        return bool(answers) and "error" not in answers[-1]

    eventually(lambda: (tmp_path / "j.sqlite").exists(), 20)
    eventually(lambda: answered({"label": "milling", "seconds": 3600}), 30)
    assert answers[-1]["label"] == "milling"
    eventually(lambda: answered({"undo": True}) and answers[-1] == {"undone": True})
    time.sleep(0.5)
    stop.set()
    watching.join(30)
    other.close()
    journal = Journal(config.journal)
    said = [e.event.data for e in journal.events(0, 1e12, 100) if e.event.kind == "machine"]
    journal.close()
    assert [one["what"] for one in said][:2] == ["corrected", "correction undone"]
    assert said[0]["label"] == "milling"


def test_a_correction_is_taken_back_after_a_kill(
    broker: Broker, made: Made, tmp_path: Path
) -> None:
    _, _, path = made
    write_wav(tmp_path / "long.wav", np.tile(NEW, 12), RATE)
    other = Connection(parse(f"{broker.url}/m"), lambda client: client.subscribe("m/corrected", 1))
    answers: list[Any] = []
    other.client.on_message = lambda c, d, message: answers.append(json.loads(message.payload))
    other.open()
    other.wait_up()

    def start() -> Any:
        return monitor(
            "run", "--learn", "--head", path, "--from", f"{tmp_path}/long.wav?pace=1",
            "--journal", tmp_path / "j.sqlite", "--mqtt", f"{broker.url}/m",
        )  # fmt: skip

    def answered(what: dict[str, Any], said: str) -> bool:
        other.client.publish("m/correct", json.dumps(what), 1).wait_for_publish(5)
        time.sleep(0.3)
        return bool(answers) and said in answers[-1]

    watching = start()
    eventually(lambda: answered({"label": "milling", "seconds": 3600}, "took_ms"), 60)
    watching.kill()
    watching.communicate()
    answers.clear()
    watching = start()
    eventually(lambda: answered({"undo": True}, "error"), 60)  # asked twice, it learnt twice
    assert {"undone": True} in answers
    watching.kill()
    watching.communicate()
    other.close()
    labels = OnlineClassifier.load(path.with_name("m.learnt.npz")).labels
    assert sorted(labels) == ["high", "low", "off"]


def test_a_config_may_say_learn() -> None:
    assert make_config({"head": "a", "source": "b", "learn": True}).learn
    with pytest.raises(InputError, match="learn is 1; give true or false"):
        make_config({"head": "a", "source": "b", "learn": 1})
