"""Log-mel statistics beside a classifier: of the same clips, in both ways of holding out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from listen_embed.classify import baseline
from listen_embed.classify.labelled import LabelledClips, read_labelled
from listen_embed.classify.options import Options
from listen_embed.classify.parts import parts_of
from listen_embed.classify.report import Measured

from .sounds import KINDS, sound, table, write


def asked(labelled: LabelledClips, rows: np.ndarray) -> Measured:
    """Return a report of a classifier that knows nothing."""
    targets = labelled.targets[rows]
    names = tuple(str(labelled.clips[i]) for i in rows)
    found = np.full(targets.shape, 0.5, np.float32)
    return Measured(labelled.labels, names, targets, found, labelled.is_multi, "")


@pytest.mark.parametrize("method", ["head", "finetune"])
@pytest.mark.parametrize("source", ["labelled_folder", "labelled_table"])
def test_it_answers_for_the_clips_that_were_asked(
    source: str, method: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(source)
    labelled = read_labelled(path)
    rows = parts_of(labelled, 3).measure if method != "head" else np.arange(len(labelled))
    options = Options(method=method, seed=3)  # type: ignore[arg-type]
    measured = baseline.beside(asked(labelled, rows), labelled, options, progress=False)
    assert measured.log_mel is not None and measured.log_mel.shape == measured.targets.shape
    figures = measured.figures()
    assert figures["log_mel"]["mean_average_precision"] > 0.9  # such sounds are told by their bands
    assert figures["mean_average_precision"] < 0.9


@pytest.mark.parametrize("method", ["head", "lean"])
def test_two_given_folds_are_enough(method: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for i in range(10):
        for kind in KINDS:
            path = write(tmp_path / f"{kind}{i}.wav", sound(kind, i, 0.5))
            rows.append({"path": path.name, "label": kind, "fold": i % 2})
    labelled = read_labelled(table(tmp_path / "labels.csv", rows))
    options = Options(method=method)  # type: ignore[arg-type]
    rows_asked = np.arange(30) if method == "head" else parts_of(labelled).measure
    measured = baseline.beside(asked(labelled, rows_asked), labelled, options, progress=False)
    assert measured.figures()["log_mel"]["accuracy"] > 0.9
