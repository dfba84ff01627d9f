"""Where hops lie, and that a stream may begin there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from listen_embed.monitor.pipeline import Ear, Grid

from ..world import tone_ear


@pytest.mark.parametrize(
    ("rate", "hop_s"), [(44100, 0.1), (22050, 0.07), (11025, 0.1), (48000, 1 / 3)]
)
def test_streams_begin_where_hops_are_whole_samples_at_both_rates(rate: int, hop_s: float) -> None:
    ear = replace(tone_ear(hop_s), rate=48000)
    grid = Grid(rate, ear)
    for index in (0, 1, 17, 1000):
        begin = grid.begin_before(index)
        assert begin % grid.step == 0
        assert begin <= index
        assert (grid.hop * begin).denominator == 1
        assert grid.begin_at(grid.start(begin)) == begin
    assert grid.begin_before(10_000) * hop_s <= 10_000 * hop_s - (0 if rate == 48000 else 0.5)


def test_a_resumed_stream_equals_one_that_never_stopped_through_a_resampler() -> None:
    from listen_embed import Embedder

    embedder = Embedder("logmel/128/16k", hop_size=0.1, center=False, threads=1)
    rng = np.random.default_rng(5)
    samples = (0.1 * rng.standard_normal(44100 * 6)).astype(np.float32)
    frame_s = embedder.spec.front_end.frame_samples / embedder.spec.front_end.sample_rate
    ear = Ear(embedder.stream, embedder.spec.front_end.sample_rate, frame_s, 0.1)
    grid = Grid(44100, ear)
    whole = embedder.stream(44100).push(samples)[0]
    begin = grid.begin_before(30)
    late = embedder.stream(44100).push(samples[grid.start(begin) :])[0]
    np.testing.assert_allclose(late[30 - begin :][:10], whole[30:40], atol=1e-5)
