"""What a device says about itself, signed by its key."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from listen_embed.errors import InputError
from listen_embed.fleet.keys import Sign, Verify

_MAX_BYTES = 20_000
# No signature made for another purpose fits.
_PURPOSE = b"listen-embed status 1\0"
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
        """Return it as it is signed."""
        return json.dumps(dataclasses.asdict(self)).encode()


_TYPES = {one.name: str(one.type) for one in dataclasses.fields(Status)}


def seal(status: Status, name: str, sign: Sign) -> bytes:
    """Return a status in an envelope that its device signed, as it is sent."""
    text = status.json()
    signature = sign(_signed(name, text)).hex()
    return json.dumps({"status": text.decode(), "signature": signature}).encode()


def unseal(envelope: bytes, name: str, verify: Verify | None) -> Status:
    """Return the status in an envelope that a device signed.

    Parameters
    ----------
    envelope : bytes
    name : str
        The device's.
    verify : callable or None
        Checks the signatures of its key; None for a device that is no member of the fleet.

    Raises
    ------
    InputError
        It is no status, is not signed, or by a key that is not this device's.
    """
    if verify is None:
        raise InputError(f"the status of {name!r}, who is not among the members: add its key there")
    text, signature = _opened(envelope)
    if not verify(_signed(name, text), signature):
        raise InputError(f"the status is not signed by the key of {name!r}: foreign, or changed")
    return read_status(text)


def _signed(name: str, text: bytes) -> bytes:
    return _PURPOSE + name.encode() + b"\0" + text


def _opened(envelope: bytes) -> tuple[bytes, bytes]:
    """Return the text and the signature of an envelope, nothing of it believed."""
    try:
        outer = json.loads(envelope[: 2 * _MAX_BYTES])
        return outer["status"].encode(), bytes.fromhex(outer["signature"])
    except KeyError as error:
        raise InputError("the status is not signed") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"no signed status of a device: {error}") from error


def read_status(content: bytes) -> Status:
    """Return a status as it stands in its envelope.

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
