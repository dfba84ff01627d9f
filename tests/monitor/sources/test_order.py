"""Blocks late, lost and repeated: each sample once, in order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from listen_embed.monitor.block import Block
from listen_embed.monitor.sources import Place
from listen_embed.monitor.sources import order as order_
from listen_embed.monitor.sources.order import Order

from ..world import RATE, cut, sound


def ordered(blocks: list[Block], patience_s: float = 60.0) -> tuple[list[int], list[int]]:
    """Return the first samples in the order given on, and what was asked for."""
    asked: list[int] = []
    order = Order(patience_s, lambda: asked.append(order.expected))
    given = [block.first for arriving in blocks for block in order.push(arriving)]
    return given, asked


def test_blocks_in_order_pass_and_repetitions_do_not() -> None:
    a, b, c = cut(sound(("low", 0.3)), 800)
    assert ordered([a, b, b, a, c]) == ([0, 800, 1600], [])


def test_a_missing_block_is_asked_for_and_the_rest_waits() -> None:
    a, b, c, d = cut(sound(("low", 0.4)), 800)
    assert ordered([a, c, d]) == ([0], [800])
    assert ordered([a, c, d, b]) == ([0, 800, 1600, 2400], [800])


def test_what_the_sensor_no_longer_has_is_not_waited_for() -> None:
    a, _, c, d = cut(sound(("low", 0.4)), 800)
    assert ordered([a, d, replace(c, oldest=True)]) == ([0, 1600, 2400], [800])


def test_a_replay_that_comes_in_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(order_.time, "monotonic", lambda: now[0])
    blocks = cut(sound(("low", 4.0)), 800)
    asked: list[int] = []
    order = Order(10.0, lambda: asked.append(order.expected))
    given = [b.first for late in blocks[20:] for b in order.push(late)]
    for block in blocks[:20] * 2:  # the replay takes 20 s, and comes twice
        now[0] += 0.5
        given += [b.first for b in order.push(block)]
    assert given == [block.first for block in blocks]
    assert asked == [0]


def test_an_answer_that_does_not_come_is_asked_for_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(order_.time, "monotonic", lambda: now[0])
    blocks = cut(sound(("low", 4.0)), 800)
    asked: list[int] = []
    order = Order(10.0, lambda: asked.append(order.expected))
    for block in blocks[1:20]:
        assert list(order.push(block)) == []
        now[0] += 0.3
    assert asked == [0] * 5


def test_more_than_can_be_held_is_left_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_, "_MAX_EARLY", 5)
    blocks = cut(sound(("low", 2.0)), 800)
    given, asked = ordered([*blocks[1:], *blocks[:8], *blocks[8:]])
    assert given == [block.first for block in blocks]
    assert asked == [0]


def test_patience_has_an_end() -> None:
    a, _, c, d = cut(sound(("low", 0.4)), 800)
    assert ordered([a, c, d], patience_s=0.0) == ([0, 1600, 2400], [])


def test_a_new_stream_begins_anew_and_an_ended_one_is_over() -> None:
    a, b = cut(sound(("low", 0.2)), 800, "one")
    end = Block(b.samples[:0], RATE, b.end, "one", ends=True)
    other = cut(sound(("low", 0.1)), 800, "two")[0]
    assert ordered([a, b, end, a, b, end, other]) == ([0, 800, 1600, 0], [])


def test_a_monitor_that_had_heard_the_end_ignores_a_replay() -> None:
    order = Order(60.0, lambda: None)
    order.resume(Place("one", 0, done=True))
    assert [list(order.push(block)) for block in cut(sound(("low", 0.2)), 800, "one")] == [[], []]


def test_random_order_with_repetitions_gives_every_sample_once() -> None:
    rng = np.random.default_rng(2)
    blocks = cut(sound(("low", 5.0)), 777)
    shuffled = [blocks[i] for i in np.concatenate([rng.permutation(len(blocks)) for _ in range(2)])]
    order = Order(60.0, lambda: None)
    given = [block for arriving in shuffled for block in order.push(arriving)]
    assert [block.first for block in given] == [block.first for block in blocks]
