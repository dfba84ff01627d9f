"""Which files an argument names, and what is passed by with a word."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from listen_embed.errors import AudioFileError, ListenEmbedWarning
from listen_embed.finder import find_sounds, sounds_in

from .program import touch


def found(argument: str) -> list[tuple[str, str]]:
    return [(str(sound.path), str(sound.below)) for sound in find_sounds(argument)]


def test_a_file_is_taken_whatever_its_suffix(here: Path) -> None:
    touch("a.wav", "b", "day 1/ü.xyz")
    assert found("a.wav") == [("a.wav", "a.wav")]
    assert found("b") == [("b", "b")]
    assert found("day 1/ü.xyz") == [("day 1/ü.xyz", "ü.xyz")]


def test_a_folder_is_searched_for_sounds(here: Path) -> None:
    touch("r/b.wav", "r/a.FLAC", "r/x/y/c.ogg", "r/notes.txt", "r/.hidden.wav", "r/.git/d.wav")
    assert found("r") == [
        ("r/a.FLAC", "a.FLAC"),
        ("r/b.wav", "b.wav"),
        ("r/x/y/c.ogg", "x/y/c.ogg"),
    ]
    assert found("r/") == found("r")
    assert [below for _, below in found(str(here / "r"))] == ["a.FLAC", "b.wav", "x/y/c.ogg"]


def test_links_to_folders_are_not_followed_round_in_circles(here: Path) -> None:
    touch("r/a.wav")
    Path("r/loop").symlink_to("../r", target_is_directory=True)
    assert found("r") == [("r/a.wav", "a.wav")]


def test_patterns(here: Path) -> None:
    touch("r/a1.wav", "r/a2.wav", "r/x/a3.wav", "r/b.txt")
    assert [path for path, _ in found("r/a?.wav")] == ["r/a1.wav", "r/a2.wav"]
    assert [path for path, _ in found("r/**/*.wav")] == ["r/a1.wav", "r/a2.wav", "r/x/a3.wav"]
    assert [path for path, _ in found("r/b*")] == ["r/b.txt"]


def test_a_pattern_of_folders_searches_them(here: Path) -> None:
    touch("day-1/a.wav", "day-2/a.wav", "other/a.wav")
    assert [path for path, _ in found("day-*")] == ["day-1/a.wav", "day-2/a.wav"]


def test_a_name_that_looks_like_a_pattern_is_a_name_first(here: Path) -> None:
    touch("a[1].wav", "a1.wav")
    assert found("a[1].wav") == [("a[1].wav", "a[1].wav")]


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("nothing.wav", "nothing.wav: does not exist"),
        ("no*.wav", "no.*: no file has a name of this pattern"),
        ("empty", "empty: holds no sound files .*flac"),
    ],
)
def test_an_argument_that_names_nothing(here: Path, argument: str, why: str) -> None:
    touch("empty/notes.txt")
    with pytest.raises(AudioFileError, match=why):
        find_sounds(argument)


def test_what_is_no_file_is_passed_by_with_a_word(here: Path) -> None:
    touch("r/a.wav")
    os.mkfifo("r/pipe.wav")
    Path("r/gone.wav").symlink_to("nowhere.wav")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("r/socket.wav")
        with pytest.warns(ListenEmbedWarning, match="r: left out") as caught:
            assert found("r") == [("r/a.wav", "a.wav")]
    message = str(caught[0].message)
    assert all(f"r/{name}.wav" in message for name in ("pipe", "gone", "socket"))


def test_many_that_are_passed_by_are_counted(here: Path) -> None:
    touch("r/a.wav")
    for i in range(30):
        Path(f"r/{i}.wav").symlink_to("nowhere.wav")
    with pytest.warns(ListenEmbedWarning, match="and 10 more"):
        sounds_in("r")


def test_a_folder_may_hold_nothing(here: Path) -> None:
    touch("r/notes.txt")
    assert sounds_in(Path("r")) == []
