"""What the public doors of the heads let in."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from listen_embed.errors import HeadError

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
Label = str | int

UNKNOWN = "unknown"
MAX_SEED = 2**63 - 1
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def as_rows(embeddings: ArrayLike, emb_dim: int | None) -> Floats:
    """Return embeddings as float64 (N, D); `emb_dim` is the D to insist on, None for any."""
    rows = _as_numbers(embeddings)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise HeadError(
            f"embeddings have the shape {rows.shape}; allowed is (N, D), one embedding a row. "
            "For a single embedding give embedding[None, :]."
        )
    return _as_finite(rows, emb_dim)


def as_row(embedding: ArrayLike, emb_dim: int | None) -> Floats:
    """Return one embedding as float64 (D,)."""
    row = _as_numbers(embedding)
    if row.ndim != 1 or row.size == 0:
        raise HeadError(
            f"the embedding has the shape {row.shape}; allowed is (D,), a single embedding. "
            "Several go one by one, or together to the methods without _one."
        )
    return _as_finite(row, emb_dim)


def _as_numbers(values: Any) -> NDArray[Any]:
    try:
        array = np.asarray(_detached(values))
        if array.dtype == object and array.ndim == 1 and array.size:  # a table's column
            array = np.stack([np.asarray(_detached(row)) for row in array])
    except (ValueError, TypeError) as error:
        raise HeadError(f"embeddings are no rectangular array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise HeadError(f"embeddings have the dtype {array.dtype}; allowed are real numbers.")
    return array


def _detached(values: Any) -> Any:
    """Return torch tensors without their graph and on the CPU, all else as it is."""
    if isinstance(values, list | tuple):
        return [_detached(value) for value in values]
    return values.detach().cpu() if hasattr(values, "detach") else values


def _as_finite(array: NDArray[Any], emb_dim: int | None) -> Floats:
    if emb_dim is not None and array.shape[-1] != emb_dim:
        raise HeadError(
            f"embeddings have {array.shape[-1]} values each, this head was taught with {emb_dim}. "
            "Use the model that it was taught with, or teach a new head."
        )
    numbers = array.astype(np.float64)
    bad = ~(np.abs(numbers) <= _FLOAT32_MAX)  # written so that NaN is bad too
    if bad.any():
        raise HeadError(
            f"embeddings hold {int(bad.sum())} values that are NaN, infinite or beyond float32; "
            "allowed are finite numbers. Drop these rows."
        )
    return numbers


def as_labels(labels: Any, n_rows: int | None = None) -> list[Label]:
    """Return labels as str or int, all of one kind; `n_rows` is how many to insist on."""
    if n_rows is not None:
        require_length("labels", labels, n_rows)
    found = [as_label(label) for label in labels]
    if len({type(label) for label in found}) > 1:
        raise HeadError("labels are texts and whole numbers; allowed are the ones or the others.")
    return found


def as_label(label: Any) -> Label:
    """Return a label as str or int."""
    plain = label.tolist() if hasattr(label, "tolist") else label  # of numpy, torch
    if isinstance(plain, int) and not isinstance(plain, bool) and -(2**63) <= plain < 2**63:
        return plain
    if isinstance(plain, str) and plain and "\0" not in plain and plain != UNKNOWN:
        return str(plain)
    raise HeadError(
        f"{label!r} is given as a label; allowed are whole numbers, and any text but an empty one, "
        f"one with a NUL, and {UNKNOWN!r}, which is what predict answers on its own."
    )


def encode_groups(groups: Sequence[Hashable] | None, n_rows: int) -> Codes:
    """Return each row's group as a number from 0; without groups every row is its own."""
    if groups is None:
        return np.arange(n_rows)
    require_length("groups", groups, n_rows)
    seen: dict[Hashable, int] = {}
    try:
        return np.array([seen.setdefault(group, len(seen)) for group in groups], dtype=np.intp)
    except TypeError as error:
        raise HeadError(f"groups hold {error}; allowed are names or numbers.") from error


def require_length(name: str, values: Any, n_rows: int) -> None:
    """Raise unless there is one value per embedding."""
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != n_rows:
        given = repr(values) if isinstance(values, str) else f"{_length(values)} values"
        raise HeadError(f"{name} is {given}; allowed is a sequence of {n_rows}, one per embedding.")


def _length(values: object) -> str:
    return str(len(values)) if hasattr(values, "__len__") else "an unknown number of"


def as_whole(name: str, value: int, low: int, high: int) -> int:
    """Return an option as int, from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
        raise HeadError(f"{name} is {value!r}; allowed is a whole number from {low} to {high}.")
    return int(value)


def as_number(name: str, value: float, low: float, high: float) -> float:
    """Return an option as float, from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
        raise HeadError(f"{name} is {value!r}; allowed is a number from {low:g} to {high:g}.")
    return float(value)


def as_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Return an option that is one of a few words."""
    if value not in allowed:
        raise HeadError(f"{name} is {value!r}; allowed are {', '.join(map(repr, allowed))}.")
    return value
