"""What a device says about itself."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from listen_embed.errors import InputError

_MAX_BYTES = 20_000
_LARGEST = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A device's status.

    Attributes
    ----------
    time : float
        When it was said, by the device's clock, in seconds since 1970.
    model, digest : str
        What it runs; empty for nothing.
    previous_model, previous : str
        Name and digest of the model before.
    sequence : int
        Of the last manifest that it obeyed.
    health : str
        ``"ok"``, or what is wrong.
    refused_sequence, refused : int, str
        The last manifest that it refused since, and why; 0 and empty for none.
    learning : str
        What it is learning; empty for nothing.
    """

    time: float
    model: str = ""
    digest: str = ""
    previous_model: str = ""
    previous: str = ""
    sequence: int = 0
    health: str = "ok"
    refused_sequence: int = 0
    refused: str = ""
    learning: str = ""

    def json(self) -> bytes:
        """Return it as it is sent."""
        return json.dumps(dataclasses.asdict(self)).encode()


_TYPES = {one.name: str(one.type) for one in dataclasses.fields(Status)}


def read_status(content: bytes) -> Status:
    """Return a status as it was sent.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        table = json.loads(content[: _MAX_BYTES + 1])
        return Status(**{name: _checked(name, value) for name, value in table.items()})
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InputError(f"no status of a device: {error}") from error


def _checked(name: str, value: Any) -> Any:
    wanted = _TYPES[name]
    if wanted == "str":
        is_right = type(value) is str
    else:
        kinds = (int, float) if wanted == "float" else (int,)
        is_right = type(value) in kinds and 0 <= value < _LARGEST
    if not is_right:
        raise ValueError(f"{name} is {value!r}")
    return float(value) if wanted == "float" else value
