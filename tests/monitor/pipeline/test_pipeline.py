"""The pipeline with stand-ins for model and machine: what it decides, undisturbed or not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from listen_embed.monitor.block import Block
from listen_embed.monitor.debounce import Judgement
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.pipeline import Hop, Rhythm, track, wall
from listen_embed.monitor.sources import Notice

from ..world import (
    RATE,
    RULES,
    Blocks,
    ToneMachine,
    cut,
    kinds,
    listen,
    sound,
    told,
    tone_ear,
    write_wav,
)

STORY = (("off", 3.0), ("low", 4.0), ("high", 3.5), ("low", 0.2), ("high", 3.0), ("off", 2.3))


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[tuple[object, ...]]:
    listen(Blocks(*cut(sound(*STORY), RATE), Notice("ended")), tmp_path / "undisturbed.sqlite")
    return told(tmp_path / "undisturbed.sqlite")


def test_states_follow_the_sound(tmp_path: Path) -> None:
    listen(Blocks(*cut(sound(*STORY), RATE), Notice("ended")), tmp_path / "j.sqlite")
    without_beats = [k for k in kinds(tmp_path / "j.sqlite") if not k.startswith("heartbeat")]
    assert without_beats == [
        "source:started",
        "state:off",
        "state:low",
        "state:high",
        "state:off",
        "source:ended",
    ]


def test_a_change_is_dated_to_where_it_began(tmp_path: Path) -> None:
    listen(Blocks(*cut(sound(*STORY), RATE)), tmp_path / "j.sqlite")
    changes = [
        (sample / RATE, dict(data)["since_sample"] / RATE)
        for _, kind, sample, data in told(tmp_path / "j.sqlite")
        if kind == "state"
    ]
    for (known, since), true in zip(changes[1:], (3.0, 7.0, 13.7), strict=True):
        assert abs(since + 0.25 - true) <= 0.25
        assert 0 < known - true < 0.85


@pytest.mark.parametrize("size", [1, 160, 799, 8000, 40000])
def test_block_sizes_change_nothing(tmp_path: Path, size: int, undisturbed: list[object]) -> None:
    if size == 1:
        story = cut(sound(*STORY)[: 2 * RATE], 1)
        listen(Blocks(*story), tmp_path / "ones.sqlite")
        listen(Blocks(*cut(sound(*STORY)[: 2 * RATE], RATE)), tmp_path / "whole.sqlite")
        assert told(tmp_path / "ones.sqlite") == told(tmp_path / "whole.sqlite")
        return
    listen(Blocks(*cut(sound(*STORY), size), Notice("ended")), tmp_path / "j.sqlite")
    assert told(tmp_path / "j.sqlite") == undisturbed


def test_anomaly_begins_and_ends_with_hysteresis(tmp_path: Path) -> None:
    loud = np.concatenate([sound(("low", 3.0)), 3 * sound(("low", 2.0)), sound(("low", 3.0))])
    listen(Blocks(*cut(loud, RATE)), tmp_path / "j.sqlite")
    assert [k for k in kinds(tmp_path / "j.sqlite") if k.startswith("anomaly")] == [
        "anomaly:begins",
        "anomaly:ends",
    ]


def test_heartbeats_come_by_the_sample_clock(tmp_path: Path) -> None:
    listen(Blocks(*cut(sound(("low", 10.0)), 1000)), tmp_path / "j.sqlite")
    beats = [sample for _, kind, sample, _ in told(tmp_path / "j.sqlite") if kind == "heartbeat"]
    assert np.diff(beats).tolist() == [2 * RATE] * (len(beats) - 1)
    assert len(beats) == 4


def test_a_frame_that_nobody_heard_whole_says_nothing(tmp_path: Path) -> None:
    hops: list[Hop] = []
    listen(
        Blocks(*cut(sound(("low", 1.04)), 100), Notice("ended")),
        tmp_path / "j.sqlite",
        on_hop=hops.append,
    )
    assert [hop.index for hop in hops] == [0, 1, 2, 3, 4, 5]  # the last ends at 1.0 s


def test_a_gap_is_an_event_and_the_grid_stays(tmp_path: Path) -> None:
    blocks = cut(sound(("low", 6.0)), 800)
    hops: list[Hop] = []
    listen(Blocks(*blocks[:20], *blocks[33:]), tmp_path / "j.sqlite", on_hop=hops.append)
    gaps = [dict(data) for _, kind, _, data in told(tmp_path / "j.sqlite") if kind == "source"]
    assert gaps[1] == {"what": "gap", "lost_samples": 13 * 800}
    assert [hop.index for hop in hops] == [*range(16), *range(33, 56)]


def test_repeated_and_overlapping_blocks_count_once(
    tmp_path: Path, undisturbed: list[object]
) -> None:
    samples = sound(*STORY)
    blocks = [
        Block(samples[max(0, i - 300) : i + 800], RATE, max(0, i - 300), "c")
        for i in range(0, len(samples), 800)
    ]
    doubled = [block for block in blocks for _ in range(2)]
    listen(Blocks(*doubled, Notice("ended")), tmp_path / "j.sqlite")
    assert told(tmp_path / "j.sqlite") == undisturbed


def test_another_rate_is_an_event(tmp_path: Path) -> None:
    first, second = sound(("low", 2.0)), sound(("high", 2.0), rate=16000)
    listen(Blocks(*cut(first, 800), *cut(second, 800, "d", 16000)), tmp_path / "j.sqlite")
    assert [k for k in kinds(tmp_path / "j.sqlite") if k.startswith("so")] == [
        "source:started",
        "source:rate changed",
    ]
    assert "state:high" in kinds(tmp_path / "j.sqlite")


def test_notices_become_events(tmp_path: Path) -> None:
    items = (
        Notice("garbage", "x" * 999),
        *cut(sound(("low", 1.0)), 800),
        Notice("stalled"),
        Notice("resumed"),
        Notice("ended"),
    )
    listen(Blocks(*items), tmp_path / "j.sqlite")
    assert kinds(tmp_path / "j.sqlite")[0] == "source:garbage"
    assert kinds(tmp_path / "j.sqlite")[-3:] == ["source:stalled", "source:resumed", "source:ended"]
    assert len(dict(told(tmp_path / "j.sqlite")[0][3])["detail"]) == 200


@pytest.mark.parametrize("seed", range(5))
def test_resuming_after_any_crash_tells_the_same(
    tmp_path: Path, seed: int, undisturbed: list[tuple[object, ...]]
) -> None:
    """Cut the run short at random blocks, as a crash does: no last checkpoint is written."""
    wav = write_wav(tmp_path / "story.wav", sound(*STORY))
    listen(wav, tmp_path / "whole.sqlite")
    rng = np.random.default_rng(seed)

    class Crash(Exception):
        pass

    class Fragile(ToneMachine):
        left = 0

        def judge(self, embedding: np.ndarray) -> Judgement:
            Fragile.left -= 1
            if Fragile.left < 0:
                raise Crash
            return super().judge(embedding)

    for n_hops in [*rng.integers(5, 40, 8), 10_000]:
        Fragile.left = int(n_hops)
        try:
            _listen_as(Fragile(), wav, tmp_path / "torn.sqlite")
        except Crash:
            continue
        break
    whole, torn = told(tmp_path / "whole.sqlite"), told(tmp_path / "torn.sqlite")
    assert torn == whole
    assert [row[1:3] for row in whole] == [row[1:3] for row in undisturbed]


def _listen_as(machine: ToneMachine, wav: Path, journal: Path) -> None:
    from listen_embed.monitor.pipeline import Pipeline
    from listen_embed.monitor.sources import open_source

    book = Journal(journal)
    try:
        Pipeline(
            tone_ear(), machine, RULES, book, open_source(str(wav)), rhythm=Rhythm(2.0, 1.0)
        ).run(threading.Event())
    finally:
        book.close()


def test_a_stop_writes_a_checkpoint_and_the_next_run_goes_on(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "story.wav", sound(*STORY))
    listen(wav, tmp_path / "whole.sqlite")
    stop = threading.Event()
    listen(wav, tmp_path / "j.sqlite", stop=stop, on_hop=lambda hop: hop.index < 40 or stop.set())
    assert "source:ended" not in kinds(tmp_path / "j.sqlite")
    listen(wav, tmp_path / "j.sqlite")
    assert told(tmp_path / "j.sqlite") == told(tmp_path / "whole.sqlite")


def test_playing_a_file_again_is_another_pass(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "story.wav", sound(*STORY))
    listen(wav, tmp_path / "j.sqlite")
    once = kinds(tmp_path / "j.sqlite")
    listen(wav, tmp_path / "j.sqlite")
    assert kinds(tmp_path / "j.sqlite").count("source:ended") == 2
    assert len(kinds(tmp_path / "j.sqlite")) > 2 * len(once) - 4


def test_overload_drops_whole_hops_counts_them_and_recovers(tmp_path: Path) -> None:
    samples = sound(("low", 20.0), ("high", 5.0))
    source = Blocks(*cut(samples, 800), Notice("ended"))
    source.limit_s = 2.0
    taken = iter([0.0] * 50 + [3.0] * 20 + [0.1] * 1000)
    source.waiting = lambda: next(taken)
    hops: list[Hop] = []
    listen(source, tmp_path / "j.sqlite", on_hop=hops.append)
    events = [dict(d) for _, kind, _, d in told(tmp_path / "j.sqlite") if kind == "overload"]
    assert [event["what"] for event in events] == ["begins", "ends"]
    missing = set(range(hops[-1].index + 1)) - {hop.index for hop in hops}
    assert events[1]["lost_hops"] == events[1]["dropped_hops"] == hops[-1].dropped == len(missing)
    assert 10 <= len(missing) <= 30
    assert "state:high" in kinds(tmp_path / "j.sqlite")


def test_the_source_is_told_what_it_may_forget(tmp_path: Path) -> None:
    source = Blocks(*cut(sound(("low", 10.0)), 800), Notice("ended"))
    listen(source, tmp_path / "j.sqlite")
    kept = [sample for _, sample in source.kept]
    assert kept == sorted(kept)
    assert 8 * RATE < kept[-2] <= 10 * RATE
    assert kept[-1] == 10 * RATE + 1  # ended: nothing more, the end itself included


def test_a_clock_that_was_set_dates_later_events_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A computer without a battery-backed clock learns the time in the middle of the sound."""
    source = Blocks(*cut(sound(("low", 6.0)), 800), Notice("ended"))
    source.limit_s = 2.0
    wrong, true = time.time() - 1e8, time.time()
    waited: list[float] = []

    def now() -> float:
        waited.append(0.0)
        return wrong if len(waited) < 30 else true

    monkeypatch.setattr(track.time, "time", now)
    monkeypatch.setattr(wall.WallAnchor.__init__, "__defaults__", (now, lambda: 0.0))
    listen(source, tmp_path / "j.sqlite")
    book = Journal(tmp_path / "j.sqlite")
    events = [entry.event for entry in book.after(0, 100)]
    book.close()
    clock = next(event for event in events if event.kind == "clock")
    assert clock.data == {"what": "jump", "moved_s": pytest.approx(1e8, abs=1)}
    at = events.index(clock)
    assert all(abs(event.wall - wrong) < 60 for event in events[:at])
    assert all(abs(event.wall - true) < 60 for event in events[at:])
