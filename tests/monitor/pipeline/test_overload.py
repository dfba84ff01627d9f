"""Overload: sound is given up until it is caught up with, and an episode is told once."""

from __future__ import annotations

from listen_embed.monitor.pipeline.overload import Load, Overload


def test_sound_is_given_up_from_the_limit_until_it_is_caught_up_with() -> None:
    overload = Overload(2.0)
    waiting = (0.0, 2.0, 2.1, 1.9, 0.31, 0.3, 1.9)
    assert [overload.look(behind_s) for behind_s in waiting] == [
        Load.HEAR,
        Load.HEAR,
        Load.GIVE_UP,
        Load.GIVE_UP,
        Load.GIVE_UP,
        Load.HEAR_AGAIN,
        Load.HEAR,
    ]


def test_an_episode_is_told_once_and_ends_after_five_calm_seconds() -> None:
    overload = Overload(2.0)
    overload.look(3.0)
    assert [r.data["what"] for r in overload.begin(100, 3.0, lost=4)] == ["begins"]
    assert list(overload.begin(200, 3.0, lost=4)) == []
    overload.look(0.0)
    overload.calm_down(300, rate=10)
    assert list(overload.end(349, lost=9)) == []
    ends = list(overload.end(350, lost=9))
    assert [r.data for r in ends] == [{"what": "ends", "lost_hops": 5, "dropped_hops": 9}]
    assert list(overload.end(400, lost=9)) == []


def test_sound_that_can_wait_is_never_given_up() -> None:
    assert Overload(float("inf")).look(1e9) is Load.HEAR
