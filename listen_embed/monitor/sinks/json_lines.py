"""Events appended to a file or standard output, a line of JSON each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from listen_embed.errors import InputError
from listen_embed.monitor.events import Entry, SinkError


class JsonLines:
    """Append events to a file, a line of JSON each; ``-`` is standard output."""

    def __init__(self, path: str) -> None:
        self.name = f"jsonl:{path if path == '-' else os.path.abspath(path)}"
        self._path = None if path == "-" else Path(path)
        if self._path is not None:
            if not (folder := self._path.absolute().parent).is_dir():
                raise InputError(f"--jsonl {path}: there is no folder {folder}; make it first")
            _cut_torn_line(self._path)

    def send(self, entries: Sequence[Entry]) -> None:
        """Write, and wait for the disk."""
        text = "".join(f"{entry.json()}\n" for entry in entries)
        try:
            if self._path is None:
                os.write(1, text.encode())
                return
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkError(f"{self.name}: {error}") from error

    def close(self) -> None:
        """Do nothing: the file is open only while writing."""


def _cut_torn_line(path: Path) -> None:
    """Remove half a line that a crash left; its event is sent again."""
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"--jsonl {path}: {error}; give a file that can be written") from error
