"""Other machines' monitors, asked now and then so that one page shows them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from listen_embed.errors import InputError

_EVERY_S = 2.0
_TIMEOUT_S = 3.0


class Peers:
    """The summaries of other monitors.

    Parameters
    ----------
    urls : sequence of str
        ``http://[token@]host:port``, one a monitor.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._stop = threading.Event()
        asked = [_parts(url) for url in urls]
        self._found: dict[str, dict[str, Any]] = {
            url: {"name": url, "url": url, "problem": "not asked yet"} for url, _ in asked
        }
        for parts in asked:
            threading.Thread(target=self._ask, args=parts, name="peer", daemon=True).start()

    def _ask(self, url: str, token: str) -> None:
        import requests

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        while not self._stop.wait(0.0):
            try:
                answer = requests.get(f"{url}/summary", headers=headers, timeout=_TIMEOUT_S)
                answer.raise_for_status()
                found = {**answer.json(), "url": url, "problem": None, "asked_at": time.time()}
            except (requests.RequestException, ValueError) as error:
                found = {**self._found[url], "problem": type(error).__name__}
            self._found[url] = found
            self._stop.wait(_EVERY_S)

    def summaries(self) -> list[dict[str, Any]]:
        """Return what each monitor last said of its machine."""
        return [dict(found) for _, found in sorted(self._found.items())]

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()


def _parts(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"--peer {url.rpartition('@')[2]!r}: give http://[token@]host:port")
    address = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{address}", parts.username or ""
