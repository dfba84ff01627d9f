"""Formats read back what was written, piece by piece; failures leave everything as it was."""

from __future__ import annotations

import csv
import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from listen_embed import output
from listen_embed.errors import AudioFileError, InputError, MissingExtraError, OutputError
from listen_embed.output import FORMATS, Provenance

from .program import names_in

Pieces = list[tuple[np.ndarray, np.ndarray]]
MADE_BY = Provenance(model="logmel/3/test", digest="ab" * 32, version="1.2.3", emb_dim=3)


@pytest.fixture
def pieces(rng: np.random.Generator) -> Pieces:
    """Return pieces of 4, 0, 1 and 7 frames."""
    sizes = (4, 0, 1, 7)
    embedding = rng.standard_normal((sum(sizes), 3)).astype(np.float32)
    embedding[0] = (np.finfo(np.float32).tiny, -3.4e38, 0.1)
    timestamps = np.arange(sum(sizes)) / 30
    ends = np.cumsum(sizes)
    return [(embedding[end - n : end], timestamps[end - n : end]) for n, end in zip(sizes, ends)]  # noqa: B905


def joined(pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([e for e, _ in pieces]), np.concatenate([t for _, t in pieces])


def read_csv(content: bytes) -> tuple[list[str], np.ndarray, np.ndarray]:
    header, *rows = csv.reader(io.StringIO(content.decode()))
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(header))
    return header, values[:, 1:].astype(np.float32), values[:, 0]


def breaking(pieces: Pieces, error: BaseException) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield from pieces
    raise error


def test_npy_is_the_embedding(tmp_path: Path, pieces: Pieces) -> None:
    output.save(pieces, tmp_path / "a.npy", "npy", MADE_BY)
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, joined(pieces)[0])


def test_npy_has_numpys_own_bytes(tmp_path: Path, pieces: Pieces) -> None:
    output.save(pieces, tmp_path / "a.npy", "npy", MADE_BY)
    np.save(tmp_path / "b.npy", joined(pieces)[0])
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_npz_keeps_edgel3s_keys_and_tells_its_making(tmp_path: Path, pieces: Pieces) -> None:
    output.save(pieces, tmp_path / "a.npz", "npz", MADE_BY)
    embedding, timestamps = joined(pieces)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert set(found) == {"embedding", "timestamps", "model", "digest", "version"}
        np.testing.assert_array_equal(found["embedding"], embedding)
        np.testing.assert_array_equal(found["timestamps"], timestamps)
        assert found["timestamps"].dtype == np.float64
        assert str(found["model"]) == "logmel/3/test"
        assert str(found["digest"]) == "ab" * 32
        assert str(found["version"]) == "1.2.3"


def test_npz_is_the_same_file_every_time(tmp_path: Path, pieces: Pieces) -> None:
    for name in ("a.npz", "b.npz"):
        output.save(pieces, tmp_path / name, "npz", MADE_BY)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


def test_csv_comes_back_to_the_last_bit(tmp_path: Path, pieces: Pieces) -> None:
    output.save(pieces, tmp_path / "a.csv", "csv", MADE_BY)
    header, embedding, timestamps = read_csv((tmp_path / "a.csv").read_bytes())
    assert header == ["timestamp", "embedding_0", "embedding_1", "embedding_2"]
    np.testing.assert_array_equal(embedding, joined(pieces)[0])
    np.testing.assert_array_equal(timestamps, joined(pieces)[1])


def test_parquet_is_read_by_pyarrow(tmp_path: Path, pieces: Pieces) -> None:
    output.save(pieces, tmp_path / "a.parquet", "parquet", MADE_BY)
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["timestamp", "embedding"]
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), 3)
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), joined(pieces)[0])
    np.testing.assert_array_equal(table["timestamp"].to_numpy(), joined(pieces)[1])
    assert table.schema.metadata[b"model"] == b"logmel/3/test"
    assert table.schema.metadata[b"digest"] == b"ab" * 32


def test_parquet_has_row_groups_of_bounded_size(
    tmp_path: Path, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_VALUES_IN_GROUP", 9)
    output.save(pieces, tmp_path / "a.parquet", "parquet", MADE_BY)
    found = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet")
    sizes = [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)]
    assert sizes == [4, 8]
    np.testing.assert_array_equal(found.read()["timestamp"].to_numpy(), joined(pieces)[1])


@pytest.mark.parametrize("format", FORMATS)
def test_no_frames_at_all_are_an_empty_table(tmp_path: Path, format: output.Format) -> None:
    target = tmp_path / f"a.{format}"
    output.save([], target, format, MADE_BY)
    if format == "csv":
        assert read_csv(target.read_bytes())[1].shape == (0, 3)
    elif format == "parquet":
        assert pyarrow.parquet.read_table(target).num_rows == 0
    elif format == "npy":
        assert np.load(target).shape == (0, 3)
    else:
        with np.load(target) as found:
            assert found["embedding"].shape == (0, 3)
            assert found["timestamps"].shape == (0,)


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_gets_the_bytes_of_the_file(
    tmp_path: Path, pieces: Pieces, format: output.Format
) -> None:
    output.save(pieces, tmp_path / "a", format, MADE_BY)
    stream = io.BytesIO()
    output.dump(pieces, stream, format, MADE_BY)
    assert stream.getvalue() == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (SystemExit(143), SystemExit),
        (AudioFileError("a.wav: damaged"), AudioFileError),
        (OSError(28, "No space left on device"), OutputError),
    ],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, pieces: Pieces, format: output.Format, error: BaseException, seen: type
) -> None:
    target = tmp_path / f"a.{format}"
    target.write_bytes(b"old")
    with pytest.raises(seen):
        output.save(breaking(pieces, error), target, format, MADE_BY)
    assert list(names_in(tmp_path)) == [target.name]
    assert target.read_bytes() == b"old"


def test_a_full_disk_is_told_with_the_files_name(tmp_path: Path, pieces: Pieces) -> None:
    full = OSError(28, "No space left on device")
    with pytest.raises(OutputError, match=r"a\.npy: cannot be written \(No space left on device\)"):
        output.save(breaking(pieces, full), tmp_path / "a.npy", "npy", MADE_BY)


def test_folders_are_made(tmp_path: Path, pieces: Pieces) -> None:
    output.save(pieces, tmp_path / "x" / "y" / "a.npy", "npy", MADE_BY)
    assert list(names_in(tmp_path)) == ["x", "x/y", "x/y/a.npy"]


def test_formats_are_checked() -> None:
    assert [output.check_format(format) for format in FORMATS] == list(FORMATS)
    for wrong in ("wav", "", None, 3):
        with pytest.raises(InputError, match="allowed are npz, npy, csv, parquet"):
            output.check_format(wrong)


def test_a_missing_pyarrow_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "listen-embed\[parquet\]"'):
        output.check_format("parquet")


@pytest.mark.parametrize("format", FORMATS)
def test_memory_does_not_grow_with_the_result(tmp_path: Path, format: output.Format) -> None:
    def many() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(600):
            yield np.full((32, 256), i, np.float32), np.arange(32) + 32.0 * i

    made_by = Provenance(model="m", digest="d", version="v", emb_dim=256)
    output.check_format(format)
    output.save([], tmp_path / "first", format, made_by)  # imports are not counted
    tracemalloc.start()
    try:
        output.save(many(), tmp_path / "a", format, made_by)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 600 * 32 * 256 * 4 > 19e6
    assert peak < 5e6


def test_the_version_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> str:
        raise PackageNotFoundError(name)

    try:
        assert output.package_version() == version("listen-embed")
    except PackageNotFoundError:
        assert output.package_version() == "0+source"
    monkeypatch.setattr("importlib.metadata.version", fail)
    assert output.package_version() == "0+source"
