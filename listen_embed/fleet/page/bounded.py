"""Work that is ended when it takes too long or too much memory: in a process of its own.

Native code cannot be stopped from Python, a process can. The child is a fork: it sees everything as
it is at that moment, copies nothing, and changes nothing here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import stat
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

from listen_embed.errors import InputError

_MAX_BYTES = 64 << 20
_CHUNK = 1 << 16
_SPARE_S = 2
_END = b"\0"  # after what is whole
_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()


class TooMuchError(InputError):
    """Work took longer, more memory or more words than allowed."""


def bounded(
    work: Callable[[], bytes],
    longest_s: float,
    more_memory: int,
    while_forking: AbstractContextManager[object] = _NOTHING,
) -> bytes:
    """Return what work gives, done by a child.

    Parameters
    ----------
    work : callable
        Must raise nothing; what it changes is lost.
    longest_s : float
        After which it is killed.
    more_memory : int
        Bytes that it may take beyond those that this process has.
    while_forking : context manager
        Within it nothing that the work reads is being changed.

    Raises
    ------
    TooMuchError
        It took more than that, or gives more than 64 MB.
    """
    reading, writing = os.pipe()
    with while_forking:
        child = _fork()
    if child == 0:
        _work(work, reading, writing, longest_s, more_memory)
    os.close(writing)
    try:
        given = _read(reading, time.monotonic() + longest_s, longest_s)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not given.endswith(_END):
        raise TooMuchError(f"it takes more than {more_memory >> 20} MB of memory; ask for less")
    return given.removesuffix(_END)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python and libraries with threads (JAX) warn of locks that are held forever in the child:
        # then time ends it.
        warnings.simplefilter("ignore")
        return os.fork()


def _work(
    work: Callable[[], bytes], reading: int, writing: int, longest_s: float, more_memory: int
) -> None:
    """Do the work and end this process, whatever happens."""
    try:
        os.close(reading)
        _close_sockets()
        _limit(longest_s, more_memory)
        with open(writing, "wb") as file:
            file.write(work() + _END)
    finally:
        os._exit(0)


def _close_sockets() -> None:
    """Close what this page's visitors are connected to: they would wait for this process too."""
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.close(int(name))


def _limit(longest_s: float, more_memory: int) -> None:
    """Have the system end this process, even if nobody is left to kill it."""
    seconds = int(longest_s) + _SPARE_S
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # not every system says what a process has
        with open("/proc/self/statm") as file:
            has = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + more_memory, has + more_memory))


def _read(file: int, deadline: float, longest_s: float) -> bytes:
    """Return all that comes before a moment."""
    given, poll = bytearray(), select.poll()
    poll.register(file, select.POLLIN)
    while poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
        if not (chunk := os.read(file, _CHUNK)):
            return bytes(given)
        given += chunk
        if len(given) > _MAX_BYTES:
            raise TooMuchError(f"it gives more than {_MAX_BYTES >> 20} MB; ask for less")
    raise TooMuchError(f"it takes longer than {longest_s:g} s; ask for less")
