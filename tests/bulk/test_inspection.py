"""Status, verification and compaction tell what is there, and notice every kind of damage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from listen_embed.bulk import inspection
from listen_embed.bulk.compact import compact
from listen_embed.bulk.inspection import problems, status
from listen_embed.bulk.manifest import Job
from listen_embed.bulk.shard import embed_shard
from listen_embed.errors import InputError

from .world import planned, rows


@pytest.fixture
def job(sounds: Path, tmp_path: Path) -> Job:
    job = planned(str(sounds), str(tmp_path / "out"))
    for ref in job.shards():
        embed_shard(job, ref)
    return job


def part(job: Job, number: int = 0) -> Path:
    return Path(job.url, "parts", f"{list(job.shards())[number].part}.parquet")


def test_status(job: Job) -> None:
    whole = status(job)
    assert whole.is_complete and whole.n_failures == 4
    assert (whole.n_files, whole.n_files_done, whole.n_shards) == (34, 34, 7)
    part(job).unlink()
    less = status(job)
    assert not less.is_complete
    assert (less.n_shards_done, less.n_files_done) == (6, 29)
    assert less.n_bytes_done < less.n_bytes == whole.n_bytes


def test_all_is_well(job: Job) -> None:
    assert not list(problems(job))


def test_a_part_that_is_missing_or_unknown(job: Job) -> None:
    part(job).rename(part(job).with_name("x.parquet"))
    told = list(problems(job))
    assert len(told) == 2
    assert "x.parquet: the manifest does not know it" in told[0]
    assert "is not there yet; run the job again" in told[1]


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.98])
def test_a_part_that_is_cut_off(job: Job, kept: float) -> None:
    content = part(job).read_bytes()
    part(job).write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    (told,) = problems(job)
    assert "is damaged" in told and "remove it and run the job again" in told


def test_damage_within_the_rows(job: Job) -> None:
    content = bytearray(part(job).read_bytes())
    content[200:700] = bytes(500)
    part(job).write_bytes(content)
    assert list(problems(job))


def rewrite(path: Path, table: pyarrow.Table) -> None:
    pyarrow.parquet.write_table(table, path)


def test_rows_that_are_missing_doubled_or_foreign(job: Job) -> None:
    table = pyarrow.parquet.read_table(part(job))
    first = table.column("path")[0].as_py()
    is_first = pyarrow.compute.equal(table.column("path"), first)
    without = table.filter(pyarrow.compute.invert(is_first))
    rewrite(part(job), without)
    assert "has no rows of " + first in next(problems(job))
    rewrite(part(job), pyarrow.concat_tables([table, table]))
    assert any("times" in told for told in problems(job))
    rewrite(part(job), pyarrow.parquet.read_table(part(job, 1)))
    assert any("which is not in the shard" in told for told in problems(job))


def test_another_models_part(job: Job) -> None:
    other = dataclasses.replace(job, settings=dataclasses.replace(job.settings, digest="0"))
    assert any("another model" in told for told in problems(other))


def test_failures_of_unfinished_shards_do_not_count(job: Job) -> None:
    for path in Path(job.url, "parts").iterdir():
        path.unlink()
    assert not list(inspection.failures(job))


def test_compacting(job: Job, tmp_path: Path) -> None:
    target = tmp_path / "few"
    expected = rows(job)
    names = compact(job, str(target), rows_in_file=60)
    assert len(names) > 1
    tables = [pyarrow.parquet.read_table(target / name) for name in names]
    assert all(len(table) >= 60 for table in tables[:-1])
    assert sum(map(len, tables)) == len(expected)
    assert tables[0].schema.metadata[b"model"] == b"logmel/128/16k"
    assert len(pyarrow.parquet.read_table(target / "failures.parquet")) == 4
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    assert compact(job, str(target), rows_in_file=60) == names
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert compact(job, str(target)) == ["embeddings-00000.parquet"]
    assert {path.name for path in target.iterdir()} == {
        "embeddings-00000.parquet", "failures.parquet"
    }  # fmt: skip
    part(job).unlink()
    with pytest.raises(InputError, match="not finished"):
        compact(job, str(target))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_other_programs_read_it(sounds: Path, tmp_path: Path, dtype: str) -> None:
    import duckdb
    import pandas

    job = planned(str(sounds), str(tmp_path / "out"), dtype=dtype)
    reports = [embed_shard(job, ref) for ref in job.shards()]
    n_rows, pattern = sum(report.n_rows for report in reports), f"{job.url}/parts/*.parquet"
    query = f"select count(*), count(distinct path), min(len(embedding)) from '{pattern}'"
    assert duckdb.sql(query).fetchall() == [(n_rows, 30, 128)]
    frame = pandas.read_parquet(f"{job.url}/parts")
    assert frame.shape == (n_rows, 5 if dtype == "int8" else 4)
    assert len(frame["embedding"].iloc[0]) == 128
    found = duckdb.sql(f"select path, start from '{pattern}' order by path, start").fetchall()
    assert found == sorted(zip(frame["path"], frame["start"], strict=True))
