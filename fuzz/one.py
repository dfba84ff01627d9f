"""One target under libFuzzer's eyes: ``python -m fuzz.one TARGET [libFuzzer's options]``."""

from __future__ import annotations

import functools
import sys

import atheris

with atheris.instrument_imports(include=["listen_embed", "zipfile", "tomllib"]):
    from fuzz import targets


def main() -> None:
    """Feed inputs until libFuzzer has had enough."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, functools.partial(targets.run, name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
