"""Fewer points for longer ranges: one a step, no alarm lost."""

from __future__ import annotations

from listen_embed.monitor.trace import merged

from .world import point


def test_one_point_a_step_keeps_what_matters() -> None:
    points = [
        point(60.0, "a", score=0.1, level_db=-40.0, latency_ms=1.0, spectrum=bytes([0, 10])),
        point(61.0, "b", score=3.0, level_db=-20.0, latency_ms=9.0, x=7.0, spectrum=bytes([4, 20])),
        point(62.0, "a", score=0.2, level_db=-30.0, anomaly=True, spectrum=bytes([8, 30])),
        point(120.0, None),
    ]
    first, second = merged(points, 60)
    assert (first.wall, first.state, first.score, first.anomaly) == (62.0, "a", 3.0, True)
    assert (first.level_db, first.latency_ms, first.x) == (-30.0, 9.0, 7.0)
    assert first.spectrum == bytes([4, 20])
    assert second.state is None
    assert list(merged([], 60)) == []


def test_columns_of_another_rate_are_not_mixed() -> None:
    points = [point(0.0, spectrum=b"\1\2"), point(1.0, spectrum=b"\7\7\7")]
    assert [p.spectrum for p in merged(points, 60)] == [b"\7\7\7"]
