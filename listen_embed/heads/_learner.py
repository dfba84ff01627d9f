"""Learning from one labelled sample at a time, in memory that does not grow.

A sample is scored before it is learnt, then moves the running statistics, the correction and its
class's prototype, and is thrown away. One of every few is held out instead, and judges the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from listen_embed.heads._correction import Correction, corrected, losses, nearness
from listen_embed.heads._guard import ENOUGH, MARGIN, HeldOut
from listen_embed.heads._running import MAX_COUNT, Running
from listen_embed.heads._single import Singles, exp, softmax, total

# What is left of a past loss after one more sample, and how sharply the better answer is trusted.
_FADE = np.float32(0.98)
_TRUST = np.float32(2)
# Samples of a class that are learnt before any of it is held out.
_FEW = 3
# 2**32 over the golden ratio: multiples of it fall evenly, whatever order classes come in (Knuth,
# The Art of Computer Programming 3, 6.4).
_GOLDEN = 2654435769
_FURTHEST_TRUST = np.float32(40)


@dataclass(frozen=True)
class Options:
    """How a learner learns: step of the gradient, and every how many samples one is held out."""

    rate: float
    hold_out: int


@dataclass
class Learner:
    """All that is kept of what was heard.

    Attributes
    ----------
    options : Options
    heard : Running
        Statistics of all samples that were learnt.
    counts : ndarray, int32 (K,)
        Samples behind each prototype.
    prototypes : ndarray, float32 (K, D)
        Class means, as embeddings are.
    correction : Correction
    held_out : HeldOut
    trust : ndarray, float32 (2,)
        Fading losses with the correction and without, of samples before they were learnt.
    offered, rollbacks : int
        Samples that ever came, and how often the correction went back.
    """

    options: Options
    heard: Running
    counts: NDArray[np.int32]
    prototypes: Singles
    correction: Correction
    held_out: HeldOut
    trust: Singles
    offered: int = 0
    rollbacks: int = 0

    @classmethod
    def empty(cls, width: int, options: Options) -> Self:
        """Return a learner that knows nothing."""
        return cls(
            options,
            Running.empty(width),
            np.zeros(0, np.int32),
            np.zeros((0, width), np.float32),
            Correction.none(0, width),
            HeldOut.empty(width),
            np.zeros(2, np.float32),
        )

    @classmethod
    def begun(cls, prototypes: Singles, within: Singles, weight: int, options: Options) -> Self:
        """Return a learner as after `weight` samples of each class (K, D), none held out.

        `within` is the variance (D,) of a class around its prototype.
        """
        learner, (n_classes, width) = cls.empty(prototypes.shape[1], options), prototypes.shape
        count = n_classes * weight
        mean, between = prototypes.mean(axis=0), prototypes.var(axis=0)
        learner.heard = Running(count, mean, np.float32(count) * (within + between))
        learner.counts = np.full(n_classes, weight, np.int32)
        learner.prototypes = prototypes.copy()
        learner.correction = Correction.none(n_classes, width)
        learner.offered = count
        return learner

    def take(self, row: Singles, code: int) -> None:
        """Learn a row (D,) of a class, the next number if it is new, or hold it out."""
        self.offered += 1
        if self._is_due(code):
            self._hold_out(row, code)
        else:
            self._learn(row, code)

    def _is_due(self, code: int) -> bool:
        every = self.options.hold_out
        if every == 0 or code == len(self.counts) or self.counts[code] < _FEW:
            return False
        return self.offered * _GOLDEN % 2**32 < 2**32 // every

    def _hold_out(self, row: Singles, code: int) -> None:
        self.held_out.add(self.heard.standardised(row[None])[0], code)
        if len(self.held_out.codes) < ENOUGH:
            return
        now = self._held_out_loss(self.correction.weights)
        good = self._held_out_loss(self.correction.good_weights)
        if now > good + MARGIN:
            self.correction.roll_back()
            self.rollbacks += 1
        elif now <= good:
            self.correction.remember()

    def _held_out_loss(self, weights: Singles) -> np.float32:
        rows, codes = self.held_out.samples, self.held_out.codes
        near = nearness(rows, self._standardised_prototypes())
        each = losses(corrected(near, rows, weights), codes)
        return np.float32(total(each) / np.float32(len(each)))

    def _learn(self, row: Singles, code: int) -> None:
        self.heard.add(row)
        if code == len(self.counts):
            self._begin_class(row)
            return
        self._correct(self.heard.standardised(row[None]), code)
        count = self.counts[code] = min(self.counts[code] + 1, MAX_COUNT)
        self.prototypes[code] += (row - self.prototypes[code]) / np.float32(count)

    def _begin_class(self, row: Singles) -> None:
        self.counts = np.append(self.counts, np.int32(1))
        self.prototypes = np.concatenate([self.prototypes, row[None]])
        self.correction.grow()

    def _correct(self, rows: Singles, code: int) -> None:
        near = nearness(rows, self._standardised_prototypes())
        given = corrected(near, rows, self.correction.weights)
        codes = np.array([code])
        self.trust = _FADE * self.trust + np.append(
            losses(given, codes), losses(softmax(near), codes)
        )
        given[0, code] -= np.float32(1)
        self.correction.descend(rows[0], given[0], np.float32(self.options.rate))

    def _standardised_prototypes(self) -> Singles:
        return self.heard.standardised(self.prototypes)

    def probabilities(self, rows: Singles) -> Singles:
        """Return float32 (N, K) of rows (N, D): both answers, by how well each did lately."""
        rows = self.heard.standardised(rows)
        near = nearness(rows, self._standardised_prototypes())
        share = self.share
        return np.asarray(
            share * corrected(near, rows, self.correction.weights)
            + (np.float32(1) - share) * softmax(near),
            np.float32,
        )

    @property
    def share(self) -> np.float32:
        """The part of the answer that the correction has, from 0 to 1."""
        ahead = _TRUST * (self.trust[1] - self.trust[0])
        ahead = min(max(ahead, -_FURTHEST_TRUST), _FURTHEST_TRUST)
        power = exp(np.array([-abs(ahead)], np.float32))[0]
        better = np.float32(1) / (np.float32(1) + power)
        return np.float32(better if ahead >= 0 else power * better)

    def distances(self, rows: Singles) -> Singles:
        """Return how far rows (N, D) are from the nearest prototype, float32 (N,)."""
        rows = self.heard.standardised(rows)
        prototypes = self._standardised_prototypes()
        apart = [total((rows - prototype) ** 2) for prototype in prototypes]
        return np.asarray(np.sqrt(np.min(apart, axis=0)), np.float32)
