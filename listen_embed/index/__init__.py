"""Similarity search: embeddings of many sounds on disk, and the nearest of them to a query.

An index is a folder. `Index` opens it and searches; `build` makes it and adds to it.
"""

from listen_embed.index.index import Hit, Index

__all__ = ["Hit", "Index"]
