"""Heads as .npz files: plain arrays, written at once or not at all, believed only after checks.

A file has `format`, `model` and `digest`, and a folder of arrays for each head in it. Reading never
unpickles, holds each array's size against its bytes before making it, and answers whatever is wrong
with a `HeadError`.
"""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from listen_embed import npz
from listen_embed.atomic import replacing
from listen_embed.errors import HeadError, OutputError
from listen_embed.heads._checks import Codes, Floats, Label, as_labels
from listen_embed.heads._identity import Embeds, Identity

FORMAT = 2
MAX_BYTES = 256 * 2**20
_OVERHEAD = 2**20  # more than a zip of so many arrays adds
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment of a zip: equal heads make equal files

Field = NDArray[Any] | str | float | int
Fields = Mapping[str, Field]
PathLike = str | os.PathLike[str]
Steps = TypeVar("Steps", np.int8, np.int16)


def write(path: PathLike, identity: Identity, heads: Mapping[str, Fields]) -> None:
    """Write heads as one .npz; a file that was there stays whole until the new one is complete."""
    facts: Fields = {"format": FORMAT, **identity._asdict()}
    arrays = {name: np.asarray(value) for name, value in facts.items()}
    for head, fields in heads.items():
        arrays |= {f"{head}/{name}": np.asarray(value) for name, value in fields.items()}
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES - _OVERHEAD:
        raise HeadError(
            f"the heads take {size} bytes, allowed are {MAX_BYTES - _OVERHEAD}. Learn with a lower "
            "capacity, or with a model of fewer dimensions."
        )
    try:
        with replacing(Path(path)) as file:
            _write_arrays(file, arrays)
            file.flush()
            os.fsync(file.fileno())
    except OutputError as error:
        raise HeadError(f"{error}. Give a path in a folder that can be written.") from error


def _write_arrays(file: IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getvalue())


@contextlib.contextmanager
def reading(path: PathLike, embedder: Embeds | None) -> Iterator[Record]:
    """Give a file's record, once it is of the embedder's model; all that goes wrong: HeadError."""
    asked = Identity.of(embedder)
    with _refusing(path):
        record = Record(npz.read(Path(path), MAX_BYTES))
        if record.whole("format", 0, 2**31) != FORMAT:
            raise ValueError(f"its format is {record.whole('format', 0, 2**31)}, not {FORMAT}")
        kept = record.identity()
    if embedder is not None:
        kept.require(asked)
    with _refusing(path):
        yield record


@contextlib.contextmanager
def _refusing(path: PathLike) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # hostile bytes trip parsers in ways that no list would cover
        message = f"{path} is no head file that can be used: {error or type(error).__name__}. "
        raise HeadError(message + "Teach and save it again with this version.") from error


class Record:
    """Checked access to the arrays of a file, or of one head in it."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def head(self, name: str) -> Record | None:
        """Return the record of a head, None where the file has none of that name."""
        start = f"{name}/"
        found = {k.removeprefix(start): v for k, v in self._arrays.items() if k.startswith(start)}
        return Record(found) if found else None

    def identity(self) -> Identity:
        """Return whose embeddings the heads of the file were taught with."""
        return Identity(self.text("model"), self.text("digest"))

    def text(self, name: str) -> str:
        """Return a text."""
        return str(self._get(name, "U", ()))

    def labels(self, name: str) -> tuple[Label, ...]:
        """Return two or more different labels, sorted."""
        labels = self._labels(name)
        if len(labels) < 2 or labels != sorted(set(labels)):
            raise ValueError(f"its {name} are not what learning leaves")
        return tuple(labels)

    def distinct(self, name: str, most: int) -> tuple[Label, ...]:
        """Return one to `most` different labels, in any order."""
        labels = self._labels(name)
        if not 1 <= len(labels) == len(set(labels)) <= most:
            raise ValueError(f"its {name} are not 1 to {most} different ones")
        return tuple(labels)

    def _labels(self, name: str) -> list[Label]:
        kind = "i" if self._kind(name) == "i" else "U"
        return as_labels(self._get(name, kind, (None,)))

    def whole(self, name: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = int(self._get(name, "i", ()))
        if not low <= value <= high:
            raise ValueError(f"its {name} is {value}, allowed is {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """Return a number from `low` to `high`."""
        value = float(self._get(name, "f", ()))
        if not low <= value <= high:
            raise ValueError(f"its {name} is {value}, allowed is {low:g} to {high:g}")
        return value

    def floats(self, name: str, *shape: int | None) -> Floats:
        """Return finite numbers of the shape, where None stands for any length."""
        values = self._get(name, "f", shape).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"its {name} holds NaN or infinity")
        return values

    def wholes(self, name: str, n: int | None, low: int, high: int) -> Codes:
        """Return `n` whole numbers from `low` to `high`; None stands for any length."""
        values = self._get(name, "i", (n,))
        if ((values < low) | (values > high)).any():
            raise ValueError(f"its {name} are not all from {low} to {high}")
        return values.astype(np.intp)

    def singles(
        self, name: str, *shape: int | None, low: float = -np.inf, high: float = np.inf
    ) -> NDArray[np.float32]:
        """Return finite numbers from `low` to `high` in single precision, as they were saved."""
        values = self.floats(name, *shape).astype(np.float32)
        if not (np.isfinite(values) & (values >= low) & (values <= high)).all():
            raise ValueError(f"its {name} is not all from {low:g} to {high:g}")
        return values

    def steps(self, name: str, kind: type[Steps], *shape: int) -> NDArray[Steps]:
        """Return whole numbers of the shape that were saved as this kind of integer."""
        values = self._get(name, "i", shape)
        if values.dtype != kind:
            raise ValueError(f"its {name} is {values.dtype}, not {np.dtype(kind)}")
        return values.astype(kind)

    def positive(self, name: str, *shape: int | None) -> Floats:
        """Return finite numbers above 0."""
        values = self.floats(name, *shape)
        if not (values > 0).all():
            raise ValueError(f"its {name} is not above 0")
        return values

    def scores(self, name: str, most: int) -> Floats:
        """Return up to `most` finite numbers, none below 0."""
        values = self.floats(name, None)
        if len(values) > most or (values < 0).any():
            raise ValueError(f"its {name} are no list of up to {most} scores")
        return values

    def _kind(self, name: str) -> str:
        if name not in self._arrays:
            raise ValueError(f"it has no {name}")
        return self._arrays[name].dtype.kind

    def _get(self, name: str, kind: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        is_of_kind, array = self._kind(name) == kind, self._arrays[name]
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, given) for wanted, given in zip(shape, array.shape, strict=True)
        )
        if not (is_of_kind and fits):
            raise ValueError(f"its {name} is {array.dtype} of shape {array.shape}")
        return array
