"""The small network."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.learning.network import Network, Way


@pytest.mark.parametrize("loss", ["squares", "labels"])
def test_gradients_are_those_of_differences(loss: str) -> None:
    network = Network((3, 5, 4), loss)  # type: ignore[arg-type]
    chance = np.random.default_rng(0)
    x = chance.normal(size=(7, 3)).astype(np.float32)
    y = chance.normal(size=(7, 4)).astype(np.float32) if loss == "squares" else np.arange(7) % 4
    vector = network.begin(1) + chance.normal(size=network.layout.size).astype(np.float32) * 0.1
    vector = vector.astype(np.float32)
    slope = network.gradient(vector, x, y)
    for i in range(network.layout.size):
        step = np.zeros_like(vector)
        step[i] = 1e-3
        rise = network.loss(vector + step, x, y) - network.loss(vector - step, x, y)
        assert slope[i] == pytest.approx(rise / 2e-3, abs=0.02)


def test_a_stream_is_learnt_online() -> None:
    network = Network((2, 8, 2), "labels")
    chance = np.random.default_rng(0)
    x = chance.normal(size=(300, 2)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(int)
    rates = np.full(4, 0.1, np.float32)
    learnt = network.learn(network.begin(0), x, y, rates, Way())
    assert np.mean(network.outputs(learnt.vector, x).argmax(axis=1) == y) > 0.9
    assert not learnt.signals.any()


def test_a_network_needs_inputs_and_outputs() -> None:
    with pytest.raises(InputError, match="inputs and outputs at least"):
        Network((3,), "squares")
