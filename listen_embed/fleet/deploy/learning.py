"""What a device is learning, as a text for its status: read from the file where it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from listen_embed.errors import ListenEmbedError
from listen_embed.heads import OnlineClassifier

_MAX_CHARACTERS = 200


def learning_in(path: Path) -> Callable[[], str]:
    """Return what says what an `OnlineClassifier`'s file has learnt; read when it changed only.

    Parameters
    ----------
    path : Path
        As ``monitor run --learn`` keeps it. No file is no learning; one that is damaged says so.
    """
    known: tuple[int, str] = (0, "")

    def say() -> str:
        nonlocal known
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return ""
        if changed != known[0]:
            known = changed, _told(path)
        return known[1]

    return say


def _told(path: Path) -> str:
    try:
        head = OnlineClassifier.load(path)
    except ListenEmbedError as error:
        return f"cannot be read: {error}"[:_MAX_CHARACTERS]
    return f"{', '.join(map(str, head.labels))}: {head.count} samples"[:_MAX_CHARACTERS]
