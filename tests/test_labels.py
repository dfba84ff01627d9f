"""Selections as Raven, Audacity, Kaleidoscope and R read them, and what is in them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from listen_embed import Embedder, cli
from listen_embed.errors import HeadError, InputError
from listen_embed.heads import Classifier
from listen_embed.labels import Labelled, Stretch, as_text, label_file, write

SR = 16_000
NAME = "logmel/128/16k"


def tone(hz: float, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(int(hz))
    time = np.arange(int(seconds * SR)) / SR
    return 0.3 * np.sin(2 * np.pi * hz * time) + 0.01 * rng.standard_normal(len(time))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recordings of known course, and a classifier of two tones."""
    monkeypatch.chdir(tmp_path)
    Path("site").mkdir()
    soundfile.write("site/a.wav", np.concatenate([tone(300, 4), tone(3_000, 6)]), SR)
    soundfile.write("site/b.wav", tone(3_000, 2.5), SR)
    embedder = Embedder(NAME, hop_size=0.5)
    low, _ = embedder.embed(tone(300, 5), SR)
    high, _ = embedder.embed(tone(3_000, 5), SR)
    classifier = Classifier(embedder)
    classifier.learn([*low[2:8], *high[2:8]], ["low"] * 6 + ["high, loud"] * 6)
    classifier.save("head.npz")
    return tmp_path


@pytest.mark.parametrize("hop", [0.1, 0.5, 1.0])
def test_stretches_are_where_the_sounds_are(here: Path, hop: float) -> None:
    embedder = Embedder(NAME, hop_size=hop, center=False)
    sound = label_file(embedder, Classifier.load("head.npz"), "site/a.wav")
    assert (sound.seconds, sound.sr) == (10.0, SR)
    low, *_, high = sound.stretches
    assert (low.label, high.label, low.start, high.end) == ("low", "high, loud", 0.0, 10.0)
    assert low.end == pytest.approx(4, abs=0.5) and high.start == pytest.approx(4, abs=0.5)
    assert all(a.end == b.start for a, b in zip(sound.stretches, sound.stretches[1:], strict=False))
    assert all(0.5 <= stretch.score <= 1 for stretch in sound.stretches)
    without = label_file(embedder, Classifier.load("head.npz"), "site/a.wav", omit=["low"])
    assert {stretch.label for stretch in without.stretches} == {"high, loud"}


def test_numbers_as_labels_are_told_as_text(here: Path) -> None:
    embedder = Embedder(NAME, hop_size=0.5)
    low, high = (embedder.embed(tone(hz, 5), SR)[0][2:8] for hz in (300, 3_000))
    classifier = Classifier(embedder).learn([*low, *high], [1] * 6 + [2] * 6)
    heard = label_file(embedder.at(center=False), classifier, "site/b.wav", omit=["1"])
    assert {stretch.label for stretch in heard.stretches} == {"2"}


def test_another_models_head_is_refused(here: Path) -> None:
    with pytest.raises(HeadError):
        label_file(Embedder("sea/32/nano"), Classifier.load("head.npz"), "site/a.wav")


SOUNDS = [
    Labelled(Path("/in/site/a.wav"), 10.25, 48_000, (Stretch(0, 2.5, "low", 0.75),
                                                    Stretch(4, 10.25, "high, loud", 1))),
    Labelled(Path("/in/site/quiet.wav"), 60.0, 48_000, ()),
    Labelled(Path("/in/site/b.wav"), 5.0, 16_000, (Stretch(1.5, 2, 'a "b"', 0.5),)),
]  # fmt: skip


def test_raven_counts_time_on_from_file_to_file() -> None:
    rows = list(csv.DictReader(as_text(SOUNDS, "raven").splitlines(), delimiter="\t"))
    assert [row["Selection"] for row in rows] == ["1", "2", "3"]
    assert [float(row["Begin Time (s)"]) for row in rows] == [0.0, 4.0, 10.25 + 60 + 1.5]
    assert [float(row["End Time (s)"]) for row in rows] == [2.5, 10.25, 10.25 + 60 + 2]
    assert [float(row["File Offset (s)"]) for row in rows] == [0.0, 4.0, 1.5]
    assert [row["Begin Path"] for row in rows] == ["/in/site/a.wav"] * 2 + ["/in/site/b.wav"]
    assert [row["Annotation"] for row in rows] == ["low", "high, loud", 'a "b"']
    assert [row["High Freq (Hz)"] for row in rows] == ["24000.0", "24000.0", "8000.0"]
    assert {row["View"] for row in rows} == {"Spectrogram 1"}


def test_audacity_is_one_sounds() -> None:
    assert as_text(SOUNDS[:1], "audacity") == (
        "0.000000\t2.500000\tlow\n4.000000\t10.250000\thigh, loud\n"
    )
    with pytest.raises(InputError, match="a label track belongs to one sound"):
        as_text(SOUNDS, "audacity")


def test_kaleidoscope_has_its_columns_and_no_others() -> None:
    lines = as_text(SOUNDS, "kaleidoscope").splitlines()
    assert lines[0] == "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST"
    assert lines[2] == '/in,site,a.wav,4.000000,6.250000,"high, loud",0.0000'
    assert len(lines) == 4


def test_csv_reads_as_a_table() -> None:
    rows = list(csv.DictReader(as_text(SOUNDS, "csv").splitlines()))
    assert list(rows[0]) == ["path", "start", "end", "label", "score"]
    assert [float(row["score"]) for row in rows] == [0.75, 1.0, 0.5]
    assert rows[2]["label"] == 'a "b"'


def test_a_format_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="allowed are raven, audacity, kaleidoscope, csv"):
        write(SOUNDS, tmp_path / "x", "praat")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


# ---- the command -----------------------------------------------------------------------------


def run(*words: str) -> int:
    return cli.main(["label", *words])


def test_the_command_writes_one_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("site", "--head", "head.npz", "--out", "all.txt") == 0
    with open("all.txt") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    assert rows[0]["Annotation"] == "low"
    assert (rows[-1]["Begin Path"], rows[-1]["End Time (s)"]) == ("site/b.wav", "12.500000")
    assert run("site/b.wav", "--head", "head.npz", "--format", "csv") == 0
    assert "site/b.wav,0.0,2.5," in capsys.readouterr().out


def test_the_command_writes_a_file_for_each(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["site", "--head", "head.npz", "--format", "audacity"]
    assert run(*words, "--out", "labels/") == 0
    assert sorted(path.name for path in Path("labels").iterdir()) == [
        "a.labels.txt", "b.labels.txt"
    ]  # fmt: skip
    assert run(*words) == 2
    assert "give --out a folder" in capsys.readouterr().err


def test_what_cannot_be_read_is_told_and_the_rest_is_done(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("site/broken.wav").write_bytes(b"RIFF")
    assert run("site", "--head", "head.npz", "--out", "all.csv", "--format", "kaleidoscope") == 1
    assert "site/broken.wav" in capsys.readouterr().err
    assert "b.wav" in Path("all.csv").read_text()
    assert run("site", "--head", "site/b.wav") == 1
