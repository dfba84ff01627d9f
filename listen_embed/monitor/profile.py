"""What a machine's file knows besides its heads: limits, levels, the map.

In: JSON, as untrusted as the file it stands in. Out: `Profile`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.monitor.calibration import Tail

_MAX_LABELS, _MAX_DIM = 4096, 1 << 16


@dataclass(frozen=True, slots=True)
class Level:
    """Loudness of a state: the range of its seconds, dB of full scale, RMS."""

    low_db: float
    high_db: float


@dataclass(frozen=True)
class EmbeddingMap:
    """A plane through the embeddings on which the states lie as far apart as can be.

    Attributes
    ----------
    mean : tuple of float (D,)
    axes : two tuples of float (D,)
    places : mapping of label to (x, y)
        Where the states lie.
    """

    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], tuple[float, ...]]
    places: Mapping[str, tuple[float, float]]

    def with_places(self, embeddings: NDArray[np.float32], labels: Sequence[str]) -> EmbeddingMap:
        """Return the same plane with the states where they lie now: the past stays comparable."""
        member = np.asarray(labels)
        found = {
            name: self.place(embeddings[member == name]).mean(axis=0)
            for name in sorted(set(labels))
        }
        places = {name: (float(x), float(y)) for name, (x, y) in found.items()}
        return EmbeddingMap(self.mean, self.axes, places)

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], labels: Sequence[str]) -> EmbeddingMap:
        """Return the plane of the two main directions between the states' means."""
        names = sorted(set(labels))
        rows = embeddings.astype(np.float64)
        member = np.asarray(labels)
        means = np.stack([rows[member == name].mean(axis=0) for name in names])
        mean = means.mean(axis=0)
        # With two states there is one direction between them; the other is that of the frames.
        spread = (rows - rows.mean(axis=0)) * (0.01 / math.sqrt(len(rows)))
        axes = np.linalg.svd(np.concatenate([means - mean, spread]), full_matrices=False)[2][:2]
        places = (means - mean) @ axes.T
        return cls(
            tuple(mean.tolist()),
            (tuple(axes[0].tolist()), tuple(axes[1].tolist())),
            {name: (float(x), float(y)) for name, (x, y) in zip(names, places, strict=True)},
        )

    def place(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return where embeddings (N, D) lie, float64 (N, 2)."""
        mean, axes = self._plane
        return np.asarray((embeddings - mean) @ axes.T)

    @cached_property
    def _plane(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.mean), np.array(self.axes)


@dataclass(frozen=True, slots=True)
class Profile:
    """What was found out about a machine while it was learnt.

    Attributes
    ----------
    rate : int
        The lowest sample rate of the clips, Hz; 0 where it is not known.
    limit : float
        The anomaly head's score at which an alarm should begin; 0 where nothing could be held out.
    tail : Tail or None
        How `limit` was found.
    levels : mapping of label to Level
    embedding_map : EmbeddingMap or None
    """

    rate: int = 0
    limit: float = 0.0
    tail: Tail | None = None
    levels: Mapping[str, Level] = field(default_factory=dict)
    embedding_map: EmbeddingMap | None = None

    def level_of(self, state: str | None) -> Level | None:
        """Return how loud a state was when it was learnt; of an unknown one, how loud any was."""
        if state is not None and state in self.levels:
            return self.levels[state]
        if not self.levels:
            return None
        found = self.levels.values()
        return Level(min(v.low_db for v in found), max(v.high_db for v in found))

    def json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Return what `json` wrote; raise ValueError, TypeError or KeyError for anything else."""
        values: dict[str, Any] = json.loads(text, parse_constant=_refuse)
        tail, drawn = values["tail"], values["embedding_map"]
        if len(values["levels"]) > _MAX_LABELS:
            raise ValueError("too many labels")
        return cls(
            rate=int(values["rate"]),
            limit=float(values["limit"]),
            tail=None if tail is None else Tail(**{k: _number(v) for k, v in tail.items()}),
            levels={
                str(name): Level(_number(level["low_db"]), _number(level["high_db"]))
                for name, level in values["levels"].items()
            },
            embedding_map=None if drawn is None else _parse_map(drawn),
        )


NO_PROFILE = Profile()


def _parse_map(drawn: dict[str, Any]) -> EmbeddingMap:
    mean = tuple(map(_number, drawn["mean"]))
    first, second = (tuple(map(_number, axis)) for axis in drawn["axes"])
    if not len(mean) == len(first) == len(second) <= _MAX_DIM:
        raise ValueError("the map's axes are of different widths")
    places = {str(name): (_number(x), _number(y)) for name, (x, y) in drawn["places"].items()}
    return EmbeddingMap(mean, (first, second), places)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")
