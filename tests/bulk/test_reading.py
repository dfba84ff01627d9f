"""Recordings from file objects are those from paths; a failing read is never a sound's end."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from listen_embed.audio import read_blocks
from listen_embed.bulk import listing, reading
from listen_embed.bulk.manifest import Item
from listen_embed.bulk.reading import StorageError, blocks, patiently
from listen_embed.errors import AudioFileError

from ..program import write_sound


class Failing(io.BytesIO):
    """A file whose connection breaks after so many bytes."""

    def __init__(self, content: bytes, n_good: int) -> None:
        super().__init__(content)
        self.n_good = n_good

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() + (size or 0) > self.n_good:
            raise ConnectionResetError("broken")
        return super().read(size)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("is_small", [True, False])
def test_blocks_are_those_of_the_path(
    tmp_path: Path, suffix: str, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_WHOLE_BYTES", 1 << 20 if is_small else 10)
    path = write_sound(tmp_path / f"a.{suffix}", 12.0)
    (item,) = listing.find([str(path)])
    made = list(blocks(item))
    expected = list(read_blocks(path))
    assert [sr for _, sr in made] == [sr for _, sr in expected]
    for (block, _), (other, _) in zip(made, expected, strict=True):
        np.testing.assert_array_equal(block, other)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.9])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_connection_that_breaks(tmp_path: Path, share: float, suffix: str) -> None:
    content = write_sound(tmp_path / f"a.{suffix}", 30.0).read_bytes()
    item = Item("x", -1, "")
    with pytest.raises(StorageError, match="ConnectionResetError: broken"):
        list(blocks(item, lambda _: Failing(content, int(share * len(content)))))


def test_it_is_tried_four_times() -> None:
    pauses: list[float] = []
    calls = iter([StorageError("1"), StorageError("2"), None])

    def work() -> None:
        if error := next(calls):
            raise error

    patiently(work, "x", pauses.append)
    assert pauses == [0.5, 1.0]

    def never() -> None:
        raise StorageError("down")

    with pytest.raises(StorageError, match="x: down; tried 4 times"):
        patiently(never, "x", pauses.append)
    assert pauses == [0.5, 1.0, 0.5, 1.0, 2.0]


def test_a_bad_sound_is_not_tried_again() -> None:
    def work() -> None:
        raise AudioFileError("no sound")

    with pytest.raises(AudioFileError):
        patiently(work, "x", lambda _: pytest.fail("no pause"))


def test_what_cannot_be_fetched(tmp_path: Path) -> None:
    def refused(item: Item) -> io.BytesIO:
        raise PermissionError("denied")

    with pytest.raises(StorageError, match="PermissionError: denied"):
        list(blocks(Item("x", 3, ""), refused))
    with pytest.raises(AudioFileError, match="does not exist any more"):
        list(blocks(Item(f"file://{tmp_path}/none.wav", 3, "")))
