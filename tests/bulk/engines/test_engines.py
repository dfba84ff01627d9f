"""Every engine does every shard once, tells what cannot be done, and survives being killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from listen_embed.bulk import inspection, manifest
from listen_embed.bulk.engines import ENGINES, engine
from listen_embed.bulk.job import left_to_do, run
from listen_embed.bulk.manifest import Job, ShardRef
from listen_embed.bulk.shard import Report
from listen_embed.errors import InputError, MissingExtraError

from ..kills import disturbed
from ..world import SLOW_MODEL, hidden, planned, row_hash

# Other projects' own warnings, and sockets that they leave to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::UserWarning",
)  # fmt: skip


# So many frames of a network that a job lasts long enough to be killed in its midst.
SLOW = {"model": SLOW_MODEL, "hop_size": 0.05}


def hash_undisturbed(sounds: Path, out: Path, **options: object) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "MAX_SHARD_FILES", 5)
        job = planned(str(sounds), str(out), **options)
    assert not run(job, left_to_do(job))
    return row_hash(job)


@pytest.fixture(scope="module")
def undisturbed(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return hash_undisturbed(sounds, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def slowly(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return hash_undisturbed(sounds, tmp_path_factory.mktemp("slow"), **SLOW)


class Deadly:
    """Work that takes its process down at one shard."""

    def __init__(self, part: str) -> None:
        self.part = part

    def __call__(self, ref: ShardRef) -> Report:
        if ref.part == self.part:
            os._exit(9)
        return Report(ref.part, ref.n_files)


class Wrong:
    """Work that no worker here can do."""

    def __call__(self, ref: ShardRef) -> Report:
        raise InputError("another model")


def refs(n: int) -> list[ShardRef]:
    return [ShardRef("m", i, f"part-{i}", 1, 1) for i in range(n)]


@pytest.mark.parametrize("name", ENGINES)
def test_every_shard_is_done(name: str, sounds: Path, tmp_path: Path, undisturbed: str) -> None:
    job = planned(str(sounds), str(tmp_path / "out"))
    reports: list[Report] = []
    assert not run(job, left_to_do(job), engine_name=name, workers=2, tell=reports.append)
    assert sorted(r.part for r in reports) == sorted(ref.part for ref in job.shards())
    assert not left_to_do(job)
    assert row_hash(job) == undisturbed
    assert not list(inspection.problems(job))


@pytest.mark.parametrize("name", ["local"])
def test_a_deadly_shard_is_given_up_and_the_others_are_done(name: str) -> None:
    reports = list(engine(name).run(Deadly("part-3"), refs(8), 2, None))
    assert sorted(report.part for report in reports) == [f"part-{i}" for i in range(8)]
    (failed,) = [report for report in reports if report.error]
    assert failed.part == "part-3" and "died" in failed.error


@pytest.mark.parametrize("name", ["local", "dask"])
def test_what_no_worker_can_do_stops_the_job(name: str) -> None:
    with pytest.raises(InputError, match="another model"):
        list(engine(name).run(Wrong(), refs(3), 1, None))


def test_an_engine_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="allowed are local, ray, dask"):
        engine("spark")
    monkeypatch.setitem(ENGINES, "ray", "no_such_package")
    with pytest.raises(MissingExtraError, match=r"listen-embed\[bulk,ray\]"):
        engine("ray")


@pytest.mark.parametrize(
    ("name", "storage", "n_kills"),
    [
        ("local", "disk", 3),
        ("ray", "s3", 1),
        ("dask", "disk", 1),
    ],
)
def test_killed_at_random(
    name: str,
    storage: str,
    n_kills: int,
    sounds: Path,
    tmp_path: Path,
    slowly: str,
    request: pytest.FixtureRequest,
) -> None:
    """Nothing lost, nothing doubled, nothing left lying about; benchmarks/bulk.py kills more."""
    folder = str(tmp_path) if storage == "disk" else request.getfixturevalue("s3")
    job: Job = planned(str(sounds), f"{folder}/{name}", **SLOW)
    kills = disturbed(job, name, n_kills, seed=n_kills)
    assert kills["driver"] + kills["worker"] == n_kills
    assert row_hash(job) == slowly
    assert not list(inspection.problems(job))
    assert not hidden(tmp_path)
