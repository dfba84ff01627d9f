"""The one way to write a file or a folder: it appears under its name only when it is complete.

Until then it has a hidden name beside it, which any failure removes, and what stood at the name
before stays as it was.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from listen_embed.errors import ListenEmbedError, OutputError


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes `target`'s place if the block ends well, and vanishes if it does not.

    Raises
    ------
    OutputError
        It cannot be written. Errors of this package pass through unchanged.
    """
    # Through a symbolic link the file behind it is replaced, as by any program that opens it.
    final = Path(os.path.realpath(target))
    part = final.with_name(_hidden_name())
    try:
        _check_replaceable(final, target)
        final.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:
            yield file
        os.replace(part, final)
    except BaseException as error:
        _remove(part)
        if isinstance(error, OSError) and not isinstance(error, ListenEmbedError):
            raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
        raise


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Give an empty hidden folder on `target`'s disk, removed after the block with all in it.

    What is made in it, or the folder itself, can be moved to its place at once; only the caller
    knows what is to be done with a folder that stands there already.
    """
    folder = target.with_name(_hidden_name())
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hidden_name() -> str:
    return f".listen-embed-{secrets.token_hex(4)}.part"


def _check_replaceable(final: Path, target: Path) -> None:
    """Raise for a device or a write-protected file, which a move would replace without a word."""
    if not final.exists():
        return
    if not final.is_file():
        raise OutputError(f"{target}: is not a regular file; give a file's name")
    if not os.access(final, os.W_OK):
        raise OutputError(f"{target}: is write-protected; give another name")


def _remove(part: Path) -> None:
    try:
        part.unlink()
    except OSError:
        return  # it was never made, or its folder is gone
