"""Everything that a running monitor can be told, by options or by a file.

In: a TOML file whose keys are the fields of `MonitorConfig`. Out: `MonitorConfig`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from listen_embed.errors import InputError

_DAY_S, _HOUR_S = 86400.0, 3600.0
# The least and the most that each may be.
_LIMITS = {
    "hop_s": (0.001, _HOUR_S),
    "debounce_s": (0.001, _HOUR_S),
    "heartbeat_s": (0.001, _DAY_S),
    "checkpoint_s": (0.001, _HOUR_S),
    "threshold": (1e-6, 1e6),
    "drain_s": (0.0, _HOUR_S),
    "keep_days": (0.001, 3660.0),
    "keep_audio_mb": (0.0, 1e9),
    "ring_s": (1.0, _HOUR_S),
    "threads": (1, 1024),
}
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class MonitorConfig:
    """What ``listen-embed monitor run`` takes; see its ``--help`` and docs/MONITOR.md."""

    head: str
    source: str
    journal: str = "monitor.sqlite"
    name: str = "machine"
    hop_s: float = 0.1
    debounce_s: float = 1.0
    threshold: float | None = None
    heartbeat_s: float = 10.0
    checkpoint_s: float = 10.0
    mqtt: Sequence[str] = ()
    sparkplug: Sequence[str] = ()
    jsonl: Sequence[str] = ()
    webhook: Sequence[str] = ()
    page: str | None = None
    token: str | None = None
    drain_s: float = 10.0
    keep_days: float = 30.0
    threads: int | None = 1
    keep_audio: str | None = None
    keep_audio_mb: float = 500.0
    ring_s: float = 120.0
    peer: Sequence[str] = ()
    learn: bool = False

    def check(self) -> None:
        """Raise `InputError` for a number that is out of range."""
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                unit = "seconds" if name.endswith("_s") else "a number"
                raise InputError(f"{name} is {value!r}; give {unit} from {least:g} to {most:g}")


_FIELDS = {field.name: str(field.type) for field in fields(MonitorConfig)}
CONFIG_NAMES = frozenset(_FIELDS)


def read_config(path: Path, given: Mapping[str, Any]) -> MonitorConfig:
    """Return the configuration of a file, with what is given besides in place of what it says.

    Raises
    ------
    InputError
        The file cannot be read, or says something that is not known or not of the right kind.
    """
    return make_config({**_read(path), **given}, str(path))


def make_config(values: Mapping[str, Any], origin: str = "") -> MonitorConfig:
    """Return a checked configuration of values by the names of fields."""
    where = f"{origin}: " if origin else ""
    for name, value in values.items():
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, 1)
            hint = f"; do you mean {near[0]!r}?" if near else f"; there are {', '.join(_FIELDS)}"
            raise InputError(f"{where}{name!r} is no option{hint}")
        _check_kind(where, name, value)
    for name, flag in (("head", "--head"), ("source", "--from")):
        if not values.get(name):
            raise InputError(f"{where}{name} is missing; give it in the file, or {flag}")
    config = MonitorConfig(**values)
    config.check()
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.loads(file.read(_MAX_BYTES).decode())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no TOML file ({error})") from error


def _check_kind(where: str, name: str, value: Any) -> None:
    kind = _FIELDS[name]
    if kind.startswith("Sequence"):
        wanted = "a list of texts"
        good = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    elif kind.startswith("str"):
        good, wanted = isinstance(value, str) or value is None, "a text"
    elif kind == "bool":
        good, wanted = isinstance(value, bool), "true or false"
    elif kind.startswith("int"):
        good, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    else:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        good, wanted = good or (value is None and "None" in kind), "a number"
    if not good:
        raise InputError(f"{where}{name} is {value!r}; give {wanted}")
