"""``classifier.json``: what a classifier's folder says of itself, checked before it is believed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from listen_embed.errors import HeadError

CARD, CLASSES = "classifier.json", "classes.npz"
FORMAT = 1
_MAX_BYTES = 16_000_000
_MAX_LABELS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a reader needs beside ``model.toml``.

    Attributes
    ----------
    labels : tuple of str
        Rows of the layer of classes.
    kind : {"softmax", "sigmoid"}
        One label of all, or each on its own.
    method, base : str
        How it was made, of what.
    hop : float
        Seconds between frames, unless another is asked for.
    model, classes : str
        Digests: of the embedder (weights and front end), and sha256 of ``classes.npz``.
    """

    labels: tuple[str, ...]
    kind: str
    method: str
    base: str
    hop: float
    model: str
    classes: str

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        facts = {"format": FORMAT, **dataclasses.asdict(self)}
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Return the card of a folder, its ``classes.npz`` held against it.

        Raises
        ------
        HeadError
            The folder is no classifier's, or a file of it is damaged or exchanged.
        """
        path = folder / CARD
        if not path.is_file():
            raise HeadError(
                f"{folder} is no classifier's folder: it has no {CARD}. Make one with: "
                "listen-embed classify train LABELLED --out FOLDER"
            )
        try:
            card = cls._of(json.loads(_bounded(path)))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise HeadError(f"{path}: damaged ({error}); copy the classifier again") from error
        classes = folder / CLASSES
        if not classes.is_file() or _sha256(classes) != card.classes:
            raise HeadError(
                f"{classes}: not the file that {CARD} states: missing, damaged or exchanged. Copy "
                "the classifier again"
            )
        return card

    @classmethod
    def _of(cls, facts: Any) -> Card:
        if facts.pop("format") != FORMAT:
            raise ValueError("its format is not that of this version")
        labels = facts.pop("labels")
        if not isinstance(labels, list) or not 0 < len(labels) <= _MAX_LABELS:
            raise ValueError("labels must be a list")
        texts = [facts[name] for name in ("kind", "method", "base", "model", "classes")] + labels
        if not all(isinstance(text, str) for text in texts) or len(set(labels)) < len(labels):
            raise ValueError("labels, names and digests must be texts, and no label twice")
        if not all(label.isprintable() for label in labels):
            raise ValueError("a label has characters that are not printed")
        return cls(labels=tuple(labels), **{**facts, "hop": float(facts["hop"])})


def _bounded(path: Path) -> str:
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES} bytes")
    return path.read_text(encoding="utf-8")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
