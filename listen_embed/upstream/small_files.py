"""Whole files in memory, but never more of them than was agreed."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from listen_embed.errors import ConversionError

# The largest published file (OpenL3) unpacks to 19 MB.
MAX_BYTES = 200_000_000

_GZIP_MAGIC = b"\x1f\x8b"


def read(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return a file's bytes, unpacked if it is a gzip file.

    Raises
    ------
    ConversionError
        The file cannot be read, is a damaged gzip file, or holds more than `max_bytes`.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if zipped else file as stream:
                data: bytes = stream.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConversionError(f"{path.name} cannot be read: {error}.") from error
    if len(data) > max_bytes:
        raise ConversionError(
            f"{path.name} holds more than {max_bytes} bytes, the most that is accepted."
        )
    return data
