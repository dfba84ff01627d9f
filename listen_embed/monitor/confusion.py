"""True against predicted labels: counts, macro-F1, a table for the terminal, a picture as SVG.

In: two sequences of labels. Out: `Confusion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

_CELL, _MARGIN = 42, 110


@dataclass(frozen=True)
class Confusion:
    """How often each true label (row) was given each label (column).

    Attributes
    ----------
    labels : tuple of str
        The true labels; `columns` may have more, such as "unknown".
    columns : tuple of str
        The labels that were given.
    counts : ndarray, int64 (rows, columns)
    """

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, true: Sequence[str], given: Sequence[str]) -> Confusion:
        """Count pairs of labels."""
        labels = tuple(sorted(set(true)))
        columns = (*labels, *sorted(set(given) - set(labels)))
        counts = np.zeros((len(labels), len(columns)), np.int64)
        for one, other in zip(true, given, strict=True):
            counts[labels.index(one), columns.index(other)] += 1
        return cls(labels, columns, counts)

    def scores(self) -> NDArray[np.float64]:
        """Return precision, recall and F1 of each true label, float64 (labels, 3)."""
        hits = np.diagonal(self.counts).astype(np.float64)
        n_given = self.counts.sum(axis=0)[: len(self.labels)]
        precision = hits / np.maximum(n_given, 1)
        recall = hits / np.maximum(self.counts.sum(axis=1), 1)
        f1 = 2 * hits / np.maximum(n_given + self.counts.sum(axis=1), 1)
        return np.stack([precision, recall, f1], axis=1)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the true labels."""
        return float(self.scores()[:, 2].mean())

    @property
    def accuracy(self) -> float:
        """Share of right labels."""
        return float(np.trace(self.counts[:, : len(self.labels)]) / max(self.counts.sum(), 1))

    def text(self) -> str:
        """Return the table for a terminal."""
        width = max(6, *(len(name) for name in self.columns)) + 1
        lines = ["true\\given".ljust(12) + "".join(name.rjust(width) for name in self.columns)]
        for label, row, (_, _, f1) in zip(self.labels, self.counts, self.scores(), strict=True):
            cells = "".join(str(count or "·").rjust(width) for count in row)
            lines.append(f"{label:<12}{cells}   F1 {f1:.3f}")
        return "\n".join([*lines, f"accuracy {self.accuracy:.4f}, macro-F1 {self.macro_f1:.4f}"])

    def markdown(self) -> str:
        """Return precision, recall and F1 by label as a Markdown table."""
        rows = ["| label | clips | precision | recall | F1 |", "|---|---|---|---|---|"]
        for label, n, (p, r, f1) in zip(
            self.labels, self.counts.sum(axis=1), self.scores(), strict=True
        ):
            rows.append(f"| {label} | {n} | {p:.3f} | {r:.3f} | {f1:.3f} |")
        return "\n".join(
            [*rows, f"| **macro** | {self.counts.sum()} | | | **{self.macro_f1:.4f}** |"]
        )

    def svg(self, title: str) -> str:
        """Return a picture: darker means a larger share of the row."""
        width = _MARGIN + _CELL * len(self.columns) + 20
        height = _MARGIN + _CELL * len(self.labels) + 20
        heading = f"{escape(title)}: macro-F1 {self.macro_f1:.4f}"
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            f'<text x="10" y="20" font-weight="bold">{heading}</text>',
        ]
        for j, name in enumerate(self.columns):
            x, y = _MARGIN + _CELL * j + _CELL // 2, _MARGIN - 8
            parts.append(f'<text transform="translate({x},{y}) rotate(-45)">{escape(name)}</text>')
        for i, name in enumerate(self.labels):
            y = _MARGIN + _CELL * i + _CELL // 2 + 5
            parts.append(f'<text x="{_MARGIN - 8}" y="{y}" text-anchor="end">{escape(name)}</text>')
            parts += [self._cell(i, j) for j in range(len(self.columns))]
        return "\n".join([*parts, "</svg>\n"])

    def _cell(self, i: int, j: int) -> str:
        count = int(self.counts[i, j])
        share = count / max(int(self.counts[i].sum()), 1)
        x, y = _MARGIN + _CELL * j, _MARGIN + _CELL * i
        hue = "40,100,180" if j == i else "192,57,43"
        ink = "#fff" if share > 0.5 else "#333"
        box = (
            f'<rect x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}" '
            f'fill="rgba({hue},{0.04 + 0.9 * share if count else 0.04:.3f})"/>'
        )
        middle = f'x="{x + _CELL // 2}" y="{y + _CELL // 2 + 5}" text-anchor="middle"'
        return box + (f'<text {middle} fill="{ink}">{count}</text>' if count else "")
