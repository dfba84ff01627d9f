"""A stretch of sound: hops keep their numbers wherever it begins, and only whole frames speak."""

from __future__ import annotations

import pytest

from listen_embed.monitor.pipeline.grid import Grid
from listen_embed.monitor.pipeline.hops import Stretch

from ..world import RATE, cut, sound, tone_ear

SAMPLES = sound(("low", 3.0))


@pytest.mark.parametrize("begin", [0, 1, 799, 800, 5000])
@pytest.mark.parametrize("size", [160, 800, 24000])
def test_numbers_are_those_of_the_clock(begin: int, size: int) -> None:
    ear = tone_ear()
    stretch = Stretch(ear, Grid(RATE, ear), begin)
    blocks = [block for block in cut(SAMPLES, size) if block.end > begin]
    found = [hop for block in blocks for hop in stretch.push(block)] + list(stretch.finish())
    first = -(-begin // 800)
    assert [hop.index for hop in found] == list(range(first, 26))
    assert [(hop.start, hop.end) for hop in found] == [
        (800 * n, 800 * n + 4000) for n in range(first, 26)
    ]
    assert stretch.next_sample == len(SAMPLES)


def test_what_a_block_repeats_is_heard_once() -> None:
    ear = tone_ear()
    once, twice = (Stretch(ear, Grid(RATE, ear), 0) for _ in range(2))
    blocks = cut(SAMPLES, 700)
    single = [hop.embedding.tolist() for b in blocks for hop in once.push(b)]
    double = [hop.embedding.tolist() for b in blocks for _ in (0, 1) for hop in twice.push(b)]
    assert single == double
