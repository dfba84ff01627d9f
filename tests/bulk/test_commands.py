"""`bulk plan`, `run`, `status`, `verify`, `failures` and `compact`, as they are typed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from listen_embed import cli
from listen_embed.index import Index


def run(*words: str) -> int:
    return cli.main(["bulk", *words])


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return "job"


def test_from_sounds_to_large_files(
    sounds: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(sounds), "--out", out, "-m", "logmel/128/16k", "--workers", "2"]
    assert run("run", *words) == 0
    assert "34 of 34 files (100.0%)" in capsys.readouterr().err
    assert run("run", *words) == 0, "there is nothing left to do"
    assert run("status", out) == 0
    assert "files     34 of 34" in capsys.readouterr().out
    assert run("verify", out) == 0
    assert "every recording has rows or a failure" in capsys.readouterr().out
    assert run("failures", out) == 0
    failed = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert sorted(row["path"].rsplit("/", 1)[1] for row in failed) == [
        "cut.wav", "empty.wav", "header.wav", "text.wav"
    ]  # fmt: skip
    assert run("compact", out, "--to", "few") == 0
    assert capsys.readouterr().out == "few/embeddings-00000.parquet\n"
    assert cli.main(["index", "build", f"{out}/parts", "--out", "s.idx"]) == 0
    assert len(list(Index("s.idx").sources())) == 30
    next(Path(out, "parts").iterdir()).write_bytes(b"")
    assert run("verify", out) == 1


def test_slices_of_an_array_job(sounds: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", out, "-m", "logmel/128/16k"]
    assert run("run", *words, "--shard", "0/2") == 1
    assert "bulk plan" in capsys.readouterr().err
    assert run("plan", str(sounds), *words) == 0
    assert "34 recordings added; 34 in 7 shards" in capsys.readouterr().err
    for i in range(3):
        assert run("run", "--out", out, "--shard", f"{i}/3", "--workers", "1", "-q") == 0
    assert run("verify", out) == 0
    assert run("run", "--out", out, "--shard", "3/3") == 2
    assert run("run", "--out", out, "--shard", "three") == 2


def test_a_list_of_urls(sounds: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("urls.txt").write_text(f"{sounds}/a/0000.wav\n\nfile://{sounds}/b/0001.wav\n")
    assert run("plan", "--list", "urls.txt", "--out", out) == 0
    assert "2 recordings added" in capsys.readouterr().err
    assert run("plan", "--list", "none.txt", "--out", out) == 1
    assert run("plan", "--out", out) == 1
    assert run("plan", str(sounds), "--out", out, "--hop", "0.25") == 1
    assert "hop_size=1.0, now it is 0.25; give another --out" in capsys.readouterr().err


def test_s3_to_s3(sounds: Path, s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    import s3fs

    s3fs.S3FileSystem(use_listings_cache=False).put(str(sounds), f"{s3}/in", recursive=True)
    words = [f"{s3}/in", "--out", f"{s3}/job", "-m", "logmel/128/16k", "--workers", "2", "-q"]
    assert run("run", *words) == 0
    assert run("verify", f"{s3}/job") == 0
    assert run("failures", f"{s3}/job") == 0
    assert capsys.readouterr().out.count("AudioFileError") == 4


test_s3_to_s3 = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")(
    test_s3_to_s3
)
