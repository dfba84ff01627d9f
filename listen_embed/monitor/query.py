"""The options of a SOURCE or sink, as they stand behind ``?`` in its text."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from listen_embed.errors import InputError


def options(query: str | Mapping[str, str], allowed: Mapping[str, str]) -> dict[str, str]:
    """Return a query's options over their defaults, or raise `InputError` on an unknown one."""
    given = dict(parse_qsl(query, keep_blank_values=True)) if isinstance(query, str) else query
    if unknown := set(given) - set(allowed):
        raise InputError(f"source option {min(unknown)!r}; allowed are {', '.join(allowed)}")
    return {**allowed, **given}


def number(given: Mapping[str, str], name: str, low: float, high: float) -> float:
    """Return an option as a number within bounds, or raise `InputError`."""
    try:
        value = float(given[name])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InputError(f"source option {name}={given[name]!r}; a number, {low:g} to {high:g}")
    return value


def address(text: str) -> tuple[str, int, str]:
    """Return host, port and query of ``scheme://host:port?query``, or raise `InputError`."""
    url = urlsplit(text)
    try:
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise InputError(f"source {text!r}: give it as {url.scheme}://host:port")
    return host, port, url.query
