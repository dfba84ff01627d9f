"""How a fleet's start moves."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.learning import local
from listen_embed.fleet.learning.network import Way
from listen_embed.fleet.learning.node import Node
from listen_embed.fleet.learning.reptile import Plan, State
from listen_embed.fleet.learning.updates import Sending

from .world import device, prior, prior_nodes, sines


def held(nodes: list[Node], plan: Plan, serial: bool = False, **options: object) -> State:
    """Hold the rounds with all nodes, or with one after the other."""
    first = nodes[0]

    def choose(round_: int) -> list[Node]:
        return [nodes[round_ % len(nodes)]] if serial else nodes

    return local.run(first.model, first.agreement, choose, plan, **options)  # type: ignore[arg-type]


def loss_after_a_few_steps(state: State, seed: int = 100) -> float:
    """Return how well sines nobody heard are met after a stream of 20 samples."""
    losses = []
    for node in sines(seed + 20)[seed:]:
        learnt = node.model.learn(state.vector, node.x[:20], node.y[:20], state.rates, Way())
        losses.append(node.model.loss(learnt.vector, node.x[20:], node.y[20:]))  # type: ignore[attr-defined]
    return float(np.mean(losses))


@pytest.mark.parametrize("serial", [True, False])
def test_a_new_device_learns_faster_from_the_fleets_start(serial: bool) -> None:
    plan = Plan(rounds=200 if serial else 30, rate=0.02)
    begun = State.begin(sines(1)[0].model, plan)
    assert loss_after_a_few_steps(held(sines(), plan, serial)) < 0.4 * loss_after_a_few_steps(begun)


def test_partial_updates_do_nearly_as_well() -> None:
    plan = Plan(rounds=12, rate=0.02)
    whole, part = (held(sines(sending=Sending(top=top)), plan) for top in (1.0, 0.3))
    assert loss_after_a_few_steps(part) < 1.3 * loss_after_a_few_steps(whole)


def test_layers_kept_local_stay_as_they_were_for_the_fleet_and_learn_on_the_device() -> None:
    nodes = sines(3, sending=Sending(kept=frozenset({"w2"})))
    plan = Plan(rounds=5)
    begun, state = State.begin(nodes[0].model, plan), held(nodes, plan)
    place = nodes[0].model.layout.places["w2"]
    assert np.array_equal(begun.vector[place], state.vector[place])
    assert not np.array_equal(nodes[0]._kept["w2"].ravel(), state.vector[place])
    assert not np.array_equal(begun.vector, state.vector)


def test_rates_are_learnt_where_they_are_too_small() -> None:
    nodes = sines(way=Way(held_out=8, look_every=1000))
    plan = Plan(rounds=12, rate=0.0005, rate_growth=0.4)
    state = held(nodes, plan)
    assert (state.rates > 0.0005).all() and (state.rates <= 1).all()
    fixed = held(sines(), Plan(rounds=12, rate=0.0005))
    assert loss_after_a_few_steps(state) < loss_after_a_few_steps(fixed)


def test_early_stopping_never_ends_worse_than_it_began() -> None:
    for node in sines(6):
        way = Way(held_out=10, passes=20, look_every=5)
        state = State.begin(node.model, Plan(rounds=1, rate=0.2))
        learnt = node.model.learn(state.vector, node.x, node.y, state.rates, way)
        loss = node.model.loss  # type: ignore[attr-defined]
        assert loss(learnt.vector, node.x[30:], node.y[30:]) <= loss(
            state.vector, node.x[30:], node.y[30:]
        )


def test_a_fleet_that_knows_the_classes_needs_one_sample_of_each() -> None:
    model, _ = prior()
    state = held(prior_nodes(), Plan(rounds=4, first_step=1, last_step=0.3))
    right = {"fleet": [], "alone": []}
    for seed in range(50, 80):
        x, y = device(seed)
        few, rest = slice(0, 4), slice(4, None)
        right["fleet"].append(
            np.mean(model.adapt(state.vector, x[few], y[few]).predict(x[rest]) == y[rest])
        )
        nearest = ((x[rest, None] - x[few]) ** 2).sum(axis=2).argmin(axis=1)
        right["alone"].append(np.mean(y[few][nearest] == y[rest]))
    assert np.mean(right["fleet"]) > np.mean(right["alone"]) + 0.15
    assert 0.25 < model.weight(state.vector) < 8


@pytest.mark.parametrize("poison", ["noise", "flip", "scale"])
def test_one_poisoned_node_of_ten_does_little_harm(poison: str) -> None:
    model, _ = prior()
    nodes = prior_nodes()
    chance = np.random.default_rng(0)
    changed = {"noise": lambda x: 100 * chance.normal(size=x.shape), "flip": lambda x: -x,
               "scale": lambda x: 1000 * x}[poison]  # fmt: skip
    nodes[3].x = changed(nodes[3].x).astype(np.float32)
    plan = Plan(rounds=4, first_step=1, last_step=0.3)

    def right(state: State) -> float:
        shares = []
        for seed in range(50, 70):
            x, y = device(seed)
            given = model.adapt(state.vector, x[:4], y[:4]).predict(x[4:])
            shares.append(np.mean(given == y[4:]))
        return float(np.mean(shares))

    assert right(held(nodes, plan)) > right(held(prior_nodes(), plan)) - 0.02


def test_a_round_without_updates_changes_nothing() -> None:
    model, _ = prior()
    plan = Plan(rounds=3)
    state = State.begin(model, plan)
    assert np.array_equal(state.after([], plan, model.layout).vector, state.vector)
    assert state.after([], plan, model.layout).round == 1


def test_steps_are_annealed() -> None:
    plan = Plan(rounds=5, first_step=1, last_step=0.2)
    assert [round(plan.step(r), 3) for r in range(5)] == [1, 0.8, 0.6, 0.4, 0.2]
    assert Plan(rounds=1).step(0) == 1


@pytest.mark.parametrize(
    "odd", [{"rounds": 0}, {"first_step": 2}, {"last_step": -1}, {"rate": 0}, {"trim": 0.5},
            {"rate_growth": float("nan")}]
)  # fmt: skip
def test_odd_plans_are_refused(odd: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(odd))} is"):
        Plan(**{"rounds": 3, **odd})  # type: ignore[arg-type]


def test_odd_samples_are_refused() -> None:
    model, agreement = prior()
    x, y = device(0)
    with pytest.raises(InputError, match="24 samples and 23 answers"):
        Node("n", model, agreement, x, y[1:])
    x[3, 3] = np.nan
    with pytest.raises(InputError, match="NaN or infinity; drop them"):
        Node("n", model, agreement, x, y)
    with pytest.raises(InputError, match="0 samples"):
        Node("n", model, agreement, x[:0], y[:0])
