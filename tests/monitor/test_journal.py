"""The journal: numbers without holes, finding again adds nothing, cursors, pruning, damage."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from listen_embed.monitor.events import Event
from listen_embed.monitor.journal import (
    Checkpoint,
    DamagedJournalError,
    Journal,
    JournalError,
    open_checked,
    sole_owner,
)

from .world import point


def event(sample: int, wall: float = 100.0) -> Event:
    return Event("s", "c", sample, 10, wall, "state", {"state": "a"})


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "j.sqlite")


def test_entries_come_back_in_order_with_numbers_from_one(journal: Journal) -> None:
    new = journal.append([event(1), event(2)])
    assert [entry.number for entry in new] == [1, 2]
    assert journal.after(0, 10) == new
    assert journal.after(1, 10) == new[1:]
    assert journal.after(0, 1) == new[:1]


def test_finding_an_event_again_adds_nothing_and_leaves_no_hole(journal: Journal) -> None:
    journal.append([event(1)])
    assert journal.append([event(1), event(2), event(1)])[0].number == 2
    assert [entry.number for entry in journal.after(0, 10)] == [1, 2]


def test_the_run_stays_when_opened_again(journal: Journal, tmp_path: Path) -> None:
    assert Journal(tmp_path / "j.sqlite").run == journal.run
    assert Journal(tmp_path / "other.sqlite").run != journal.run


def test_events_and_checkpoint_are_written_together_or_not_at_all(journal: Journal) -> None:
    at = Checkpoint("c", 10, 5.0, 7, 2, False, {"state": "a"})
    journal.append([event(1)], source="s", checkpoint=at)
    assert journal.checkpoint("s") == at
    unjournallable = Event("s", "c", 9, 10, 1.0, "state", {"score": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        journal.append([event(3), unjournallable], source="s", checkpoint=Checkpoint("x", 1, 0.0))
    assert journal.checkpoint("s") == at
    assert len(journal.after(0, 10)) == 1


def test_a_new_sink_starts_at_the_present_an_old_one_where_it_was(journal: Journal) -> None:
    journal.append([event(1)])
    assert journal.register("a") == 1
    journal.append([event(2), event(3)])
    journal.advance("a", 2)
    assert (journal.register("a"), journal.register("b"), journal.cursor("c")) == (2, 3, 0)


def test_pruning_keeps_what_a_sink_still_needs(journal: Journal) -> None:
    journal.register("slow")
    journal.append([event(1, 1.0), event(2, 1.0), event(3, 50.0)], trace=[point(1.0), point(60.0)])
    journal.advance("slow", 1)
    journal.prune(now=70.0, keep_s=30.0, sinks=["slow"])
    assert [entry.number for entry in journal.after(0, 10)] == [2, 3]
    assert [p.wall for p in journal.trace(0.0, 100.0)] == [60.0]


def test_numbers_go_on_after_everything_was_pruned(journal: Journal) -> None:
    journal.append([event(1, 1.0), event(2, 1.0)])
    journal.prune(now=70.0, keep_s=30.0, sinks=[])
    assert journal.after(0, 10) == []
    assert journal.append([event(3)])[0].number == 3


def test_the_newest_events_of_a_range_in_order(journal: Journal) -> None:
    journal.append([event(n, float(n)) for n in range(10)])
    assert [entry.event.sample for entry in journal.events(3.0, 9.0, 4)] == [5, 6, 7, 8]
    assert journal.events(0.0, 99.0, 10, without=["state"]) == []


def test_points_come_back_as_they_were(journal: Journal) -> None:
    points = [point(4.0, None, x=None, y=None), point(5.0, anomaly=True)]
    journal.append(trace=points[::-1])
    assert journal.trace(3.0, 9.0) == points


def test_a_month_is_rolled_up_as_it_goes_and_no_alarm_is_lost(journal: Journal) -> None:
    for start in range(0, 3700, 10):
        journal.append(trace=[point(float(start + n), anomaly=start == 1000) for n in range(10)])
    minutes, quarters = journal.trace(0.0, 4000.0, 60), journal.trace(0.0, 4000.0, 900)
    assert (len(minutes), len(quarters)) == (62, 5)
    assert [p.wall for p in minutes if p.anomaly] == [1019.0]
    assert [p.wall for p in quarters if p.anomaly] == [1799.0]
    assert [p.wall for p in quarters][-1] == 3699.0  # what is not over is there, too


def test_writers_are_durable_and_senders_need_not_be(tmp_path: Path) -> None:
    levels = [
        Journal(tmp_path / "j", durable=d)._db.execute("PRAGMA synchronous").fetchone()[0]
        for d in (True, False)
    ]
    assert levels == [2, 1]


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no database" * 100)
    with pytest.raises(DamagedJournalError, match="give another --journal"):
        Journal(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE songs (name TEXT)")
    other.close()
    with pytest.raises(JournalError, match="another program's database"):
        open_checked(tmp_path / "other")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"there is no folder .*/no/folder"):
        Journal(tmp_path / "no" / "folder" / "j")
    with (
        pytest.raises(JournalError, match="there is no folder"),
        sole_owner(tmp_path / "no" / "j"),
    ):
        pass


def _overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : len(data) // 2] = b"\xaa" * (len(data) // 2 - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        _overwrite,
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_text("a text file, not a journal " * 100),
    ],
    ids=["overwritten", "truncated", "text"],
)
def test_a_damaged_journal_is_set_aside_with_its_date(tmp_path: Path, harm: object) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    journal.append([event(n) for n in range(500)])
    run = journal.run
    journal.close()
    harm(path)
    harmed = path.read_bytes()
    fresh, aside = open_checked(path)
    assert aside is not None
    assert aside.name.startswith("j.sqlite.damaged-2")
    assert aside.read_bytes() == harmed
    assert fresh.run != run
    assert fresh.append([event(1)])[0].number == 1
    fresh.close()
    assert open_checked(path)[1] is None


def test_a_journal_of_version_1_keeps_its_events(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append([event(1)], source="s", checkpoint=Checkpoint("c", 10, 0.0))
    journal._db.execute("CREATE TABLE trace (wall REAL)")
    journal.remember("version", "1")
    journal.close()
    journal = Journal(tmp_path / "j")
    assert len(journal.after(0, 10)) == 1
    assert journal.checkpoint("s") is None
    assert journal.remembered("version") == "2"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE checkpoints SET body = '{'",
        "UPDATE checkpoints SET body = '[]'",
        "UPDATE checkpoints SET body = '{}'",
        "UPDATE checkpoints SET body = json_set(body, '$.rate', 'fast')",
        "UPDATE events SET data = '[1]'",
        "UPDATE events SET rate = 0",
        "UPDATE events SET sample = 'first'",
        "UPDATE events SET wall = 1e300",
        "UPDATE events SET kind = x'00'",
        "UPDATE timeline SET spectrum = 5",
        "UPDATE timeline SET score = 'high'",
        "UPDATE cursors SET number = 'all'",
    ],
)
def test_a_damaged_row_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(
        [event(1)],
        source="s",
        checkpoint=Checkpoint("c", 16_000, 0.0),
        trace=[point(1.0)],
    )
    journal.advance("sink", 1)
    journal._db.execute(damage)
    with pytest.raises(JournalError, match=r"damaged \(.*move it away, or give another"):
        (
            journal.after(0, 9),
            journal.trace(0.0, 9.0),
            journal.checkpoint("s"),
            journal.cursor("sink"),
        )
    journal.close()
    if "UPDATE events" not in damage:  # going on needs no old event
        assert open_checked(tmp_path / "j")[1] is not None


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "j").remember("version", "99")
    with pytest.raises(JournalError, match="version 99"):
        Journal(tmp_path / "j")


def test_only_one_owner(tmp_path: Path) -> None:
    with (
        sole_owner(tmp_path / "j"),
        pytest.raises(JournalError, match="another monitor"),
        sole_owner(tmp_path / "j"),
    ):
        pass
    with sole_owner(tmp_path / "j"):
        pass


def test_a_full_disk_is_one_clear_error(journal: Journal) -> None:
    journal._db.execute("PRAGMA max_page_count=1")
    with pytest.raises(JournalError, match="check the disk"):
        journal.append([event(n) for n in range(10_000)])


def test_it_is_plain_sqlite(journal: Journal, tmp_path: Path) -> None:
    journal.append([event(1)])
    rows = sqlite3.connect(tmp_path / "j.sqlite").execute("SELECT kind FROM events").fetchall()
    assert rows == [("state",)]
