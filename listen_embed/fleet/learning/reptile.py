"""How a fleet's start moves: towards what nodes learn from it, one by one or several together.

Sources: Nichol, Achiam and Schulman, "On first-order meta-learning algorithms", 2018 (Reptile); Ren
et al., "TinyReptile", 2023 (one client a round, learning online); Li et al., "Meta-SGD", 2017
(learnt rates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from listen_embed.errors import InputError
from listen_embed.fleet.learning.layout import Layout, Vector
from listen_embed.fleet.learning.node import Model, Start
from listen_embed.fleet.learning.updates import Update, near_ones, trimmed_mean

_LEAST_RATE, _MOST_RATE = 1e-4, 1.0


@dataclass(frozen=True)
class Plan:
    """How a fleet learns.

    Attributes
    ----------
    rounds : int
        How many there are.
    first_step, last_step : float
        Share of an update by which the start moves, in the first round and, straight down to it,
        in the last.
    rate : float
        Step of every layer on the devices, at first.
    rate_growth : float
        By how much a round may change the logarithm of a layer's rate; 0 leaves rates alone.
    trim : float
        Share of the updates of a round that are left out at each end, value by value.
    """

    rounds: int
    first_step: float = 1.0
    last_step: float = 0.05
    rate: float = 0.02
    rate_growth: float = 0.0
    trim: float = 0.2

    def __post_init__(self) -> None:
        bounds = {
            "rounds": (1, 10_000_000),
            "first_step": (0, 1),
            "last_step": (0, 1),
            "rate": (_LEAST_RATE, _MOST_RATE),
            "rate_growth": (0, 1),
            "trim": (0, 0.49),
        }
        for name, (low, high) in bounds.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise InputError(f"{name} is {value}; give {low} to {high}")

    def step(self, round_: int) -> float:
        """Return by how much of an update the start moves in a round."""
        share = round_ / max(self.rounds - 1, 1)
        return self.first_step + share * (self.last_step - self.first_step)


@dataclass(frozen=True)
class State:
    """Where a fleet is.

    Attributes
    ----------
    round : int
        The round to be held now; as many as the plan has when all is done.
    vector : ndarray, float32 (size,)
    rates : ndarray, float32 (n_layers,)
    """

    round: int
    vector: Vector
    rates: Vector

    @classmethod
    def begin(cls, model: Model, plan: Plan, seed: int = 0) -> State:
        """Return where a fleet begins."""
        rates = np.full(len(model.layout.layers), plan.rate, np.float32)
        return cls(0, model.begin(seed), rates)

    @property
    def start(self) -> Start:
        """What nodes of this round begin with."""
        return Start(self.round, self.vector, self.rates)

    def after(self, updates: Sequence[Update], plan: Plan, layout: Layout) -> State:
        """Return the state after a round in which these updates were let in.

        One update is a serial round. Of three and more each value's extremes are left out, of five
        and more also those that are much farther off than the others. None leaves the start where
        it is.
        """
        if not updates:
            return State(self.round + 1, self.vector, self.rates)
        step = np.float32(plan.step(self.round))
        moved = self.vector + step * trimmed_mean(near_ones([u.delta for u in updates]), plan.trim)
        return State(self.round + 1, moved, self._new_rates(updates, plan))

    def _new_rates(self, updates: Sequence[Update], plan: Plan) -> Vector:
        signals = trimmed_mean([update.signals for update in updates], plan.trim)
        rates = self.rates * np.exp(np.float32(plan.rate_growth) * signals)
        return np.asarray(np.clip(rates, _LEAST_RATE, _MOST_RATE), np.float32)
