"""Scores of data that were held out while learning: who is held out, and what their scores mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from listen_embed.heads._checks import Codes, Floats

Number = TypeVar("Number", np.float64, np.intp)

MAX_SCORES = 1000  # held-out scores kept; a share of 0.1 % is the finest that they resolve
_BLOCKS_PER_FOLD = 4
# Scores that the tail is fitted to. With 10 of 1000 the score that one in 1000 normal data exceeds
# came out within 20 % of that share, in the median, for Gaussian to lognormal scores; a tail from
# the last tenth on, with its shape fitted too, missed by up to a factor of three.
_TAIL = 10


def deal(codes: Codes, groups: Codes, n_folds: int, seed: int) -> Codes:
    """Return each row's fold from 0, -1 for rows that are never held out.

    The rows of a group share a fold, every fold gets about its share of every class, and what is
    left when a fold is held out still has all classes: a class's only group is never held out.
    """
    counts = np.zeros((int(groups.max()) + 1, int(codes.max()) + 1))
    np.add.at(counts, (groups, codes), 1.0)
    shares = counts / counts.sum(axis=0)
    fold = np.full(len(counts), -1)
    held = np.zeros((n_folds, counts.shape[1]))
    order = np.random.default_rng(seed).permutation(len(counts))
    for group in order[np.argsort(-counts[order].sum(axis=1), kind="stable")]:
        if shares[group].max() < 1.0:
            fold[group] = np.argmin(held @ shares[group] + 1e-6 * held.sum(axis=1))
            held[fold[group]] += shares[group]
    for number, name in np.argwhere(held > 1.0 - 1e-9):
        fold[(fold == number) & (counts[:, name] > 0)] = -1
    return fold[groups]


def deal_blocks(n_rows: int, n_folds: int) -> Codes:
    """Return each row's fold, neighbouring rows together.

    Embeddings usually come in the order of time, and neighbours overlap: dealt one by one, the
    held-out ones would have near copies among the others.
    """
    return np.arange(n_rows) * (_BLOCKS_PER_FOLD * n_folds) // n_rows % n_folds


def thinned(values: NDArray[Number]) -> NDArray[Number]:
    """Return at most `MAX_SCORES` of the values, evenly spread over their order."""
    if len(values) <= MAX_SCORES:
        return values
    return values[np.linspace(0, len(values) - 1, MAX_SCORES).round().astype(np.intp)]


@dataclass(frozen=True)
class ScoreTable:
    """Which share of normal data scores lower: counted where data are, an exponential tail beyond.

    The tail never ends, so scores far above everything seen still differ.

    Source: Breiman, Stone and Kooperberg, "Robust confidence bounds for extreme upper quantiles",
    Journal of Statistical Computation and Simulation 37, 1990 (the exponential tail).
    """

    scores: Floats  # ascending, from 0, up to the tail
    shares: Floats  # of normal data below each of them
    scale: float  # of the tail

    @classmethod
    def fit(cls, held_out: Floats) -> ScoreTable:
        """Return the table of held-out scores (N,), N at least 2, each 0 or more."""
        ordered, count = np.sort(held_out), len(held_out)
        body = ordered[: count - min(_TAIL, count // 2)]
        start = float(body[-1])
        scale = float(np.mean(ordered[len(body) :])) - start
        shares = (np.arange(len(body)) + 0.5) / count
        return cls(
            np.append(0.0, body), np.append(0.0, shares), max(scale, 1e-6 * max(start, 1e-6))
        )

    def share_below(self, scores: Floats) -> Floats:
        """Return the share of normal data expected below each score, float64 in [0, 1]."""
        excess = np.maximum(scores - self.scores[-1], 0.0) / self.scale
        tail = 1.0 - (1.0 - self.shares[-1]) * np.exp(-excess)
        return np.where(excess > 0, tail, np.interp(scores, self.scores, self.shares))

    def score_at(self, share: float) -> float:
        """Return the score that this share of normal data stays below; `share` in [0, 1)."""
        if share <= self.shares[-1]:
            return float(np.interp(share, self.shares, self.scores))
        excess = np.log((1.0 - self.shares[-1]) / (1.0 - share))
        return float(self.scores[-1] + self.scale * excess)
