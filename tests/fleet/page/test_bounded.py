"""Work in a process of its own: what it gives, and how it is ended."""

from __future__ import annotations

import os
import socket
import time

import pytest

from listen_embed.fleet.page.bounded import TooMuchError, bounded

MEMORY = 200 << 20


def spin() -> bytes:
    while True:
        pass


def test_what_work_gives_comes_whole() -> None:
    assert bounded(lambda: b"", 10, MEMORY) == b""
    assert bounded(lambda: b"x" * 3_000_000, 10, MEMORY) == b"x" * 3_000_000
    assert int(bounded(lambda: str(os.getpid()).encode(), 10, MEMORY)) != os.getpid()


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, children = os.fork, []

    def noted() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", noted)
    begun = time.monotonic()
    with pytest.raises(TooMuchError, match=r"it takes longer than 0\.5 s"):
        bounded(spin, 0.5, MEMORY)
    assert time.monotonic() - begun < 5
    with pytest.raises(ChildProcessError):  # it is no longer there
        os.waitpid(children[0], os.WNOHANG)


def test_what_takes_too_much_memory_is_ended() -> None:
    with pytest.raises(TooMuchError, match="more than 200 MB of memory"):
        bounded(lambda: bytes(bytearray(400 << 20))[:1], 10, MEMORY)
    with pytest.raises(TooMuchError, match="more than 64 MB"):
        bounded(lambda: bytes(65 << 20), 10, MEMORY)


def test_connections_are_no_longer_open_than_here() -> None:
    ours, theirs = socket.socketpair()
    parent, took = os.getpid(), []

    class Closing:
        """Closes one end once the child is there."""

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            if os.getpid() == parent:
                begun = time.monotonic()
                ours.close()
                assert theirs.recv(1) == b""
                took.append(time.monotonic() - begun)

    def take_a_while() -> bytes:
        time.sleep(2)
        return b"done"

    with ours, theirs:
        assert bounded(take_a_while, 10, MEMORY, Closing()) == b"done"
    assert took[0] < 1.5
