"""Everything that listen_embed raises on purpose, and the check behind optional rooms.

::

    ListenEmbedError
    ├── InputError (ValueError)                audio arrays, sample rates, hops, options
    ├── AudioFileError (OSError)               a file that cannot be read as audio
    ├── ModelNotFoundError (LookupError)       no such model
    ├── StoreError (OSError)                   a model's file cannot be had
    │   ├── DownloadError                      the network, or it is forbidden
    │   ├── VerificationError                  the bytes are not the promised ones
    │   └── CacheError                         the cache cannot be read or written
    ├── ConversionError (ValueError)           a weights file that is not what it should be
    ├── RuntimeUnavailableError (ImportError)  no TFLite interpreter is installed
    ├── HeadError (ValueError)                 a head used wrongly, or on another model's embeddings
    ├── OutputError (OSError)                  a result cannot be written
    ├── IndexFileError (OSError)               an index that is damaged, foreign or another model's
    └── MissingExtraError (ImportError)        an optional room whose packages are missing

Each also is the builtin error in brackets, so handlers written for those keep working.
"""

from __future__ import annotations

import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_MAX_LISTED = 20
_TAKER: ContextVar[Callable[[str], None] | None] = ContextVar("taker of warnings", default=None)


class ListenEmbedError(Exception):
    """Root of every error that this package raises on purpose."""


class InputError(ListenEmbedError, ValueError):
    """An argument is outside what its docstring allows."""


class AudioFileError(ListenEmbedError, OSError):
    """A file is missing, unreadable, or not audio."""


class ModelNotFoundError(ListenEmbedError, LookupError):
    """No model answers to the given name or arguments."""


class StoreError(ListenEmbedError, OSError):
    """A model's file cannot be had."""


class DownloadError(StoreError):
    """A download failed, or the network is forbidden."""


class VerificationError(StoreError):
    """A file's bytes do not match the digest promised for them."""


class CacheError(StoreError):
    """The cache folder cannot be read or written."""


class ConversionError(ListenEmbedError, ValueError):
    """A weights file does not have the layout that its model needs."""


class RuntimeUnavailableError(ListenEmbedError, ImportError):
    """No TFLite interpreter can be imported."""


class HeadError(ListenEmbedError, ValueError):
    """A head is used before learning, on the wrong model, or its file is damaged."""


class OutputError(ListenEmbedError, OSError):
    """A result cannot be written; what stood at its place before is untouched."""


class IndexFileError(ListenEmbedError, OSError):
    """An index is damaged, no index at all, or holds another model's embeddings."""


class MissingExtraError(ListenEmbedError, ImportError):
    """An optional room is used without the packages of its extra."""


class ListenEmbedWarning(UserWarning):
    """The result is defined, but probably not what was wanted (silence, a very short clip)."""


def warn(message: str) -> None:
    """Warn at the line that called this package, however deep inside it is noticed."""
    if (take := _TAKER.get()) is not None:
        take(message)
        return
    level, frame = 2, inspect.currentframe()
    frame = frame.f_back if frame else None
    while frame and frame.f_globals.get("__name__", "").startswith("listen_embed."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, ListenEmbedWarning, stacklevel=level)


@contextmanager
def taking_warnings(take: Callable[[str], None]) -> Iterator[None]:
    """Hand what `warn` is told inside the block to `take`; other threads keep their way."""
    token = _TAKER.set(take)
    try:
        yield
    finally:
        _TAKER.reset(token)


def listed(names: Sequence[str]) -> str:
    """Return names in a row, the first few of many with the number of the others."""
    shown = ", ".join(names[:_MAX_LISTED])
    return shown + (f" and {n} more" if (n := len(names) - _MAX_LISTED) > 0 else "")


def blame(name: str | os.PathLike[str], error: Exception) -> str:
    """Return an error's message with the file's name in front, once."""
    message = str(error)
    return message if message.startswith(f"{name}: ") else f"{name}: {message}"


def require_extra(extra: str) -> None:
    """Raise unless every package of an extra is installed.

    The list is read from the installed package's own metadata, so it cannot drift from setup.cfg.

    Raises
    ------
    MissingExtraError
        With the names that are missing and the pip command that installs them.
    """
    missing = [name for name in _extra_requirements(extra) if not _is_installed(name)]
    if missing:
        raise MissingExtraError(
            f"listen_embed.{extra} needs {', '.join(missing)}, not installed here. "
            f'Install with: pip install "listen-embed[{extra}]"'
        )


def _extra_requirements(extra: str) -> list[str]:
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = requires("listen-embed") or []
    except PackageNotFoundError:
        return []  # run from a source tree: nothing to check against, imports will tell
    marker = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    wanted = [line for line in requirements if marker.search(line)]
    return [match.group() for line in wanted if (match := re.match(r"[A-Za-z0-9._-]+", line))]


def _is_installed(name: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
