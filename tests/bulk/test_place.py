"""Files that appear whole or not at all, on a disk and on S3; what the dead leave is swept."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from listen_embed.bulk.place import Place
from listen_embed.errors import InputError, OutputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return Place(str(tmp_path))
    return Place(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def test_what_is_written_is_there(place: Place) -> None:
    assert place.names("parts") == set()
    place.write("parts/a", b"one")
    place.write("parts/a", b"two")
    place.write("b", b"three")
    assert place.names("parts") == {"a"}
    assert place.read("parts/a") == b"two"
    assert place.exists("b") and not place.exists("c")
    with place.open("b") as file:
        file.seek(2)
        assert file.read() == b"ree"
    place.remove("parts/a")
    assert place.names("parts") == set()


def test_a_block_that_fails_writes_nothing(place: Place) -> None:
    place.write("parts/a", b"before")
    with pytest.raises(RuntimeError), place.writing("parts/a") as file:
        file.write(b"half")
        raise RuntimeError
    assert place.read("parts/a") == b"before"
    assert place.sweep("parts") == 0


def test_what_is_half_written_is_not_seen(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    with place.writing("parts/a") as file:
        file.write(b"half")
        assert place.names("parts") == set()
        assert place.sweep("parts") == 0, "this process is alive"
    assert place.names("parts") == {"a"}


_DIE = """
import os, sys
from listen_embed.bulk.place import Place
with Place(sys.argv[1]).writing("parts/a") as file:
    file.write(b"half"); file.flush()
    os.kill(os.getpid(), 9)
"""


def test_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _DIE, tmp_path], check=False)
    (left,) = (tmp_path / "parts").iterdir()
    assert left.name.startswith(f".incoming-{socket.gethostname()}~")
    assert Place(str(tmp_path)).sweep("parts") == 1
    assert not list((tmp_path / "parts").iterdir())


def test_other_machines_files_are_swept_when_they_are_old(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    theirs = tmp_path / "parts" / ".incoming-elsewhere~1~00~a"
    theirs.touch()
    place = Place(str(tmp_path))
    assert place.sweep("parts") == 0
    long_ago = time.time() - 25 * 3600
    os.utime(theirs, (long_ago, long_ago))
    assert place.sweep("parts") == 1


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "parts").touch()
    with pytest.raises((OutputError, FileExistsError)):
        Place(str(tmp_path)).write("parts/a", b"")


def test_a_protocol_that_nobody_knows() -> None:
    with pytest.raises(InputError, match="nosuch://x"):
        Place("nosuch://x")
