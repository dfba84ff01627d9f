"""Labelled clips: what is read, and what is refused and how."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from listen_embed.classify.labelled import LabelledClip, read_labelled
from listen_embed.errors import AudioFileError, InputError, ListenEmbedWarning

from .sounds import KINDS, SR, folder_of, sound, table, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("labelled"), n=2, seconds=0.3)


def test_folders_are_labels_at_any_depth(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "set")
    write(place / "hum" / "cellar" / "deep.wav", sound("hum", 9, 0.3))
    found = read_labelled(place)
    assert found.labels == tuple(sorted(KINDS))
    assert len(found) == 7 and not found.is_multi
    assert found.targets.sum(axis=1).tolist() == [1.0] * 7


def test_a_csv_gives_stretches_groups_and_several_labels(folder: Path, tmp_path: Path) -> None:
    path = folder / "hum" / "0.wav"
    rows: list[dict[str, object]] = [
        {"path": path, "label": "hum; fan ", "start": 0.1, "end": 0.2, "fold": 1, "group": "a"},
        {"path": path, "label": "hum", "start": "", "end": 0.1, "fold": 1, "group": "a"},
        {"path": folder / "hiss" / "0.wav", "label": "fan", "start": "", "end": "", "fold": 2,
         "group": "b"},
    ]  # fmt: skip
    found = read_labelled(table(tmp_path / "a.csv", rows))
    assert found.is_multi and found.labels == ("fan", "hum")
    assert found.targets.tolist() == [[1, 1], [0, 1], [1, 0]]
    assert found.groups[0] == found.groups[1] != found.groups[2]
    samples, sr = found.clips[0].load()
    whole = LabelledClip(path, ("hum",)).load()[0]
    np.testing.assert_array_equal(samples, whole[round(0.1 * SR) : round(0.2 * SR)])
    assert sr == SR


def test_odd_labels_are_kept_as_they_are(folder: Path, tmp_path: Path) -> None:
    label = 'Größe/"кот", 犬 = $5 | <b>'
    rows = [{"path": folder / kind / f"{i}.wav", "label": label if kind == "hum" else "other"}
            for kind in KINDS for i in range(2)]  # fmt: skip
    assert read_labelled(table(tmp_path / "odd.csv", rows)).labels == tuple(
        sorted([label, "other"])
    )


@pytest.mark.parametrize("label", ["a\nb", "a\x00b", "\u202e", "x" * 201])
def test_labels_that_cannot_be_printed_are_refused(
    folder: Path, tmp_path: Path, label: str
) -> None:
    rows: list[dict[str, object]] = [{"path": folder / "hum" / "0.wav", "label": label}]
    with pytest.raises(InputError, match="printable characters"):
        read_labelled(table(tmp_path / "bad.csv", rows))


def test_a_class_of_one_clip_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "set")
    (place / "hiss" / "1.wav").unlink()
    with pytest.raises(InputError, match=r"one clip each have: hiss\."):
        read_labelled(place)


def test_one_label_is_no_set(folder: Path) -> None:
    with pytest.raises(InputError, match="at least two"):
        read_labelled([LabelledClip(folder / "hum" / f"{i}.wav", ("hum",)) for i in range(2)])


@pytest.mark.parametrize("same_path", [True, False])
def test_one_sound_under_two_labels_is_refused(
    folder: Path, tmp_path: Path, same_path: bool
) -> None:
    place = shutil.copytree(folder, tmp_path / "set")
    if same_path:
        clips = [LabelledClip(place / "hum" / "0.wav", (label,)) for label in ("hum", "hiss")]
        with pytest.raises(InputError, match="under two labels"):
            read_labelled(clips, multi=False)
    else:
        shutil.copy(place / "hum" / "0.wav", place / "hiss" / "2.wav")
        with pytest.raises(InputError, match=r"hiss.2\.wav as 'hiss'; .*hum.0\.wav as 'hum'"):
            read_labelled(place)


def test_copies_of_one_file_are_one_group(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "set")
    shutil.copy(place / "hum" / "0.wav", place / "hum" / "copy.wav")
    found = read_labelled(place)
    by_name = {clip.path.name: group for clip, group in zip(found.clips, found.groups, strict=True)
               if clip.labels == ("hum",)}  # fmt: skip
    assert by_name["copy.wav"] == by_name["0.wav"] != by_name["1.wav"]


def test_unreadable_files_are_all_named(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "set")
    for name in ("one.wav", "two.wav"):
        (place / "hum" / name).write_bytes(b"no sound at all")
    with pytest.raises(AudioFileError, match=r"(?s)2 files cannot be read.*one\.wav.*two\.wav"):
        read_labelled(place)


def test_stretches_behind_the_end_are_all_named(folder: Path) -> None:
    clips = [LabelledClip(folder / kind / "0.wav", (kind,), start=start) for kind in KINDS
             for start in (0.0, 0.4)]  # fmt: skip
    with pytest.raises(AudioFileError, match=r"(?s)3 files cannot be read.*hum.*the file has 0.3"):
        read_labelled(clips)


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        (LabelledClip(Path("a.wav"), ("a\nb",)), "printable characters"),
        (LabelledClip(Path("a.wav"), ("a",), start=2.0, end=1.0), "start 2 and end 1"),
        (LabelledClip(Path("a.wav"), ("a",), start=float("nan")), "start nan"),
    ],
)
def test_clips_made_by_hand_are_checked_as_those_of_a_csv(clip: LabelledClip, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_labelled([clip])


def test_leaking_groups_are_named(folder: Path) -> None:
    clips = [
        LabelledClip(folder / kind / f"{i}.wav", (kind,), fold=str(i), group=f"{kind}-1")
        for kind in KINDS for i in range(2)
    ]  # fmt: skip
    with pytest.warns(ListenEmbedWarning, match="3 groups straddle folds: beeps-1, hiss-1, hum-1"):
        read_labelled(clips)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,class\na,b\n", "must name the columns path and label"),
        ("path,label\n", "has no rows"),
        ("path,label,start,end\na.wav,b,2,1\n", "line 2: start 2 and end 1"),
        ("path,label,start\na.wav,b,soon\n", "'soon' is no number of seconds"),
        ("path,label,split\na.wav,b,later\n", "allowed are train, valid, test"),
        ("path,label\n,b\n", "path is empty"),
    ],
)
def test_csvs_that_are_not_as_they_must_be(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_labelled(path)


def test_no_csv_at_all(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"path,label\n\xff\xfe,b\n")
    with pytest.raises(InputError, match="not a CSV in UTF-8"):
        read_labelled(path)
    with pytest.raises(InputError, match="does not exist"):
        read_labelled(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no folders of sounds"):
        read_labelled(tmp_path)
