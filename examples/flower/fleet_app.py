"""What Flower starts: the apps of listen-embed, as they are."""

from listen_embed.fleet.learning.flower import client, server

__all__ = ["client", "server"]
