"""Training: it learns, stops, goes on, and weighs classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from listen_embed.classify import fit
from listen_embed.classify.layer import Kind
from listen_embed.errors import InputError


class Toy:
    """Points whose class is a direction."""

    def __init__(self, kind: Kind) -> None:
        rng = np.random.default_rng(0)
        directions = rng.normal(size=(3, 8))
        if kind == "softmax":
            self.targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 300)]
        else:
            self.targets = (rng.random((300, 3)) < 0.4).astype(np.float32)
        points = self.targets @ directions + 0.3 * rng.normal(size=(300, 8))
        self.points = torch.from_numpy(points.astype(np.float32))

    def steps(self, epoch: int, batch: int) -> Sequence[Any]:
        order = np.random.default_rng(epoch).permutation(200)
        return np.array_split(order, 200 // batch)

    def lesson(self, step: Any) -> tuple[tuple[torch.Tensor | None, ...], torch.Tensor]:
        return (self.points[step],), torch.from_numpy(self.targets[step])

    @torch.no_grad()
    def judge(self, network: torch.nn.Module) -> tuple[Any, Any]:
        return self.targets[200:], network(self.points[200:]).numpy()


SETTINGS = fit.Settings(epochs=8, batch=20, learning_rate=0.05)


def run(kind: Kind, folder: Path | None = None, settings: fit.Settings = SETTINGS) -> fit.Result:
    toy = Toy(kind)
    torch.manual_seed(0)
    return fit.fit(
        torch.nn.Linear(8, 3), toy, toy.judge, kind, settings, folder,
        weights=fit.class_weights(toy.targets), progress=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_it_learns(kind: Kind) -> None:
    result = run(kind)
    assert max(row["score"] for row in result.history) > 0.95
    assert not result.network.training


def test_a_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = run("softmax").network.state_dict()
    toy = Toy("softmax")
    calls = []

    def judge(network: torch.nn.Module) -> tuple[Any, Any]:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return toy.judge(network)

    weights = fit.class_weights(toy.targets)
    torch.manual_seed(0)
    network = torch.nn.Linear(8, 3)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(network, toy, judge, "softmax", SETTINGS, tmp_path, weights=weights, progress=False)
    again = run("softmax", tmp_path)
    assert len(again.history) == 8
    for name, values in again.network.state_dict().items():
        torch.testing.assert_close(values, whole[name])


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    run("softmax", tmp_path, replace(SETTINGS, epochs=1))
    with pytest.raises(InputError, match="other settings"):
        run("softmax", tmp_path)


def test_it_ends_without_gains_and_gives_the_best() -> None:
    toy = Toy("softmax")
    scores = iter([0.2, 0.9, 0.3, 0.3, 0.3, 0.3])

    def judge(network: torch.nn.Module) -> tuple[Any, Any]:
        right = next(scores)
        given = np.where(np.arange(100)[:, None] < 100 * right, toy.targets[200:], 0) * 9
        return toy.targets[200:], given.astype(np.float32)

    settings = replace(SETTINGS, patience=3, epochs=20)
    result = fit.fit(torch.nn.Linear(8, 3), toy, judge, "softmax", settings, progress=False)
    assert len(result.history) == 5
    assert result.history[1]["score"] == max(row["score"] for row in result.history)


def test_rare_classes_weigh_more() -> None:
    weights = fit.class_weights(np.repeat(np.eye(2, dtype=np.float32), [90, 10], axis=0))
    assert weights[1] / weights[0] == pytest.approx(3) and weights.mean() == pytest.approx(1)
