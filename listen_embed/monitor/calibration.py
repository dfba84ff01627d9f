"""Where an alarm should begin: from sound of recordings that were not learnt from.

In: for each held-out recording, how far its anomaly scores got, as debounced. Out: `Tail`, which
knows how often normal sound of yet another recording gets beyond a distance.

The largest distances of the recordings beyond their median are taken as exponential, which they are
for scores whose tails fall like a Gaussian's or slower; how well that is known from so few
recordings is part of the answer.
Source: Davison and Smith, "Models for exceedances over high thresholds", Journal of the Royal
Statistical Society B 52, 1990 (peaks over a threshold); the predictive distribution of an
exponential whose mean is known from k values is Lomax.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_RECORDINGS = 5
_LIMIT_PER_H = 0.1
# Standard normal quantile of 95 %.
_Z95 = 1.6449


def furthest(scores: NDArray[np.float64], window: int, votes: int) -> float:
    """Return the highest threshold at which a recording's scores (n,) would raise an alarm.

    Recordings shorter than a window vote with the same share of their frames.
    """
    size = min(window, len(scores))
    rank = max(1, round(votes * size / window))
    windows = np.lib.stride_tricks.sliding_window_view(scores, size)
    return float(np.partition(windows, size - rank, axis=1)[:, size - rank].max())


@dataclass(frozen=True, slots=True)
class Tail:
    """How far normal sound of another recording gets.

    Attributes
    ----------
    start : float
        The distance that half of the held-out recordings get beyond.
    scale : float
        Mean distance by which those get beyond it.
    n_recordings, n_beyond : int
        How many recordings were held out, and how many got beyond `start`.
    hours : float
        How long they are together.
    """

    start: float
    scale: float
    n_recordings: int
    n_beyond: int
    hours: float

    @classmethod
    def fit(cls, reached: Iterable[float], hours: float) -> Tail:
        """Return the tail of the largest distances of held-out recordings, five or more of them."""
        ordered = np.sort(np.asarray(list(reached), np.float64))
        beyond = ordered[len(ordered) // 2 :]
        start = float(ordered[max(0, len(ordered) - len(beyond) - 1)])
        scale = max(float(beyond.mean()) - start, 1e-3 * abs(start), 1e-9)
        return cls(start, scale, len(ordered), len(beyond), hours)

    def per_hour(self, distance: float) -> float:
        """Return how many recordings an hour are expected to get beyond a distance."""
        if distance <= self.start:
            return self.n_recordings / self.hours
        excess = (distance - self.start) / (self.n_beyond * self.scale)
        return self.n_beyond / self.hours * (1.0 + excess) ** -self.n_beyond

    def at_most_per_hour(self, distance: float) -> float:
        """Return the upper end of a 95 % confidence interval of `per_hour`'s exponential."""
        if distance <= self.start:
            return self.n_recordings / self.hours
        k = self.n_beyond
        # The 5 % quantile of chi-squared with 2 k degrees of freedom, by Wilson and Hilferty.
        low = 2 * k * (1 - 1 / (9 * k) - _Z95 * math.sqrt(1 / (9 * k))) ** 3
        longest = 2 * k * self.scale / max(low, 1e-9)
        return k / self.hours * math.exp(-(distance - self.start) / longest)

    def distance(self, per_hour: float = _LIMIT_PER_H) -> float:
        """Return the distance that is got beyond so often: once in ten hours if not said."""
        ratio = max(1.0, self.n_beyond / self.hours / per_hour)
        k = self.n_beyond
        return float(self.start + k * self.scale * (ratio ** (1.0 / k) - 1.0))

    @property
    def proven_per_hour(self) -> float:
        """What the held-out sound alone shows with 95 % confidence if none of it alarms."""
        return 3.0 / self.hours
