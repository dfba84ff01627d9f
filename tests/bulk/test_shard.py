"""One shard: what it becomes, what it refuses, and that doing it again changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from listen_embed import Embedder
from listen_embed.bulk import inspection, listing, parts, reading, shard
from listen_embed.bulk.manifest import Job, freeze
from listen_embed.bulk.shard import embed_shard
from listen_embed.errors import InputError

from .world import MODEL, SR, hidden, planned, row_hash, rows, settings


@pytest.fixture
def job(sounds: Path, tmp_path: Path) -> Job:
    return planned(str(sounds), str(tmp_path / "out"))


def do(job: Job) -> list[shard.Report]:
    return [embed_shard(job, ref) for ref in job.shards()]


def test_rows_are_the_embedders(job: Job, sounds: Path) -> None:
    reports = do(job)
    assert not any(report.error for report in reports)
    assert sum(report.n_files for report in reports) == 34
    assert sum(report.n_failures for report in reports) == 4
    found = rows(job)
    assert sum(report.n_rows for report in reports) == len(found)
    embedder = Embedder(MODEL, hop_size=0.5, center=False)
    for path in (sounds / "a/0000.wav", sounds / "b/0029.wav"):
        embedding, timestamps = embedder.embed_file(path)
        of_path = [row for row in found if row[0].endswith(str(path))]
        assert [row[1] for row in of_path] == timestamps.tolist()
        assert [row[2] for row in of_path] == (timestamps + 1).tolist()
        assert [row[3] for row in of_path] == [
            np.asarray(row.tolist()).tobytes() for row in embedding
        ]


def test_failures_tell_why(job: Job) -> None:
    do(job)
    told = {failure.path.rsplit("/", 1)[1]: failure.message for failure in inspection.failures(job)}
    assert told.keys() == {"text.wav", "empty.wav", "header.wav", "cut.wav"}
    assert "cut off" in told["cut.wav"]
    assert "not readable as audio" in told["text.wav"]


def test_again_is_the_same_to_the_byte(job: Job) -> None:
    do(job)
    folder = Path(job.url)
    before = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    do(job)
    assert {path: path.read_bytes() for path in folder.rglob("*.parquet")} == before
    assert not hidden(folder)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_narrow_rows(sounds: Path, tmp_path: Path, dtype: str) -> None:
    wide = planned(str(sounds), str(tmp_path / "wide"))
    narrow = planned(str(sounds), str(tmp_path / dtype), dtype=dtype)
    ref, same = next(wide.shards()), next(narrow.shards())
    assert ref.part != same.part, "another dtype is another part"
    embed_shard(wide, ref), embed_shard(narrow, same)
    with inspection.open_part(wide, ref) as a, inspection.open_part(narrow, same) as b:
        (expected,) = map(parts.as_float, inspection.read_batches(a))
        (stored,) = inspection.read_batches(b)
        assert str(stored.schema.field("embedding").type).startswith("fixed_size_list")
        error = np.abs(parts.as_float(stored) - expected).max(axis=1)
    assert (
        error <= np.abs(expected).max(axis=1) * (1e-3 if dtype == "float16" else 0.5 / 126)
    ).all()


def test_a_recording_that_is_too_long_is_a_failure(sounds: Path, tmp_path: Path) -> None:
    job = planned(str(sounds), str(tmp_path / "out"), max_seconds=2.5)
    do(job)
    told = [f for f in inspection.failures(job) if "lasts longer than 2.5 s" in f.message]
    assert len(told) == 10
    assert not list(inspection.problems(job))


def test_a_failing_storage_is_never_a_bad_sound(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again; if it goes on failing the shard is not done, and nothing is recorded."""
    undisturbed = row_hash_of_all(job)
    for path in Path(job.url).rglob("parts/*"):
        path.unlink()
    pauses: list[float] = []
    monkeypatch.setattr(reading.patiently, "__defaults__", (pauses.append,))
    calls = {"n": 0}

    def flaky(item: object) -> object:
        calls["n"] += 1
        if calls["n"] % 3 == 0:
            raise TimeoutError("the network is down")
        return listing.opened(item)  # type: ignore[arg-type]

    monkeypatch.setattr(reading.blocks, "__defaults__", (flaky,))
    reports = do(job)
    assert not any(report.error for report in reports)
    assert pauses and set(pauses) == {0.5}
    assert row_hash(job) == undisturbed

    def dead(item: object) -> object:
        raise TimeoutError("the network is down")

    monkeypatch.setattr(reading.blocks, "__defaults__", (dead,))
    for path in Path(job.url).rglob("parts/*"):
        path.unlink()
    (report, *_) = do(job)
    assert "StorageError" in report.error and "tried 4 times" in report.error
    assert not rows(job) and not hidden(Path(job.url))


def row_hash_of_all(job: Job) -> str:
    do(job)
    return row_hash(job)


def test_a_long_recording_that_ends_badly_leaves_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row groups of it are written before its end is seen; the part is begun anew without it."""
    monkeypatch.setattr(parts, "GROUP_VALUES", 128 * 20)
    folder = tmp_path / "sounds"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i, seconds in enumerate((3, 60, 3)):
        sound = rng.normal(0, 0.1, seconds * SR)
        soundfile.write(folder / f"{i}.flac", sound, SR)
    content = (folder / "1.flac").read_bytes()
    damaged = bytearray(content)
    damaged[-20_000:] = bytes(20_000)
    (folder / "1.flac").write_bytes(damaged)
    job = planned(str(folder), str(tmp_path / "out"))
    (report,) = do(job)
    assert (report.n_failures, report.error) == (1, "")
    assert {path.rsplit("/", 1)[1] for path, *_ in rows(job)} == {"0.flac", "2.flac"}
    assert not list(inspection.problems(job))


def test_a_recording_that_changed_or_went_is_a_failure(sounds: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "sounds"
    shutil.copytree(sounds / "b", folder)
    job = planned(str(folder), str(tmp_path / "out"))
    (folder / "0001.wav").unlink()
    (folder / "0003.wav").write_bytes((folder / "0005.wav").read_bytes())
    do(job)
    told = {f.path.rsplit("/", 1)[1]: f.message for f in inspection.failures(job)}
    assert "does not exist any more" in told["0001.wav"]
    assert "has changed since" in told["0003.wav"]


def test_another_model_stops_the_worker(sounds: Path, tmp_path: Path) -> None:
    import dataclasses

    made_elsewhere = dataclasses.replace(settings(), digest="0" * 64)
    job, _, _ = freeze(str(tmp_path / "out"), made_elsewhere, listing.find([str(sounds)]))
    with pytest.raises(InputError, match="install the same version"):
        do(job)


def test_what_a_part_tells_of_itself(job: Job) -> None:
    do(job)
    path = next(Path(job.url).glob("parts/*.parquet"))
    stored = pyarrow.parquet.read_schema(path).metadata
    assert stored[b"model"] == MODEL.encode()
    assert stored[b"digest"] == Embedder(MODEL).digest.encode()
    assert stored[b"hop_size"] == b"0.5"
