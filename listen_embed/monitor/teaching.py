"""Teaching a machine while it is watched: label a stretch of sound, learn it, take it back.

In: labelled sound. Out: a new `Machine`, judged with at once and saved.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.monitor.adapt import learn
from listen_embed.monitor.collect import check_label
from listen_embed.monitor.examples import embed_sounds
from listen_embed.monitor.machine import Machine

_MAX_UNDO = 20
_SHORTEST_S = 1.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learnt: how much sound of which label, and how long that took."""

    label: str
    seconds: float
    took_s: float
    n_examples: int


class Teacher:
    """Adds to what a machine knows; any thread may ask, one is served at a time.

    Parameters
    ----------
    machine : Machine
        The machine as it is.
    path : Path
        Its file; the machine before the last lesson is kept beside it.
    make_embedder : callable
        Hop in seconds -> the embedder that the machine was learnt with.
    on_machine : callable
        Told of every new machine.
    """

    def __init__(
        self,
        machine: Machine,
        path: Path,
        make_embedder: Callable[[float], Embedder],
        on_machine: Callable[[Machine], None],
    ) -> None:
        self.machine = machine
        self._path = path
        self._make_embedder = make_embedder
        self._on_machine = on_machine
        self._before: list[Machine] = []
        self._embedder: Embedder | None = None
        self._lock = threading.Lock()

    @property
    def can_undo(self) -> bool:
        """Whether there is a lesson to take back."""
        return bool(self._before)

    def teach(self, label: str, samples: NDArray[np.float32], rate: int) -> Lesson:
        """Learn a stretch of sound, float32 (n,), under a label, new or known.

        Raises
        ------
        InputError
            The label cannot be one, the sound is too short, or the machine's file does not say what
            it was taught.
        """
        check_label(label)
        if (seconds := len(samples) / rate) < _SHORTEST_S:
            raise InputError(f"{seconds:.1f} s of sound; give {_SHORTEST_S:g} s or more")
        with self._lock:
            begun = time.perf_counter()
            known = self.machine.examples
            if known is None:
                raise InputError(
                    f"{self._path} does not hold what it was taught; "
                    "make it anew with listen-embed monitor adapt"
                )
            self._embedder = self._embedder or self._make_embedder(known.hop_s)
            examples = known + embed_sounds([(label, samples, rate)], self._embedder)
            drawn = self.machine.profile.embedding_map
            machine = learn(examples, self._embedder, drawn=drawn).machine
            self._before = [*self._before, self.machine][-_MAX_UNDO:]
            self._take(machine)
            return Lesson(label, seconds, time.perf_counter() - begun, len(examples))

    def undo(self) -> Machine:
        """Go back to the machine before the last lesson.

        Raises
        ------
        InputError
            There is none.
        """
        with self._lock:
            if not self._before:
                raise InputError("nothing was learnt since the monitor was started")
            self._take(self._before.pop())
            return self.machine

    def _take(self, machine: Machine) -> None:
        self.machine.save(self._path.with_name(f"{self._path.stem}.before{self._path.suffix}"))
        machine.save(self._path)
        self.machine = machine
        self._on_machine(machine)
