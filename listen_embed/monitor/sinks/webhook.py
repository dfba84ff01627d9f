"""Events posted as JSON to an HTTP address."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from listen_embed.errors import InputError
from listen_embed.monitor.events import Entry, SinkError

_TIMEOUT_S = 10.0


class Webhook:
    """POST each event as JSON; anything but a 2xx answer is tried again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--webhook {url!r}: give an http:// or https:// address")
        import requests

        self.name = f"webhook:{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._url = url
        self._session = requests.Session()
        self._failures: tuple[type[Exception], ...] = (requests.RequestException,)

    def send(self, entries: Sequence[Entry]) -> None:
        """Post one event after the other; a repetition has the same Idempotency-Key."""
        for entry in entries:
            headers = {
                "Content-Type": "application/json",
                "Idempotency-Key": f"{entry.run}-{entry.number}",
            }
            try:
                answer = self._session.post(
                    self._url,
                    data=entry.json().encode(),
                    headers=headers,
                    timeout=_TIMEOUT_S,
                    allow_redirects=False,
                )
            except self._failures as error:
                raise SinkError(f"{self.name}: {type(error).__name__}") from error
            if not 200 <= answer.status_code < 300:
                raise SinkError(f"{self.name}: answered {answer.status_code}")

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
