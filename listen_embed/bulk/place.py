"""A folder on any storage: names in it, and files that appear whole or not at all.

On a local disk a file is written under a hidden name, synced and renamed. Object stores show an
object only when it is complete, so there it is one PUT. The hidden names tell machine and process,
so that whatever a death left behind can be told from the work of others, and swept.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import IO, Any

from listen_embed.errors import OutputError

_IN_MEMORY_BYTES = 32 << 20
# Older than any shard takes: then also of machines that cannot be asked.
_FORGOTTEN_SECONDS = 24 * 3600
_MARK = ".incoming-"


class Place:
    """A folder by its URL.

    Parameters
    ----------
    url : str
        What fsspec knows: a path, ``s3://bucket/folder``, ``gs://``, ``memory://``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.fs, root = filesystem(self.url)
        self.root = root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether it lies on a disk of this machine."""
        protocol = self.fs.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def names(self, folder: str) -> set[str]:
        """Return the names of the finished files in a folder below; none if it is not there."""
        return {name for name in self._all_names(folder) if not name.startswith(".")}

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return bool(self.fs.exists(f"{self.root}/{name}"))

    def open(self, name: str) -> Any:
        """Return a file to read from, which can seek."""
        return self.fs.open(f"{self.root}/{name}", "rb")

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        content: bytes = self.fs.cat_file(f"{self.root}/{name}")
        return content

    def remove(self, name: str) -> None:
        """Delete a file."""
        self.fs.rm_file(f"{self.root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Put a file in the place of any that was there."""
        with self.writing(name) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Give a file that takes its place if the block ends well.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        how = self._writing_locally if self.is_local else self._writing_remotely
        with how(f"{self.root}/{name}") as file:
            yield file

    def sweep(self, folder: str) -> int:
        """Remove what processes left unfinished that are gone; return how many files that were."""
        left = [n for n in self._all_names(folder) if n.startswith(_MARK)] if self.is_local else []
        swept = [name for name in left if self._is_left_over(f"{self.root}/{folder}/{name}")]
        for name in swept:
            self.remove(f"{folder}/{name}")
        return len(swept)

    def _all_names(self, folder: str) -> list[str]:
        try:
            listed = self.fs.ls(f"{self.root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return [path.rsplit("/", 1)[-1] for path in listed]

    @contextmanager
    def _writing_locally(self, path: str) -> Iterator[IO[bytes]]:
        # Not `atomic.replacing`: jobs are killed outright, and the name says to whom a left-over
        # belonged; and a part that is there must have reached the disk.
        folder, name = os.path.split(path)
        mark = f"{_MARK}{socket.gethostname()}~{os.getpid()}~{secrets.token_hex(4)}"
        part = os.path.join(folder, f"{mark}~{name}")
        try:
            os.makedirs(folder, exist_ok=True)
            with open(part, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _sync_folder(folder)
        except BaseException as error:
            if os.path.exists(part):
                os.unlink(part)
            if type(error) is OSError:
                raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
            raise

    @contextmanager
    def _writing_remotely(self, path: str) -> Iterator[IO[bytes]]:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            yield file
            file.seek(0)
            self.fs.pipe_file(path, file.read())

    def _is_left_over(self, path: str) -> bool:
        of_here = os.path.basename(path).removeprefix(f"{_MARK}{socket.gethostname()}~")
        process = of_here.split("~")[0]
        if process.isdecimal():
            return not _is_alive(int(process))
        try:
            return time.time() - os.path.getmtime(path) > _FORGOTTEN_SECONDS
        except FileNotFoundError:
            return False


def place(url: str) -> Place:
    """Return a folder by its URL, the same object each time."""
    return _place(absolute(url))


@lru_cache(maxsize=32)
def _place(url: str) -> Place:
    return Place(url)


def absolute(url: str) -> str:
    """Return a URL that means the same in another process, whose folder may be another."""
    return url if ":" in url else os.path.abspath(url)


def filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises
    ------
    InputError
        No installed package knows the protocol.
    """
    import fsspec

    from listen_embed.errors import InputError

    try:
        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: {error}") from error
    return fs, path


def _sync_folder(folder: str) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Whether a process is dead, and only waits for a parent to ask about it; Linux tells."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
