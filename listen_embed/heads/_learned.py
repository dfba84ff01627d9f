"""What a classifier knows: class means in the metric that classes share, and what to expect."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from listen_embed.heads import _prototype
from listen_embed.heads._checks import Codes, Floats
from listen_embed.heads._held_out import MAX_SCORES, ScoreTable, thinned
from listen_embed.heads._storage import Fields, Record


@dataclass(frozen=True)
class Learned:
    """All that predicting needs.

    Attributes
    ----------
    center, scale
        (D,), features are (x - center) / scale.
    metric
        (D, D), whitens the spread that classes share.
    prototypes
        (K, D), whitened.
    inflated
        (K,), see `_prototype.inflation`.
    temperature
        Of the softmax.
    held_out
        Novelty of held-out embeddings, ascending; none where nothing could be held out.
    """

    center: Floats
    scale: Floats
    metric: Floats
    prototypes: Floats
    inflated: Floats
    temperature: float
    held_out: Floats

    @classmethod
    def of(cls, x: Floats, codes: Codes, groups: Codes, seed: int) -> Learned:
        """Learn from rows (N, D) with a class and a group each, both from 0."""
        n_classes = int(codes.max()) + 1
        data = _prototype.Data.prepare(x, codes, groups, n_classes)
        gram, width = data.z.T @ data.z, x.shape[1]
        shared, means = _prototype.shared_metric(data.z, codes, n_classes, gram, width)
        metric = np.eye(width) if shared is None else shared
        held_out = _prototype.HeldOut.of(data, seed)
        return cls(
            center=data.center,
            scale=data.scale,
            metric=metric,
            prototypes=means @ metric,
            inflated=_prototype.inflation(codes, groups, n_classes),
            temperature=_prototype.choose_temperature(held_out, means @ metric),
            held_out=thinned(np.sort(held_out.novelty)),
        )

    @classmethod
    def restored(cls, record: Record, n_classes: int, width: int) -> Learned:
        """Return what is in a file."""
        return cls(
            center=record.floats("center", width),
            scale=record.positive("scale", width),
            metric=record.floats("metric", width, width),
            prototypes=record.floats("prototypes", n_classes, width),
            inflated=record.positive("inflated", n_classes),
            temperature=float(record.positive("temperature")),
            held_out=record.scores("held_out", MAX_SCORES),
        )

    def fields(self) -> Fields:
        """Return what to save."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def threshold(self, reject: float) -> float:
        """Return the novelty that this share of known sound exceeds; infinite where unknown."""
        if reject == 0 or len(self.held_out) < _prototype.MIN_HELD_OUT:
            return np.inf
        return ScoreTable.fit(self.held_out).score_at(1.0 - reject)

    def probabilities(self, x: Floats) -> Floats:
        """Return float64 (N, K) of rows (N, D)."""
        return _prototype.softmax(self._distances(x) / (-2.0 * self.temperature))

    def linear(self) -> tuple[Floats, Floats]:
        """Return the weights (K, D) and bias (K,) whose softmax `probabilities` is.

        The squares of the rows, which all classes have in common, fall out of a softmax.
        """
        toward = self.prototypes @ self.metric.T / self.temperature
        weights = toward / self.scale
        lengths = (self.prototypes**2).sum(axis=1) / (2 * self.temperature)
        return weights, -weights @ self.center - lengths

    def novelty(self, x: Floats) -> Floats:
        """Return float64 (N,) of rows (N, D)."""
        return _prototype.novelty(self._distances(x), self.inflated)

    def _distances(self, x: Floats) -> Floats:
        z = (x - self.center) / self.scale
        return _prototype.squared_distances(z @ self.metric, self.prototypes)
