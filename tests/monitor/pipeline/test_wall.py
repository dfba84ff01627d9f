"""The wall clock of samples: drift, jumps, and sound that is not in real time."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed.monitor.pipeline.wall import Move, WallAnchor

START = 1.7e9
BLOCK_S = 0.5


class World:
    """A true time, a wall clock that may be wrong, and an anchored sample clock."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self.true_s, self.offset_s = 0.0, offset_s
        self.anchor = WallAnchor(self.now, lambda: self.true_s)
        self.wall_start = self.now()
        self.moves: list[Move] = []
        self.worst_s = 0.0

    def now(self) -> float:
        return START + self.true_s + self.offset_s

    def hear(self, seconds: float, *, speed: float = 1.0, late_s: float = 0.0) -> None:
        """Let blocks arrive whose samples come `speed` times as fast as they should."""
        rng = np.random.default_rng(7)
        begun = getattr(self, "sound_s", 0.0)
        for number in range(1, round(seconds / BLOCK_S) + 1):
            self.sound_s = begun + number * BLOCK_S
            heard_at = self.true_s + BLOCK_S / speed
            self.true_s = heard_at + late_s * float(rng.random()) * 0.9
            wall = self.wall_start + self.sound_s
            move = self.anchor.look(wall, self.sound_s, 0.0)
            self.true_s = heard_at
            if move is not None:
                self.moves.append(move)
                self.wall_start += move.seconds
            error = self.wall_start + self.sound_s - (START + heard_at + self.offset_s)
            self.worst_s = max(self.worst_s, abs(error))


@pytest.mark.parametrize("ppm", [50, -50])
def test_a_day_at_50_ppm_stays_within_a_fifth_of_a_second(ppm: float) -> None:
    world = World()
    world.hear(86400, speed=1 + ppm * 1e-6, late_s=0.05)
    assert world.worst_s < 0.2
    assert {move.why for move in world.moves} == {"drift"}
    assert 30 < len(world.moves) < 60
    assert sum(move.seconds for move in world.moves) == pytest.approx(-86400 * ppm * 1e-6, abs=0.2)


def test_a_computer_that_learns_the_time_late_dates_events_rightly() -> None:
    world = World(offset_s=-3e7)
    world.hear(100)
    world.offset_s = 0.0
    world.hear(10)
    assert [move.why for move in world.moves] == ["jump"]
    assert world.wall_start + world.sound_s == pytest.approx(world.now(), abs=0.2)


def test_a_wrong_anchor_from_before_a_restart_is_mended() -> None:
    world = World()
    world.wall_start -= 3e7
    world.hear(200)
    assert [move.why for move in world.moves] == ["drift"]
    assert world.wall_start + world.sound_s == pytest.approx(world.now(), abs=0.2)


@pytest.mark.parametrize("speed", [4.0, 50.0, 0.5])
def test_sound_that_is_not_in_real_time_moves_nothing(speed: float) -> None:
    world = World()
    world.hear(1000, speed=speed)
    assert world.moves == []


def test_an_outage_that_is_caught_up_with_moves_nothing() -> None:
    world = World()
    world.hear(300)
    world.true_s += 45.0
    world.hear(45, speed=1000.0)
    world.hear(300)
    assert world.moves == []
