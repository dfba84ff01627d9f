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
_TAIL_SHARE = 0.1
_MIN_TAIL = 10
_MIN_TAIL_SHAPE = 20  # fewer exceedances say nothing about how heavy the tail is
_MAX_TAIL_SHAPE = 0.5  # heavier tails have no variance: more likely a fit gone wrong


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
    """Which share of normal data scores lower: counted where data are, a fitted tail beyond.

    The tail is a generalised Pareto, exponential where there are few data; it never ends, so
    scores far above everything seen still differ.

    Source: Pickands, "Statistical inference using extreme order statistics", 1975 (the tail);
    Hosking and Wallis, "Parameter and quantile estimation for the generalized Pareto
    distribution", Technometrics 29, 1987 (its fit by probability-weighted moments).
    """

    scores: Floats  # ascending, from 0, up to the tail
    shares: Floats  # of normal data below each of them
    scale: float
    shape: float

    @classmethod
    def fit(cls, held_out: Floats) -> ScoreTable:
        """Return the table of held-out scores (N,), N at least 2, each 0 or more."""
        ordered, count = np.sort(held_out), len(held_out)
        n_tail = max(min(_MIN_TAIL, count // 2), int(_TAIL_SHARE * count))
        body = ordered[: count - n_tail]
        scale, shape = _fit_tail(ordered[count - n_tail :] - body[-1])
        shares = (np.arange(len(body)) + 0.5) / count
        smallest = 1e-6 * max(float(body[-1]), 1e-6)
        return cls(np.append(0.0, body), np.append(0.0, shares), max(scale, smallest), shape)

    def share_below(self, scores: Floats) -> Floats:
        """Return the share of normal data expected below each score, float64 in [0, 1]."""
        start, below = self.scores[-1], self.shares[-1]
        excess = np.maximum(scores - start, 0.0) / self.scale
        decay = np.log1p(self.shape * excess) / self.shape if self.shape > 0 else excess
        tail = 1.0 - (1.0 - below) * np.exp(-decay)
        return np.where(scores > start, tail, np.interp(scores, self.scores, self.shares))

    def score_at(self, share: float) -> float:
        """Return the score that this share of normal data stays below; `share` in [0, 1)."""
        start, below = self.scores[-1], self.shares[-1]
        if share <= below:
            return float(np.interp(share, self.shares, self.scores))
        decay = np.log((1.0 - below) / (1.0 - share))
        excess = np.expm1(self.shape * decay) / self.shape if self.shape > 0 else decay
        return float(start + self.scale * excess)


def _fit_tail(excess: Floats) -> tuple[float, float]:
    """Return scale and shape of the tail, given how far it goes beyond its start, ascending."""
    mean, count = float(excess.mean()), len(excess)
    weighted = float(np.mean(excess * (count - np.arange(count) - 0.5) / count))
    spread = mean - 2.0 * weighted
    if count < _MIN_TAIL_SHAPE or spread <= 1e-9 * mean:
        return mean, 0.0
    shape = float(np.clip(2.0 - mean / spread, 0.0, _MAX_TAIL_SHAPE))
    return mean * (1.0 - shape), shape
