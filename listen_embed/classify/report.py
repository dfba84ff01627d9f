"""How good a classifier is on clips that taught it nothing: figures, words and a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.classify import scores

_WORST = 10
_MANY_CLASSES = 30
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers to clips, and the truth.

    Attributes
    ----------
    labels : tuple of str
    clips : tuple of str
        Names of the clips, rows of both arrays.
    targets, probabilities : ndarray, float32 (N, C)
    is_multi : bool
    how : str
        Which clips these are, in words.
    log_mel : ndarray, float32 (N, C), optional
        The same of a linear layer on log-mel statistics that learned from the same clips.
    """

    labels: tuple[str, ...]
    clips: tuple[str, ...]
    targets: Array
    probabilities: Array
    is_multi: bool
    how: str
    log_mel: Array | None = None

    def figures(self) -> dict[str, Any]:
        """Return everything that can be said in numbers, ready for JSON."""
        calibration = scores.reliability(self.targets, self.probabilities, self.is_multi)
        return {
            "clips": len(self.clips),
            "how": self.how,
            **self._main(self.probabilities),
            "log_mel": None if self.log_mel is None else self._main(self.log_mel),
            "calibration_error": calibration.error,
            "average_precision": dict(zip(self.labels, self._per_class(), strict=True)),
            "confusion": scores.confusion(self.targets, self.probabilities).astype(int).tolist(),
            "worst_confusions": self.worst(),
        }

    def _main(self, probabilities: Array) -> dict[str, float | None]:
        answers = self.targets, probabilities
        return {
            "accuracy": None if self.is_multi else scores.accuracy(*answers),
            "mean_average_precision": scores.mean_average_precision(*answers),
        }

    def in_short(self) -> str:
        """Return the figure that counts most, that of log-mel statistics beside it."""
        name = "mean average precision" if self.is_multi else "accuracy"
        return f"{name} {self._beside(name)} on {len(self.clips)} clips that taught it nothing"

    def _beside(self, name: str) -> str:
        key = name.replace(" ", "_")
        own = f"{self._main(self.probabilities)[key]:.3f}"
        if self.log_mel is None:
            return own
        return f"{own} (log-mel statistics: {self._main(self.log_mel)[key]:.3f})"

    def _per_class(self) -> list[float | None]:
        found = scores.per_class(self.targets, self.probabilities)
        return [None if np.isnan(value) else round(float(value), 4) for value in found]

    def worst(self) -> list[dict[str, Any]]:
        """Return the clips that were most surely taken for something else."""
        wrong = np.where(self.targets > 0, -1, self.probabilities)
        given, by = wrong.argmax(axis=1), wrong.max(axis=1)
        true = np.where(self.targets > 0, self.probabilities, np.inf).min(axis=1)
        is_wrong = np.flatnonzero((by > true) & (self.targets.sum(axis=1) > 0))
        order = is_wrong[np.argsort(-(by - true)[is_wrong], kind="stable")][:_WORST]
        return [
            {
                "clip": self.clips[i],
                "true": [self.labels[c] for c in np.flatnonzero(self.targets[i])],
                "given": self.labels[given[i]],
                "probability": round(float(by[i]), 4),
            }
            for i in order
        ]

    def pairs(self) -> list[tuple[int, str, str]]:
        """Return the labels taken for each other most often: (times, true, given)."""
        counts = scores.confusion(self.targets, self.probabilities).astype(int)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:_WORST]
        places = (np.unravel_index(i, counts.shape) for i in order)
        return [
            (int(counts[t, g]), self.labels[t], self.labels[g]) for t, g in places if counts[t, g]
        ]

    def in_words(self) -> str:
        """Return the figures as Markdown."""
        figures = self.figures()
        lines = [f"On {figures['clips']} clips that taught it nothing ({self.how}):", ""]
        if not self.is_multi:
            lines.append(f"- accuracy {self._beside('accuracy')}")
        lines += [
            f"- mean average precision {self._beside('mean average precision')}",
            f"- calibration error {figures['calibration_error']:.3f}",
            "",
            *self._on_log_mel(),
            "| label | clips | average precision |",
            "|---|---|---|",
            *self._rows(),
            "",
            "Most often taken for something else:",
            "",
            *(f"- {_cell(t)} for {_cell(g)}: {n}" for n, t, g in self.pairs()),
            "",
            "Worth listening to (surest mistakes):",
            "",
            *(
                f"- {_cell(w['clip'])}: {_cell(' and '.join(w['true']))}, taken for "
                f"{_cell(w['given'])} ({w['probability']:.2f})"
                for w in figures["worst_confusions"]
            ),
        ]
        return "\n".join(lines) + "\n"

    def _on_log_mel(self) -> list[str]:
        if self.log_mel is None:
            return []
        return [
            "In brackets: a linear layer on mean and deviation of log-mel bands, which needs no "
            "network, and learned from the same clips.",
            "",
        ]

    def _rows(self) -> list[str]:
        counts = self.targets.sum(0).astype(int)
        rows = zip(self.labels, counts, self._per_class(), strict=True)
        return [
            f"| {_cell(label)} | {n} | {'' if ap is None else f'{ap:.3f}'} |"
            for label, n, ap in rows
        ]

    def write(self, folder: Path, history: list[dict[str, float]] | None = None) -> None:
        """Write ``report.json`` and ``report.png`` into a folder."""
        facts = self.figures() | {"history": history or []}
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        self._draw(folder / "report.png")

    def _draw(self, target: Path) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(15, 5.5), layout="constrained")
        FigureCanvasAgg(figure)
        matrix, precision, curve = figure.subplots(1, 3)
        self._draw_confusion(matrix)
        self._draw_precision(precision)
        self._draw_reliability(curve)
        figure.savefig(target, dpi=100)

    def _draw_confusion(self, axes: Any) -> None:
        counts = scores.confusion(self.targets, self.probabilities)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set(title="given (across) for true (down)")
        self._name(axes.set_yticks)
        self._name(axes.set_xticks, rotation=90)

    def _name(self, set_ticks: Any, **how: Any) -> None:
        size = 8 if len(self.labels) <= _MANY_CLASSES else 4
        names = [_plain(label) for label in self.labels]
        set_ticks(range(len(names)), names, fontsize=size, **how)

    def _draw_precision(self, axes: Any) -> None:
        found = np.nan_to_num(scores.per_class(self.targets, self.probabilities))
        axes.barh(range(len(found)), found, color="tab:blue")
        axes.invert_yaxis()
        if self.log_mel is not None:
            plain = np.nan_to_num(scores.per_class(self.targets, self.log_mel))
            axes.plot(plain, range(len(plain)), "|", color="black", label="log-mel statistics")
            axes.legend(loc="lower left")
        name = "mean average precision"
        axes.set(title=f"{name} {self._beside(name)}", xlim=(0, 1))
        self._name(axes.set_yticks)

    def _draw_reliability(self, axes: Any) -> None:
        found = scores.reliability(self.targets, self.probabilities, self.is_multi)
        axes.plot([0, 1], [0, 1], color="0.7", linestyle="--")
        axes.plot(found.confidence, found.correct, marker="o")
        axes.set(
            title=f"calibration, error {found.error:.3f}",
            xlabel="probability", ylabel="share that is so", xlim=(0, 1), ylim=(0, 1),
        )  # fmt: skip


def _plain(label: str) -> str:
    """Return a label that matplotlib takes as it is written; a dollar begins a formula."""
    return label.replace("$", r"\$")


def _cell(text: str) -> str:
    """Return text that stays in its place in Markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;")
