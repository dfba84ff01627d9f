"""Sound in, embeddings out, on anything from a microcontroller to a cluster.

The public names are loaded when they are first used, so importing the package costs next to
nothing: `get_embedding`, `get_clip_embedding`, `Embedder` and `Stream` for sound in memory,
`process_file` and `embed_files` for files (`to_pandas` and `to_arrow` make one table of them),
`registry` for what there is, `heads` for small learners, `SoundClassifier` for what
`listen-embed classify train` made, and the errors.
"""

from __future__ import annotations

import importlib
from typing import Any

# name -> module that defines it; __init__.pyi repeats this for editors and type checkers.
_HOMES = {
    "Embedder": "embedder",
    "FileResult": "files",
    "FrontEnd": "spec",
    "ListenEmbedError": "errors",
    "ListenEmbedWarning": "errors",
    "ModelSpec": "spec",
    "SoundClassifier": "classify.classifier",
    "Stream": "embedder",
    "embed_files": "files",
    "get_clip_embedding": "embedder",
    "get_embedding": "embedder",
    "process_file": "files",
    "to_arrow": "tables",
    "to_pandas": "tables",
}
_MODULES = ("errors", "heads", "registry")

__all__ = [*sorted(_HOMES), *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"listen_embed.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"listen_embed.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("listen-embed")
    else:
        raise AttributeError(f"module 'listen_embed' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
