"""What URLs name: files, folders, archives, on a disk, S3 and HTTP."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from listen_embed.bulk import listing
from listen_embed.bulk.manifest import Item
from listen_embed.errors import AudioFileError, InputError

from ..web import Web

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.wav", "a.FLAC", "x/c.mp3", "notes.txt", ".hidden.wav", ".git/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(items: list[Item], folder: Path) -> list[str]:
    return [item.url.removeprefix(f"file://{folder}/") for item in items]


def content(item: Item) -> bytes:
    with listing.opened(item) as file:
        return file.read()


def test_a_folder(folder: Path) -> None:
    items = list(listing.find([str(folder)]))
    assert names(items, folder) == ["a.FLAC", "b.wav", "x/c.mp3"]
    assert [item.size for item in items] == [6, 5, 7]
    assert all(item.etag for item in items)
    assert content(items[2]) == b"x/c.mp3"


def test_folders_come_in_order(tmp_path: Path) -> None:
    for name in ("z/1.wav", "m/2.wav", "a/3.wav", "m/b/4.wav", "0.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = names(list(listing.find([str(tmp_path)])), tmp_path)
    assert found == ["0.wav", "a/3.wav", "m/2.wav", "m/b/4.wav", "z/1.wav"]


def test_a_named_file_is_taken_whatever_it_is(folder: Path) -> None:
    (item,) = listing.find([str(folder / "notes.txt")])
    assert content(item) == b"notes.txt"
    with pytest.raises(AudioFileError, match="does not exist"):
        list(listing.find([str(folder / "none")]))
    with pytest.raises(InputError):
        list(listing.find(["nosuch://x"]))


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_members_of_archives(folder: Path, kind: str) -> None:
    path = folder / f"archive.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("b.wav", "x/c.mp3", "notes.txt"):
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, "w:gz" if kind == "tgz" else "w") as archive:
            for name in ("b.wav", "x/c.mp3", "notes.txt"):
                archive.add(folder / name, name)
    items = list(listing.find([str(path)]))
    protocol = "zip" if kind == "zip" else "tar"
    assert [item.url for item in items] == [
        f"{protocol}://b.wav::file://{path}",
        f"{protocol}://x/c.mp3::file://{path}",
    ]
    assert [content(item) for item in items] == [b"b.wav", b"x/c.mp3"]
    assert len(list(listing.find([str(folder)]))) == 5, "archives in folders are looked into"


def test_s3(s3: str, folder: Path) -> None:
    import s3fs

    fs = s3fs.S3FileSystem(use_listings_cache=False)
    for name in ("b.wav", "x/c.mp3", "notes.txt"):
        fs.pipe_file(f"{s3}/list/{name}", (folder / name).read_bytes())
    items = list(listing.find([f"{s3}/list"]))
    assert [item.url for item in items] == [f"{s3}/list/b.wav", f"{s3}/list/x/c.mp3"]
    assert items[0].size == 5 and items[0].etag.strip('"')
    assert content(items[1]) == b"x/c.mp3"


def test_http(web: Web, folder: Path) -> None:
    web.files["/b.wav"] = folder / "b.wav"
    (item,) = listing.find([f"{web.url}/b.wav"])
    assert item.url == f"{web.url}/b.wav"
    assert content(item) == b"b.wav"
