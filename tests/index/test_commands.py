"""`index build`, `index add` and `search`, as they are typed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from listen_embed import cli
from listen_embed.index import Index

SR = 16_000


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three recordings of five seconds; each second is another tone."""
    monkeypatch.chdir(tmp_path)
    Path("sounds").mkdir()
    time = np.arange(SR) / SR
    for i, name in enumerate(("low", "middle", "high")):
        seconds = [0.3 * np.sin(2 * np.pi * (200 + 150 * (5 * i + j)) * time) for j in range(5)]
        soundfile.write(f"sounds/{name}.wav", np.concatenate(seconds), SR)
    return tmp_path


def run(*words: str) -> int:
    return cli.main(list(words))


def query(name: str, second: int) -> None:
    samples, sr = soundfile.read(f"sounds/{name}.wav")
    soundfile.write("query.wav", samples[second * sr : (second + 1) * sr], sr)


def hits(out: str) -> list[dict[str, str]]:
    return list(csv.DictReader(out.splitlines()))


def test_from_sounds_to_hits(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("index", "build", "sounds", "--out", "s.idx") == 0
    assert "15 embeddings of sea/64/general" in capsys.readouterr().err
    query("middle", 3)
    search = ["search", "query.wav", "--index", "s.idx", "-k", "3"]
    assert run(*search, "--csv", "--plot", "hits.png", "--cut", "cut") == 0
    found = hits(capsys.readouterr().out)
    assert len(found) == 3
    first = found[0]
    assert (first["path"], first["start"], first["end"]) == ("sounds/middle.wav", "3.0", "4.0")
    assert float(first["score"]) > 0.99, "not 1: the resampler sees other neighbours at the ends"
    assert Path("hits.png").read_bytes()[1:4] == b"PNG"
    cut, sr = soundfile.read("cut/001-middle-3.00.flac")
    assert sr == SR
    np.testing.assert_allclose(cut, soundfile.read("query.wav")[0], atol=1e-4)
    assert len(list(Path("cut").iterdir())) == 3
    assert run(*search) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.split() == [f"{float(first['score']):+.4f}", "3.00", "4.00", "sounds/middle.wav"]


def test_a_part_of_the_query(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("index", "build", "sounds", "--out", "s.idx", "-q")
    words = ["search", "sounds/high.wav", "--begin", "1", "--end", "2", "--index", "s.idx", "--csv"]
    assert run(*words) == 0
    first = hits(capsys.readouterr().out)[0]
    assert (first["path"], first["start"]) == ("sounds/high.wav", "1.0")
    assert run("search", "sounds/high.wav", "--begin", "60", "--index", "s.idx") == 1
    assert "lasts 5.00 s" in capsys.readouterr().err


def test_results_and_additions(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sounds/low.wav", "sounds/middle.wav", "--out", "results/", "--hop", "1") == 0
    assert run("index", "build", "results/", "--out", "s.idx") == 0
    assert run("index", "add", "results", "sounds/high.wav", "--out", "s.idx", "--approximate") == 0
    assert "1 sounds added, 2 were there already" in capsys.readouterr().err
    index = Index("s.idx")
    assert list(index.sources()) == ["results/low.npz", "results/middle.npz", "sounds/high.wav"]
    query("high", 2)
    assert run("search", "query.wav", "--index", "s.idx", "--approximate", "--csv") == 0
    assert hits(capsys.readouterr().out)[0]["path"] == "sounds/high.wav"


def test_what_cannot_be_added_is_told_and_the_rest_is(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sounds/broken.wav").write_bytes(b"RIFF")
    assert run("sounds/low.wav", "--out", "other.npz", "--model", "sea/32/nano") == 0
    assert run("index", "build", "sounds", "other.npz", "--out", "s.idx") == 1
    told = capsys.readouterr().err
    assert "sounds/broken.wav" in told
    assert "other.npz: embedded by sea/32/nano" in told
    assert len(Index("s.idx")) == 15


def test_another_models_index_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("index", "build", "sounds", "--out", "s.idx", "--model", "sea/32/nano")
    assert run("search", "sounds/low.wav", "--index", "s.idx", "-m", "sea/64/general") == 1
    assert "Use --model sea/32/nano" in capsys.readouterr().err
    assert run("search", "sounds/low.wav", "--index", "sounds") == 1
    assert "no index of listen-embed" in capsys.readouterr().err


def test_a_picture_of_sounds_that_are_gone(here: Path) -> None:
    run("index", "build", "sounds", "--out", "s.idx", "-q")
    query("low", 0)
    for path in Path("sounds").iterdir():
        path.unlink()
    search = ["search", "query.wav", "--index", "s.idx", "-k", "2"]
    assert run(*search, "--plot", "hits.svg", "--cut", "cut") == 0
    assert Path("hits.svg").stat().st_size > 1_000
    assert not Path("cut").exists(), "there was nothing to cut"
    assert run(*search, "--plot", "hits.gif") == 1
