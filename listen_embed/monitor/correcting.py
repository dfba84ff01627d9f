"""Corrections while a machine is watched: "that was Milling", learnt on the last embeddings.

In: embeddings as they are judged, labels from a person. Out: a machine that judges with what was
learnt, saved beside the machine's own file, each lesson one that can be taken back.
"""

from __future__ import annotations

import copy
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import HeadError, InputError, ListenEmbedError
from listen_embed.heads import OnlineClassifier
from listen_embed.monitor.collect import check_label
from listen_embed.monitor.events import Value
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.teaching import Lesson
from listen_embed.monitor.undoing import Past

OnMachine = Callable[[Machine, Mapping[str, Value]], None]

# Embeddings learnt from one correction: more of one stretch say little more, and take time.
_MAX_ROWS = 32
_REMEMBERED = 6000
_USUAL_S = 5.0
_MAX_MESSAGE_BYTES = 4096


class Remembered(NamedTuple):
    """An embedding, float32 (D,), and the time when its sound ended, seconds since 1970."""

    wall: float
    embedding: NDArray[np.float32]


class _Model(NamedTuple):
    """A model as heads ask for it."""

    name: str


class _Embeds(NamedTuple):
    """As much of a machine's embedder as heads ask for."""

    spec: _Model
    digest: str


class Corrector:
    """Learns corrections one by one; any thread may ask, one is served at a time.

    Parameters
    ----------
    machine : Machine
        The machine as it is; begun with all that its file says it was taught.
    path : Path
        Its file; what is learnt is kept beside it, ``.learnt.npz``.
    on_machine : callable
        Told of every new machine, and what to note about it in the journal.

    Raises
    ------
    HeadError
        What was learnt before is damaged, or of another model.
    InputError
        The machine's file does not say what it was taught.
    """

    def __init__(self, machine: Machine, path: Path, on_machine: OnMachine) -> None:
        self._path = path.with_name(f"{path.stem}.learnt.npz")
        self._on_machine = on_machine
        self._recent: deque[Remembered] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        was_taught = self._path.exists()
        self.machine = replace(machine, online=self._begin(machine))
        self._past = Past(self._path, self._head.count if was_taught else 0)

    def _begin(self, machine: Machine) -> OnlineClassifier:
        if self._path.exists():
            head = OnlineClassifier.load(self._path)
            if (head.model, head.digest) != (machine.model, machine.digest):
                raise HeadError(
                    f"{self._path} was learnt with another model, {head.model}; move it away"
                )
            return head
        if (known := machine.examples) is None:
            raise InputError(
                "the machine's file does not hold what it was taught; "
                "make it anew with listen-embed monitor adapt"
            )
        head = OnlineClassifier(_Embeds(_Model(machine.model), machine.digest))
        # In turn, as they would be heard in operation, not one class after the other.
        order = np.random.default_rng(0).permutation(len(known))
        return head.learn(known.embeddings[order], [known.labels[i] for i in order])

    @property
    def can_undo(self) -> bool:
        """Whether there is a correction to take back."""
        return bool(self._past)

    def hear(self, embedding: NDArray[np.float32], wall: float) -> None:
        """Remember what was just judged; on the pipeline's thread."""
        self._recent.append(Remembered(wall, embedding))

    def correct(self, label: str, since: float, until: float) -> Lesson:
        """Learn what was heard between two moments, seconds since 1970, as a label.

        Raises
        ------
        InputError
            The label cannot be one, or nothing of that time is remembered.
        """
        check_label(label)
        begun = time.perf_counter()
        with self._lock:
            rows = self._rows(since, until)
            head = copy.deepcopy(self._head)
            for row in rows:
                head.learn_one(row, label)
            self._past.keep(self._head)
            self._take(head, {"what": "corrected", "label": label, "rows": len(rows)})
        return Lesson(label, until - since, time.perf_counter() - begun, head.count)

    def undo(self) -> None:
        """Take the last correction back, also one from before a restart.

        Raises
        ------
        InputError
            There is none.
        HeadError
            What was known before it is damaged.
        """
        with self._lock:
            if not self._past:
                raise InputError("nothing was corrected that could be taken back")
            head = self._past.last()
            states = ", ".join(map(str, head.labels))
            self._take(head, {"what": "correction undone", "states": states})
            self._past.gone_back(head)

    @property
    def _head(self) -> OnlineClassifier:
        head = self.machine.online
        assert head is not None
        return head

    def _rows(self, since: float, until: float) -> list[NDArray[np.float32]]:
        heard = [one.embedding for one in list(self._recent) if since <= one.wall <= until]
        if not heard:
            raise InputError(
                f"nothing that was heard from {since:.1f} to {until:.1f} is remembered; "
                "correct what was heard in the last minutes"
            )
        places = np.linspace(0, len(heard) - 1, min(len(heard), _MAX_ROWS))
        return [heard[round(place)] for place in places]

    def _take(self, head: OnlineClassifier, said: dict[str, Value]) -> None:
        head.save(self._path)
        self.machine = replace(self.machine, online=head)
        self._on_machine(self.machine, said)

    def answer(self, message: bytes) -> dict[str, Value]:
        """Do what a message in JSON asks for, and return what came of it.

        ``{"label": "Milling"}`` says what the last five seconds were; with ``"seconds"`` the last
        so many, with ``"since"`` and ``"until"`` between two moments. ``{"undo": true}`` takes the
        last correction back.
        """
        try:
            asked = _asked(message)
            if asked.get("undo") is True:
                self.undo()
                return {"undone": True}
            until = _moment(asked, "until", time.time())
            since = _moment(asked, "since", until - _moment(asked, "seconds", _USUAL_S))
            lesson = self.correct(str(asked.get("label", "")).strip(), since, until)
        except ListenEmbedError as error:
            return {"error": str(error)}
        return {"label": lesson.label, "took_ms": round(1000 * lesson.took_s, 1)}


def _asked(message: bytes) -> dict[str, object]:
    try:
        asked = json.loads(message[:_MAX_MESSAGE_BYTES])
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON can be read: {error}") from error
    if not isinstance(asked, dict):
        raise InputError('give a JSON object such as {"label": "Milling"}')
    return asked


def _moment(asked: dict[str, object], name: str, usual: float) -> float:
    value = asked.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}; give a number of seconds")
    return float(value)
