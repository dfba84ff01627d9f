"""One target under libFuzzer's eyes: ``python -m fuzz.one TARGET [libFuzzer's options]``."""

from __future__ import annotations

import functools
import importlib
import sys

import atheris

_SCHEMA = "ai_edge_litert.schema_py_generated"  # the readers import it only when they run

with atheris.instrument_imports(
    include=["listen_embed", "zipfile", "tomllib", "flatbuffers", _SCHEMA]
):
    importlib.import_module(_SCHEMA)
    from fuzz import targets


def main() -> None:
    """Feed inputs until libFuzzer has had enough."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, functools.partial(targets.run, name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
