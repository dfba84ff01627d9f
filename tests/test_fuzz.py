"""The stored corpus of the fuzzer: every seed is read, every former finding is refused in words.

`make fuzz` goes on from here with inputs of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import targets
from listen_embed.errors import ListenEmbedError

STORED = [(name, path) for name in targets.TARGETS for path in (targets.CORPUS / name).iterdir()]

stored = pytest.mark.parametrize(
    ("name", "path"), STORED, ids=[f"{name}-{path.name}" for name, path in STORED]
)


@stored
def test_only_errors_of_ours_come_out(name: str, path: Path) -> None:
    targets.run(name, path.read_bytes())
    if path.name.startswith("seed-"):
        targets.TARGETS[name](path.read_bytes())
    else:
        with pytest.raises(ListenEmbedError):
            targets.TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", targets.TARGETS)
def test_every_target_has_seeds_and_takes_any_bytes(name: str) -> None:
    assert any(path.name.startswith("seed-") for path in (targets.CORPUS / name).iterdir())
    for data in (b"", b"\0", bytes(999), b"\xff" * 4096):
        targets.run(name, data)


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for _, path in STORED]
    assert sum(sizes) < 200_000
    assert max(sizes) <= 16_384
