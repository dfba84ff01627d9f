"""Sequences that rise whatever clocks say, and what devices' answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from listen_embed.fleet.deploy.rollout import Outcome, await_all, next_sequence
from listen_embed.fleet.deploy.status import Status
from listen_embed.fleet.deploy.watch import Seen, row

from ..things.world import NANO
from .world import manifest


def seen(**said: Any) -> Seen:
    return Seen("gateway", status=Status(time=1.0, **said))


@pytest.mark.parametrize(
    ("known", "now", "expected"),
    [
        (None, 100.7, 100),
        (Seen("silent"), 100.7, 100),
        (seen(sequence=5), 100.0, 100),
        (seen(sequence=100), 100.0, 101),
        (seen(sequence=10**12), 100.0, 10**12 + 1),
    ],
)
def test_a_sequence_is_above_all_that_a_device_knows(
    known: Seen | None, now: float, expected: int
) -> None:
    assert next_sequence(known, now) == expected


class Frozen:
    """Stands in for a watch of a fleet that says nothing more."""

    def __init__(self, *known: Seen) -> None:
        self._known = {one.name: one for one in known}

    def things(self) -> dict[str, Seen]:
        return self._known

    def wait_for(self, done: Any, longest_s: float) -> bool:
        return bool(done(self._known))


ORDERED = manifest(sequence=9)


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (seen(sequence=9, digest=ORDERED.digest), ""),
        (seen(sequence=12, digest="f" * 64, model="other"), "it runs other meanwhile"),
        (seen(sequence=3, refused_sequence=9, refused="too small"), "refused: too small"),
        (seen(sequence=3, refused_sequence=8, refused="old"), "no answer yet; the manifest waits"),
        (Seen("gateway"), "no answer yet"),
        (Seen("another"), "no answer yet"),
    ],
)
def test_an_answer_is_that_of_this_very_manifest(known: Seen, why: str) -> None:
    counts: list[int] = []
    watch: Any = Frozen(known)
    (outcome,) = await_all(watch, {"gateway": ORDERED}, 0.05, counts.append)
    assert outcome.why.startswith(why)
    assert bool(outcome.why) == bool(why)
    assert outcome == Outcome("gateway", outcome.why)
    assert counts[-1] == int("no answer" not in why)


def test_a_row_has_what_is_known() -> None:
    told = row(seen(model=NANO, sequence=3))
    assert (told["name"], told["model"], told["sequence"]) == ("gateway", NANO, 3)
    assert row(Seen("silent"))["health"] == "unknown"
