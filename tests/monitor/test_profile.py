"""A machine's profile: the map, levels, and JSON that may be anybody's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from listen_embed.monitor.calibration import Tail
from listen_embed.monitor.profile import NO_PROFILE, EmbeddingMap, Level, Profile

RNG = np.random.default_rng(4)
CENTRES = {"a": (0, 0, 0), "b": (9, 0, 0), "c": (0, 5, 0)}
ROWS = np.concatenate([RNG.normal(c, 0.1, (30, 3)) for c in CENTRES.values()]).astype(np.float32)
LABELS = [name for name in CENTRES for _ in range(30)]
DRAWN = EmbeddingMap.fit(ROWS, LABELS)
PROFILE = Profile(16000, 5.5, Tail(1.0, 0.5, 20, 10, 0.1), {"a": Level(-40.0, -30.0)}, DRAWN)


def test_states_lie_on_the_map_as_far_apart_as_they_are() -> None:
    places = {name: np.array(place) for name, place in DRAWN.places.items()}
    assert np.linalg.norm(places["a"] - places["b"]) == pytest.approx(9, abs=0.2)
    assert np.linalg.norm(places["a"] - places["c"]) == pytest.approx(5, abs=0.2)
    np.testing.assert_allclose(DRAWN.place(ROWS[:30]).mean(axis=0), places["a"], atol=1e-3)


def test_two_states_have_a_plane_too() -> None:
    drawn = EmbeddingMap.fit(ROWS[:60], LABELS[:60])
    assert np.array(drawn.axes).shape == (2, 3)
    assert set(drawn.places) == {"a", "b"}


def test_it_survives_json() -> None:
    assert Profile.parse(PROFILE.json()) == PROFILE
    assert Profile.parse(NO_PROFILE.json()) == NO_PROFILE


def test_the_level_of_an_unknown_state_is_that_of_any() -> None:
    two = Profile(levels={"a": Level(-40.0, -30.0), "b": Level(-20.0, -10.0)})
    assert two.level_of("a") == Level(-40.0, -30.0)
    assert two.level_of("unknown") == two.level_of(None) == Level(-40.0, -10.0)
    assert NO_PROFILE.level_of("a") is None


GOOD = json.loads(PROFILE.json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({**GOOD, "rate": "x"}),
        json.dumps({**GOOD, "limit": float("nan")}),
        json.dumps({**GOOD, "tail": {"start": 1}}),
        json.dumps({**GOOD, "tail": {**GOOD["tail"], "scale": "1"}}),
        json.dumps({**GOOD, "levels": {"a": {"low_db": True, "high_db": 1}}}),
        json.dumps({**GOOD, "levels": {str(n): GOOD["levels"]["a"] for n in range(5000)}}),
        json.dumps({**GOOD, "embedding_map": {**GOOD["embedding_map"], "mean": [1.0]}}),
        json.dumps({**GOOD, "embedding_map": {**GOOD["embedding_map"], "axes": [[1.0]]}}),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Profile.parse(text)
