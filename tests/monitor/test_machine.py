"""A machine's heads: judged, saved, and refused when something is missing."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from listen_embed import heads
from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly, Classifier
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.profile import NO_PROFILE, Profile

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


def test_the_score_is_one_at_the_limit(machine: Machine) -> None:
    row = np.full(6, 7.0, np.float32)
    limit = float(machine.anomaly.score(row[None])[0])
    limited = replace(machine, profile=Profile(limit=limit))
    assert limited.judge(row).score == pytest.approx(1.0)
    assert (limited.threshold, machine.threshold) == (1.0, 3.0)


def test_a_file_of_heads_alone_is_a_machine_and_ours_a_file_of_heads(
    machine: Machine, tmp_path: Path
) -> None:
    heads.save(tmp_path / "h.npz", classifier=machine.classifier, anomaly=machine.anomaly)
    assert Machine.load(tmp_path / "h.npz").profile == NO_PROFILE
    machine.save(tmp_path / "m.npz")
    assert heads.load(tmp_path / "m.npz").classifier is not None


def test_a_damaged_profile_is_refused(machine: Machine, tmp_path: Path) -> None:
    machine.save(tmp_path / "m.npz")
    with zipfile.ZipFile(tmp_path / "m.npz") as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    parts["profile.npy"] = parts["profile.npy"].replace(b"l\0\0\0i\0\0\0m", b"l\0\0\0a\0\0\0m")
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(HeadError, match=r"profile is damaged.*adapt again"):
        Machine.load(tmp_path / "bad.npz")
