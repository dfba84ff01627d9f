"""What a person reads on standard error while a command runs, of this package or of a room."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from listen_embed.errors import ListenEmbedWarning
from listen_embed.progress import Progress

PROGRAM = "listen-embed"
OK, FAILED, USAGE = 0, 1, 2


class UsageError(Exception):
    """The command line asks for something that makes no sense."""


class Console:
    """Lines for a person, on standard error.

    Parameters
    ----------
    is_quiet : bool
        Show errors only.
    """

    def __init__(self, is_quiet: bool = False) -> None:
        self.is_quiet = is_quiet
        self.progress: Progress | None = None
        self.aliases: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Print a line that matters."""
        for path, name in self.aliases.items():
            text = text.replace(path, name)
        if self.progress is not None:
            self.progress.clear()
        print(f"{PROGRAM}: {printable(text)}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print a line that only helps."""
        if not self.is_quiet:
            self.say(text)

    @contextmanager
    def showing_warnings(self) -> Iterator[None]:
        """Print this package's warnings as notes."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", ListenEmbedWarning)
            usual = warnings.showwarning

            def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
                if issubclass(category, ListenEmbedWarning):
                    self.note(f"warning: {message}")
                else:
                    usual(message, category, *rest, **more)

            warnings.showwarning = show
            yield


def printable(text: str) -> str:
    """Return text with escapes for what a terminal would obey; file names may hold anything."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )
