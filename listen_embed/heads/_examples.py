"""The labelled embeddings that a classifier remembers, so that it can be taught more."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import HeadError
from listen_embed.heads._checks import Codes, Floats, Label
from listen_embed.heads._reservoir import slot
from listen_embed.heads._storage import Fields, Record

_MAX_COUNT = 2**53


class Example(NamedTuple):
    """One embedding, float32 (D,), and the number of its group."""

    row: NDArray[np.float32]
    group: int


@dataclass
class _OfLabel:
    """What is remembered of one label, and how many were ever taught."""

    kept: list[Example] = field(default_factory=list)
    count: int = 0


class Examples:
    """Up to `capacity` embeddings of each label, each ever taught as likely to be among them."""

    def __init__(self, capacity: int, seed: int) -> None:
        self._capacity = capacity
        self._seed = seed
        self._of: dict[Label, _OfLabel] = {}
        self._groups: dict[Hashable, int] = {}
        self._n_groups = 0

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels taught, sorted."""
        return tuple(sorted(self._of))  # all of one kind

    @property
    def emb_dim(self) -> int | None:
        """Dimensions of the embeddings; None before the first."""
        return next((len(of.kept[0].row) for of in self._of.values()), None)

    def add(self, row: Floats, label: Label, group: Hashable | None) -> None:
        """Remember one more; None as a group: it stands alone."""
        if any(type(known) is not type(label) for known in self._of):
            raise HeadError(
                f"{label!r} is given as a label beside {self.labels}; "
                "allowed are texts only, or whole numbers only."
            )
        number = self._group_number(group)
        of = self._of.setdefault(label, _OfLabel())
        place = slot(of.count, self._capacity, self._seed)
        of.count += 1
        if place is not None:
            of.kept[place : place + 1] = [Example(row.astype(np.float32), number)]

    def _group_number(self, group: Hashable | None) -> int:
        try:
            number = self._n_groups if group is None else self._groups.get(group, self._n_groups)
        except TypeError as error:
            raise HeadError(f"groups hold {error}; allowed are names or numbers.") from error
        if group is not None:
            self._groups[group] = number
        self._n_groups = max(self._n_groups, number + 1)
        return number

    def arrays(self) -> tuple[Floats, Codes, Codes]:
        """Return the rows (N, D), each one's position among `labels`, and its group from 0."""
        kept = [(example, code) for code, of in enumerate(self._sorted()) for example in of.kept]
        rows = np.array([example.row for example, _ in kept], dtype=np.float64)
        groups = np.unique([example.group for example, _ in kept], return_inverse=True)[1]
        return rows, np.array([code for _, code in kept], dtype=np.intp), groups

    def _sorted(self) -> list[_OfLabel]:
        return [self._of[label] for label in self.labels]

    def fields(self) -> Fields:
        """Return what to save."""
        rows, _, groups = self.arrays()
        return {
            "labels": np.array(self.labels),
            "counts": np.array([of.count for of in self._sorted()]),
            "memory": rows.astype(np.float32),
            "groups": groups,
        }

    @classmethod
    def restored(cls, record: Record, capacity: int, seed: int) -> Examples:
        """Return the examples of a file; its groups have no names any more."""
        labels = record.labels("labels")
        counts = record.wholes("counts", len(labels), 1, _MAX_COUNT).tolist()
        sizes = [min(count, capacity) for count in counts]
        memory = record.floats("memory", sum(sizes), None).astype(np.float32)
        groups = record.wholes("groups", len(memory), 0, len(memory) - 1).tolist()
        examples, rest = cls(capacity, seed), iter(map(Example, memory, groups))
        for label, count, size in zip(labels, counts, sizes, strict=True):
            examples._of[label] = _OfLabel([next(rest) for _ in range(size)], count)
        examples._n_groups = max(groups) + 1
        return examples
