"""What is frozen stays frozen: new recordings make new shards, the others keep their parts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from listen_embed.bulk import manifest
from listen_embed.bulk.job import Slice, left_to_do
from listen_embed.bulk.manifest import Item, Job, freeze
from listen_embed.errors import InputError, OutputError

from .world import settings


def items(n: int, first: int = 0, size: int = 10) -> list[Item]:
    return [Item(f"file:///{i:05d}.wav", size, "e") for i in range(first, first + n)]


def refs(job: Job) -> list[manifest.ShardRef]:
    return list(job.shards())


def test_shards_hold_everything_once_and_in_order(tmp_path: Path) -> None:
    job, n_new, n_changed = freeze(str(tmp_path), settings(), items(38))
    assert (n_new, n_changed, job.n_files, job.n_shards) == (38, 0, 38, 8)
    assert [item for ref in refs(job) for item in job.items(ref)] == items(38)
    assert len(job.manifests) == 3 and Job.read(str(tmp_path)) == job
    assert [ref.n_files for ref in refs(job)] == [5] * 7 + [3]
    assert sum(ref.n_bytes for ref in refs(job)) == 380


def test_shards_are_bounded_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_SHARD_BYTES", 25)
    job, _, _ = freeze(str(tmp_path), settings(), items(7))
    assert [ref.n_files for ref in refs(job)] == [3, 3, 1]


def test_new_recordings_shift_nothing(tmp_path: Path) -> None:
    before, _, _ = freeze(str(tmp_path), settings(), items(12, first=5))
    after, n_new, n_changed = freeze(str(tmp_path), settings(), items(25))
    assert (n_new, n_changed) == (13, 0)
    assert refs(after)[: before.n_shards] == refs(before)
    assert after.n_files == 25
    again, n_new, _ = freeze(str(tmp_path), settings(), items(25))
    assert (again, n_new) == (after, 0)


def test_changed_recordings_are_told_and_left_out(tmp_path: Path) -> None:
    freeze(str(tmp_path), settings(), items(6))
    job, n_new, n_changed = freeze(str(tmp_path), settings(), items(3, size=11) + items(1, 100))
    assert (n_new, n_changed, job.n_files) == (1, 3, 7)


def test_a_parts_name_is_its_inputs(tmp_path: Path) -> None:
    made = settings()
    assert made.part_name(items(3)) == made.part_name(items(3))
    others = [
        made.part_name(items(2)),
        made.part_name(items(3, size=11)),
        dataclasses.replace(made, hop_size=0.25).part_name(items(3)),
        dataclasses.replace(made, digest="0").part_name(items(3)),
        dataclasses.replace(made, dtype="int8").part_name(items(3)),
    ]
    assert made.part_name(items(3)) not in others and len({*others}) == 5
    newer = dataclasses.replace(made, version="99")
    assert newer.part_name(items(3)) == made.part_name(items(3)), "the digest says what counts"


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    freeze(str(tmp_path), settings(), items(3))
    with pytest.raises(InputError, match="dtype='float32', now it is 'int8'; give another --out"):
        freeze(str(tmp_path), settings(dtype="int8"), items(3))


def test_a_freezing_that_dies_leaves_no_trace(tmp_path: Path) -> None:
    before, _, _ = freeze(str(tmp_path), settings(), items(3))

    def dying() -> object:
        yield from items(70)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        freeze(str(tmp_path), settings(), dying())  # type: ignore[arg-type]
    assert Job.read(str(tmp_path)) == before
    assert len(list((tmp_path / "manifest").iterdir())) > 1
    freeze(str(tmp_path), settings(), items(3))
    assert len(list((tmp_path / "manifest").iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "damaged"),
        ("{}", "not a job"),
        ('{"format": "other"}', "not a job"),
        ("3", "not a job"),
    ],
)
def test_what_is_no_job(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(InputError, match="bulk plan"):
        Job.read(str(tmp_path))
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(InputError, match=why):
        Job.read(str(tmp_path))


def test_a_damaged_manifest(tmp_path: Path) -> None:
    job, _, _ = freeze(str(tmp_path), settings(), items(3))
    path = tmp_path / "manifest" / f"{job.manifests[0].name}.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(OutputError, match="missing or damaged"):
        refs(job)


def test_slices_share_the_shards_out(tmp_path: Path) -> None:
    job, _, _ = freeze(str(tmp_path), settings(), items(38))
    shared = [left_to_do(job, Slice(i, 3)) for i in range(3)]
    assert sorted(map(len, shared)) == [2, 3, 3]
    assert {ref.part for refs in shared for ref in refs} == {ref.part for ref in refs(job)}
    for i, n in ((3, 3), (-1, 2), (0, 0)):
        with pytest.raises(InputError, match="shard is"):
            Slice(i, n)


def test_settings_out_of_range() -> None:
    with pytest.raises(InputError, match="dtype is 'double'"):
        settings(dtype="double")
    with pytest.raises(InputError, match="max_seconds"):
        settings(max_seconds=-1)


def test_the_job_is_readable(tmp_path: Path) -> None:
    freeze(str(tmp_path), settings(), items(3))
    facts = json.loads((tmp_path / "job.json").read_text())
    assert facts["settings"]["model"] == "logmel/128/16k"
