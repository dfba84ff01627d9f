"""Files appear at once and whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from listen_embed.atomic import folder_beside, replacing
from listen_embed.errors import OutputError

from .program import names_in


def test_the_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
        assert not (tmp_path / "a").exists()
        assert len(list(names_in(tmp_path))) == 1
    assert list(names_in(tmp_path)) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_folder_beside_is_gone_with_what_was_not_moved(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "new" / "a") as folder:
        (folder / "kept").write_bytes(b"k")
        (folder / "dropped").write_bytes(b"d")
        (folder / "kept").rename(tmp_path / "new" / "a")
    assert list(names_in(tmp_path / "new")) == ["a"]


def test_a_folder_beside_can_itself_be_moved(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "a") as folder:
        (folder / "b").touch()
        folder.rename(tmp_path / "a")
    assert list(names_in(tmp_path / "a")) == ["b"]


def test_a_folder_beside_survives_no_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), folder_beside(tmp_path / "a") as folder:
        (folder / "b").touch()
        raise ValueError("no")
    assert list(names_in(tmp_path)) == []


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
    (tmp_path / "b").write_bytes(b"usual")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("length", [200, 255])
def test_names_as_long_as_the_disk_allows(tmp_path: Path, length: int) -> None:
    name = "n" * length
    with replacing(tmp_path / name) as file:
        file.write(b"new")
    assert list(names_in(tmp_path)) == [name]


def test_what_cannot_be_replaced_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for target, why in (
        (tmp_path / "folder.npy", "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "file" / "a.npy", "cannot be written"),
        (Path("/proc/a.npy"), "cannot be written"),
    ):
        with pytest.raises(OutputError, match=why), replacing(target):
            pytest.fail("the block must not run")
    assert list(names_in(tmp_path)) == ["file", "folder.npy", "pipe"]


def test_a_write_protected_file_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(OutputError, match="write-protected"), replacing(tmp_path / "a"):
        pytest.fail("the block must not run")
    assert (tmp_path / "a").read_bytes() == b"old"
