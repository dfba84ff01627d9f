"""The topics of a fleet on a broker.

Under the fleet's topic: ``things/NAME/td`` (its Thing Description), ``things/NAME/status``,
``things/NAME/online`` (``true``; its last will ``false``) and ``things/NAME/deploy`` (a signed
manifest); ``files/SHA256`` has the files that manifests name. All are retained with QoS 1, so that
a device or an operator who comes later finds them.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

PARTS = ("td", "status", "online")


def thing(base: str, name: str, part: str) -> str:
    """Return a topic of a device."""
    return f"{base}/things/{quote(name, safe='')}/{part}"


def file(base: str, sha256: str) -> str:
    """Return the topic of a file."""
    return f"{base}/files/{sha256}"


def parsed(base: str, topic: str) -> tuple[str, str] | None:
    """Return the device's name and the part of a topic of a device, else None."""
    start, _, rest = topic.partition(f"{base}/things/")
    name, _, part = rest.partition("/")
    return (unquote(name), part) if not start and part in PARTS else None
