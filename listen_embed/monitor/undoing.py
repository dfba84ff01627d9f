"""What was known before each correction, in files, so that corrections outlast a restart."""

from __future__ import annotations

import re
from pathlib import Path

from listen_embed.heads import OnlineClassifier

_MAX_UNDO = 20


class Past:
    """Earlier states of a head, each in a file that names how many samples it was given.

    A head is given more with every correction, so its past is what was given less: whatever else a
    killed process left is no past of it, and is removed.

    Parameters
    ----------
    path : Path
        Where the head is kept; its past is beside it, ``.before-COUNT.npz``.
    count : int
        Samples that the head was given; 0 for a head that is new, whose past is nobody's.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        name = re.compile(re.escape(path.stem) + r"\.before-([0-9]{1,16})\.npz")
        found = [(name.fullmatch(one.name), one) for one in path.parent.iterdir()]
        self._files = {int(fits[1]): one for fits, one in found if fits}
        self._forget(count)

    def __bool__(self) -> bool:
        """Whether there is a past."""
        return bool(self._files)

    def keep(self, head: OnlineClassifier) -> None:
        """Keep a head as it is before a correction; beyond twenty the oldest goes."""
        file = self._path.with_name(f"{self._path.stem}.before-{head.count}.npz")
        head.save(file)
        self._files[head.count] = file
        for count in sorted(self._files)[:-_MAX_UNDO]:
            self._files.pop(count).unlink(missing_ok=True)

    def last(self) -> OnlineClassifier:
        """Return the head before the last correction; raise `HeadError` if its file is damaged."""
        return OnlineClassifier.load(self._files[max(self._files)])

    def _forget(self, count: int) -> None:
        for later in [one for one in self._files if one >= count]:
            self._files.pop(later).unlink(missing_ok=True)

    def gone_back(self, head: OnlineClassifier) -> None:
        """Forget what is no past of a head that was gone back to and saved."""
        self._forget(head.count)
