"""Why a device does not do what it is told."""

from __future__ import annotations

from listen_embed.errors import ListenEmbedError


class Refusal(ListenEmbedError):
    """A deployment is refused; what the device runs stays as it is."""
