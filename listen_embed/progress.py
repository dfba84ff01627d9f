"""How far a batch of sound files is, by seconds of audio, for a person who waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

# A batch that is over sooner than this shows nothing.
_PATIENCE_SECONDS = 0.5
_FORMAT = (
    "{desc}{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio [{elapsed}, {remaining} left]"
)


class Progress(Protocol):
    """Told how far things are; used as a context."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def reach(self, seconds: float) -> None:
        """Take note that so much of the current file is done."""

    def finish_file(self) -> None:
        """Go on to the next file."""

    def clear(self) -> None:
        """Make room on the terminal for a line of text."""


class Unseen:
    """No progress bar."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put away."""

    def reach(self, seconds: float) -> None:
        """Nothing is shown."""

    def finish_file(self) -> None:
        """Nothing is shown."""

    def clear(self) -> None:
        """Nothing is in the way."""


class Bar:
    """A progress bar on standard error.

    Parameters
    ----------
    durations : sequence of float
        Seconds of every file, in the order of their turns.
    patience : float
        Seconds before anything is shown.
    """

    def __init__(self, durations: Sequence[float], patience: float = _PATIENCE_SECONDS) -> None:
        self._durations = durations
        self._patience = patience
        self._n_files_done = 0
        self._seconds_before = 0.0
        self._bar: Any = None
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def reach(self, seconds: float) -> None:
        """Show that so much of the current file is done."""
        if self._n_files_done < len(self._durations):
            seconds = min(seconds, self._durations[self._n_files_done])
        self._show(self._seconds_before + seconds)

    def finish_file(self) -> None:
        """Show that the current file is done."""
        if self._n_files_done < len(self._durations):
            self._seconds_before += self._durations[self._n_files_done]
        self._n_files_done += 1
        self._show(self._seconds_before)

    def clear(self) -> None:
        """Take the bar away until it moves next."""
        if self._bar is not None:
            self._bar.clear()

    def _show(self, position: float) -> None:
        is_new = self._bar is None
        if is_new:
            if time.monotonic() - self._start < self._patience:
                return
            self._bar = self._made()
        if len(self._durations) > 1:
            n_shown = min(self._n_files_done + 1, len(self._durations))
            self._bar.set_description_str(f"{n_shown}/{len(self._durations)} files ", refresh=False)
        self._bar.update(position - self._bar.n)
        if is_new:
            self._bar.refresh()

    def _made(self) -> Any:
        from tqdm import tqdm

        bar = tqdm(total=sum(self._durations), file=sys.stderr, bar_format=_FORMAT, leave=False)
        bar.start_t -= time.monotonic() - self._start
        return bar
