"""URLs -> recordings, a folder at a time, on any storage that fsspec lists, also in archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import IO, Any

from listen_embed.bulk.manifest import Item
from listen_embed.bulk.place import filesystem
from listen_embed.errors import AudioFileError
from listen_embed.finder import AUDIO_SUFFIXES

# Suffix of an archive -> fsspec's name for what reads it.
_ARCHIVES = {".zip": "zip", ".tar": "tar", ".tar.gz": "tar", ".tgz": "tar"}
# What storages call the mark that changes with a file's content, the best first.
_ETAGS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "CRC")


def find(urls: Iterable[str], suffixes: frozenset[str] = AUDIO_SUFFIXES) -> Iterator[Item]:
    """Yield recordings in a fixed order: named files as they are, folders with all below them.

    Parameters
    ----------
    urls : iterable of str
        Files, folders and archives (``.zip``, ``.tar``), with their protocol unless they are local.
    suffixes : frozenset of str
        What is taken of folders and archives, in small letters.

    Raises
    ------
    AudioFileError
        A URL names nothing.
    """
    for url in urls:
        fs, path = filesystem(url)
        try:
            info = fs.info(path)
        except FileNotFoundError as error:
            raise AudioFileError(f"{url}: does not exist") from error
        if info["type"] == "directory":
            yield from _in_folder(fs, path, suffixes)
        else:
            yield from _of_file(fs, path, info, suffixes, is_named=True)


def _in_folder(fs: Any, path: str, suffixes: frozenset[str]) -> Iterator[Item]:
    for _, folders, files in fs.walk(path, detail=True):
        visible = sorted(name for name in folders if not name.startswith("."))
        kept = {name: folders[name] for name in visible}
        folders.clear()
        folders.update(kept)  # what the walk goes on with, in this order
        for name in sorted(files):
            if not name.startswith("."):
                info = files[name]
                yield from _of_file(fs, info["name"], info, suffixes, is_named=False)


def _of_file(
    fs: Any, path: str, info: dict[str, Any], suffixes: frozenset[str], is_named: bool
) -> Iterator[Item]:
    url = fs.unstrip_protocol(path)
    if protocol := _archive_protocol(path):
        yield from _in_archive(url, protocol, suffixes)
    elif is_named or _suffix(path) in suffixes:
        yield Item(url, _size(info), _etag(info))


def _in_archive(url: str, protocol: str, suffixes: frozenset[str]) -> Iterator[Item]:
    archive = _archive(protocol, url)
    for path, info in sorted(archive.find("", detail=True).items()):
        if _suffix(path) in suffixes:
            yield Item(f"{protocol}://{path}::{url}", _size(info), _etag(info))


def opened(item: Item) -> IO[bytes]:
    """Return a recording's bytes as a file that can seek.

    Small files come in one request; large ones piece by piece.

    Raises
    ------
    FileNotFoundError
        It is not there any more.
    Exception
        Whatever the storage raises.
    """
    inner, _, outer = item.url.partition("::")
    protocol, _, path = inner.partition("://")
    if outer:
        fs = _archive(protocol, outer)
    else:
        fs, path = filesystem(item.url)
    options = {"size": item.size} if protocol == "s3" and item.size >= 0 else {}
    file: IO[bytes] = fs.open(path, "rb", **options)
    return file


@lru_cache(maxsize=8)
def _archive(protocol: str, url: str) -> Any:
    """Return an archive; its table of contents is read once for all members of a shard."""
    import fsspec

    is_packed = url.lower().endswith((".gz", ".tgz"))
    options = {"compression": "gzip"} if is_packed else {}
    return fsspec.filesystem(protocol, fo=url, **options)


def _archive_protocol(path: str) -> str:
    lowered = path.lower()
    return next((name for end, name in _ARCHIVES.items() if lowered.endswith(end)), "")


def _suffix(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    return f".{name.rsplit('.', 1)[-1].lower()}" if "." in name else ""


def _size(info: dict[str, Any]) -> int:
    size = info.get("size")
    return -1 if size is None else int(size)


def _etag(info: dict[str, Any]) -> str:
    return next((str(info[key]) for key in _ETAGS if info.get(key) is not None), "")
