"""What all heads have: whose embeddings they learn from, and a place in an .npz."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import ClassVar, Self

from listen_embed.errors import HeadError
from listen_embed.heads import _storage
from listen_embed.heads._identity import Embeds, Identity


class Head(ABC):
    """A small learner on the embeddings of one model."""

    _NAME: ClassVar[str]  # in a file

    def __init__(self, embedder: Embeds | None) -> None:
        self._identity = Identity.of(embedder)

    @property
    def model(self) -> str:
        """Name of the model whose embeddings it learns from, empty if no embedder was given."""
        return self._identity.model

    @property
    def digest(self) -> str:
        """Digest of that model's weights and front end, empty if no embedder was given."""
        return self._identity.digest

    @property
    @abstractmethod
    def emb_dim(self) -> int | None:
        """Dimensions of the embeddings learned from; None before the first."""

    def check_model(self, embedder: Embeds) -> None:
        """Raise HeadError unless it was taught with this embedder's model and weights."""
        self._identity.require(Identity.of(embedder))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save as .npz, in the format of `listen_embed.heads.save`.

        Raises
        ------
        HeadError
            If nothing was learned, or the file cannot be written.
        """
        _storage.write(path, self._identity, {self._NAME: self._fields()})

    @classmethod
    def load(cls, path: str | os.PathLike[str], embedder: Embeds | None = None) -> Self:
        """Return the head of this class in an .npz, ready to answer and to learn on.

        Parameters
        ----------
        path : str or path
            What `save` or `listen_embed.heads.save` wrote.
        embedder : Embedder, optional
            Whose embeddings it shall work on; None does not check.

        Raises
        ------
        HeadError
            If it was taught with another model, or the file is missing, damaged, or has none.
        """
        with _storage.reading(path, embedder) as record:
            head = cls._within(record)
            if head is None:
                raise ValueError(f"it holds no {cls._NAME} head")
            return head

    @classmethod
    def _within(cls, file: _storage.Record) -> Self | None:
        record = file.head(cls._NAME)
        if record is None:
            return None
        head = cls._restored(record)
        head._identity = file.identity()
        return head

    @abstractmethod
    def _fields(self) -> _storage.Fields:
        """Return what to save, or raise where nothing was learned."""

    @classmethod
    @abstractmethod
    def _restored(cls, record: _storage.Record) -> Self:
        """Return the head of a record, or raise where it is none."""


def nothing_learned() -> HeadError:
    """Return what asking an untaught head raises."""
    return HeadError("this head has learned nothing yet; call learn or learn_one first.")
