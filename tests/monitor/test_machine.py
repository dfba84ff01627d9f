"""A machine's heads: judged, saved, and refused when something is missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from listen_embed import heads
from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly, Classifier
from listen_embed.monitor.machine import Machine

EMBEDDER = SimpleNamespace(spec=SimpleNamespace(name="logmel/128/16k"), digest="d" * 64)


@pytest.fixture
def machine(rng: np.random.Generator) -> Machine:
    centres = {"a": 0.0, "b": 5.0}
    rows = np.concatenate([rng.normal(c, 0.3, (40, 6)) for c in centres.values()]).astype(
        np.float32
    )
    labels = [label for label in centres for _ in range(40)]
    return Machine(
        Classifier(EMBEDDER, reject=0.05).learn(rows, labels),
        Anomaly(EMBEDDER, kind="knn").learn(rows),
    )


def test_known_sound_is_named_and_normal(machine: Machine) -> None:
    judgement = machine.judge(np.full(6, 5.0, np.float32))
    assert judgement.label == "b"
    assert judgement.probability > 0.9
    assert judgement.score < 3


def test_strange_sound_is_unknown_and_anomalous_up_to_a_finite_score(machine: Machine) -> None:
    judgement = machine.judge(np.full(6, 1e6, np.float32))
    assert judgement.label == "unknown"
    assert 0 <= judgement.probability <= 1
    assert judgement.score == 12


def test_scores_rise_with_strangeness(machine: Machine) -> None:
    scores = [machine.judge(np.full(6, 5.0 + d, np.float32)).score for d in (0, 0.5, 1, 2)]
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


def test_saved_and_loaded_judges_the_same(machine: Machine, tmp_path: Path) -> None:
    machine.save(tmp_path / "m.npz")
    back = Machine.load(tmp_path / "m.npz")
    assert (back.model, back.digest) == (EMBEDDER.spec.name, EMBEDDER.digest)
    for value in (0.0, 2.0, 5.1):
        row = np.full(6, value, np.float32)
        assert back.judge(row) == machine.judge(row)


def test_files_without_both_heads_are_refused(machine: Machine, tmp_path: Path) -> None:
    heads.save(tmp_path / "c.npz", classifier=machine.classifier)
    with pytest.raises(HeadError, match=r"lacks the anomaly head.*adapt"):
        Machine.load(tmp_path / "c.npz")
    heads.save(tmp_path / "a.npz", anomaly=machine.anomaly)
    with pytest.raises(HeadError, match="lacks the classifier"):
        Machine.load(tmp_path / "a.npz")
    with pytest.raises(HeadError):
        Machine.load(tmp_path / "none.npz")
