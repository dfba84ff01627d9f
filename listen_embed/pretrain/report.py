"""Pictures of a pretraining run: its losses, its probe, and what it imagines behind the masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed.output import replacing
from listen_embed.pretrain.run import Row

Array = NDArray[np.float32]

_N_CLIPS = 3


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has to show.

    Attributes
    ----------
    history : list of Row
    probe : list of (int, float)
        Steps, and the share of crops whose recording was known.
    statistics : float
        The same of log-mel statistics.
    heard, shown, painted : ndarray, float32 (n, F, T)
        Log-mels; NaN where patches were hidden; with what the encoder imagines there.
    """

    history: Sequence[Row]
    probe: Sequence[tuple[int, float]]
    statistics: float
    heard: Array
    shown: Array
    painted: Array

    def quality(self) -> str:
        """Return what the card says, Markdown."""
        if not self.probe:
            return "The recordings are too short to ask which of them a crop is from.\n"
        first, last = self.probe[0][1], self.probe[-1][1]
        return (
            f"Asked which recording a crop is from, by another crop of it: {last:.3f} right; "
            f"untrained {first:.3f}, log-mel statistics {self.statistics:.3f}. The recordings were "
            "heard in training. How good it is for your sounds only labels can tell.\n\n"
            "![losses, probe, hidden patches](report.png)\n"
        )


def write(folder: Path, report: Report) -> None:
    """Write ``report.json`` and ``report.png``."""
    content = {
        "history": [asdict(row) for row in report.history],
        "probe": list(report.probe),
        "log-mel statistics": report.statistics,
    }
    with replacing(folder / "report.json") as file:
        file.write(json.dumps(content, indent=1).encode())
    _draw(folder / "report.png", report)


def _draw(path: Path, report: Report) -> None:
    import matplotlib.pyplot as plt

    n = min(_N_CLIPS, len(report.heard))
    figure = plt.figure(figsize=(12, 3.2 + 1.6 * n), layout="constrained")
    rows = figure.add_gridspec(n + 1, 3, height_ratios=[2] + [1] * n)
    steps = [row.step for row in report.history]
    curves = {"loss": [row.loss for row in report.history]}
    for name in report.history[-1].parts if report.history else ():
        curves[name] = [row.parts[name] for row in report.history]
    axes = figure.add_subplot(rows[0, :2])
    for name, values in curves.items():
        axes.plot(steps, values, label=name)
    axes.set(title="training", xlabel="step", yscale="log")
    axes.legend()
    _draw_probe(figure.add_subplot(rows[0, 2]), report)
    titles = ("what sounded", "what the encoder saw", "what it imagined")
    for clip in range(n):
        for column, pictures in enumerate((report.heard, report.shown, report.painted)):
            axes = figure.add_subplot(rows[clip + 1, column])
            limits = report.heard[clip].min(), report.heard[clip].max()
            axes.imshow(
                pictures[clip], origin="lower", aspect="auto", vmin=limits[0], vmax=limits[1]
            )
            axes.set(title=titles[column] if not clip else "", xticks=[], yticks=[])
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
    plt.close(figure)


def _draw_probe(axes: object, report: Report) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    if report.probe:
        steps, scores = zip(*report.probe, strict=True)
        axes.plot(steps, scores, marker="o", label="this encoder")
        axes.axhline(report.statistics, linestyle="--", color="grey", label="log-mel statistics")
        axes.legend()
    axes.set(title="recording known by another crop", xlabel="step", ylim=(0, 1))
