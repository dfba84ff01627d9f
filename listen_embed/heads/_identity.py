"""Whose embeddings a head learns from: a model's name and the digest of its weights."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from listen_embed.errors import HeadError


class Named(Protocol):
    """What has a name, as a `ModelSpec` has."""

    @property
    def name(self) -> str:
        """``model_type/emb_dim/variant``."""


class Embeds(Protocol):
    """As much of an `Embedder` as says whose embeddings it gives."""

    @property
    def spec(self) -> Named:
        """What the model is."""

    @property
    def digest(self) -> str:
        """sha256 of weights and front end."""


class Identity(NamedTuple):
    """A model's name and digest, both empty where no embedder was given."""

    model: str
    digest: str

    @classmethod
    def of(cls, embedder: Embeds | None) -> Identity:
        """Return the identity of an embedder's model."""
        if embedder is None:
            return cls("", "")
        try:
            found = cls(embedder.spec.name, embedder.digest)
        except AttributeError:
            found = cls("", "")
        if not all(isinstance(text, str) and text and "\0" not in text for text in found):
            raise HeadError(
                f"embedder is {embedder!r}; allowed is an Embedder, whose model the head then "
                "insists on, or None for embeddings from elsewhere. Options go by keyword."
            )
        return found

    def require(self, asked: Identity) -> None:
        """Raise HeadError where a head of this identity is asked to work for another."""
        if self != asked:
            raise HeadError(
                f"the head was taught with embeddings of {self}, but is asked to work on those of "
                f"{asked}. Embeddings of different models do not compare: use the head's own "
                "model, or teach a new head."
            )

    def __str__(self) -> str:
        if not self.model:
            return "a model that was not stated"
        return f"model {self.model!r} (digest {self.digest[:12]})"
