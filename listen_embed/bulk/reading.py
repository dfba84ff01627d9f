"""A recording on any storage -> blocks of samples; the storage's faults are not the sound's.

libsndfile takes whatever a failing read gives it for the end of the file, and a sound that is cut
off is a bad one for ever. So each read is watched: if the storage failed, what the decoder says
does not count.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from listen_embed.audio import Samples, read_blocks
from listen_embed.bulk.listing import opened
from listen_embed.bulk.manifest import Item
from listen_embed.errors import AudioFileError, ListenEmbedError

_BLOCK_SECONDS = 10.0
# Up to this size a recording is fetched at once.
_WHOLE_BYTES = 8 << 20
ATTEMPTS, _FIRST_PAUSE_SECONDS = 4, 0.5


class StorageError(ListenEmbedError, OSError):
    """The storage failed; the recording may be all right, so its shard is not done."""


def blocks(
    item: Item, open_: Callable[[Item], IO[bytes]] = opened
) -> Iterator[tuple[Samples, int]]:
    """Yield mono float32 blocks and the rate.

    Raises
    ------
    AudioFileError
        Now and for ever: not audio, cut off, gone, or not what the manifest froze.
    StorageError
        The storage fails.
    """
    with _Watched(_fetched(item, open_), item.url) as file:
        try:
            for block in read_blocks(item.url, _BLOCK_SECONDS, file=cast(IO[bytes], file)):
                file.check()
                yield block
        except ListenEmbedError:
            file.check()
            raise


def patiently(
    work: Callable[[], None], url: str, pause: Callable[[float], None] = time.sleep
) -> None:
    """Do `work`, again and again while the storage fails.

    Raises
    ------
    StorageError
        It failed every time.
    """
    for attempt in range(ATTEMPTS):
        try:
            work()
            return
        except StorageError as error:
            failure = error
        if attempt < ATTEMPTS - 1:
            pause(_FIRST_PAUSE_SECONDS * 2**attempt)
    raise StorageError(f"{url}: {failure}; tried {ATTEMPTS} times") from failure


def _fetched(item: Item, open_: Callable[[Item], IO[bytes]]) -> IO[bytes]:
    """Return the recording's bytes, in memory if they are few."""
    try:
        file = open_(item)
        if not 0 <= item.size <= _WHOLE_BYTES:
            return file
        with file:
            content = file.read(_WHOLE_BYTES + 1)
    except FileNotFoundError as error:
        raise AudioFileError(f"{item.url}: does not exist any more") from error
    except Exception as error:
        raise StorageError(f"cannot be fetched ({_told(error)})") from error
    if len(content) != item.size:
        raise AudioFileError(
            f"{item.url}: has changed since the job was made, {len(content)} bytes instead of "
            f"{item.size}"
        )
    return io.BytesIO(content)


class _Watched(io.RawIOBase):
    """A file that remembers what went wrong while somebody else read it."""

    def __init__(self, file: IO[bytes], url: str) -> None:
        self._file = file
        self._url = url
        self._failure: Exception | None = None

    def check(self) -> None:
        """Raise what went wrong."""
        if self._failure is not None:
            raise StorageError(f"cannot be read ({_told(self._failure)})") from self._failure

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._file.read(len(buffer)) if self._failure is None else b""
        except Exception as error:
            self._failure, content = error, b""
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except Exception as error:
            self._failure = error
            return 0

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
