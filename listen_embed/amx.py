"""LiteRT without AMX, whose tiles take longer to fill than networks as small as these take in all.

XNNPACK asks Linux for AMX when its first network is made, and takes the next best instructions
where that is refused; int8 results are the same to the last bit. Linux refuses it to a process with
an alternate signal stack too small to hold the tiles. So there is one for as long as a network is
being made; nothing of it stays, and whoever asks later gets what they ask for.

LISTEN_EMBED_AMX=1 leaves AMX alone.

Source: Linux, Documentation/arch/x86/xstate.rst; XNNPACK, src/configs/hardware-config.c.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LEAST_BYTES = 2048  # MINSIGSTKSZ of x86-64


class Stack(ctypes.Structure):
    """``stack_t`` of signal.h."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def without_amx() -> Iterator[None]:
    """Have Linux refuse AMX to this process meanwhile; elsewhere nothing happens."""
    is_linux = sys.platform == "linux" and platform.machine() == "x86_64"
    if not is_linux or os.environ.get("LISTEN_EMBED_AMX"):
        yield
        return
    # No handler of a signal would have room on so small a stack.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with _small_stack():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _small_stack() -> Iterator[None]:
    memory = ctypes.create_string_buffer(_LEAST_BYTES)
    small, before = Stack(ctypes.addressof(memory), 0, _LEAST_BYTES), Stack()
    libc = ctypes.CDLL(None)
    # It fails in a process that was given AMX before: then it is too late.
    is_set = libc.sigaltstack(ctypes.byref(small), ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if is_set:
            libc.sigaltstack(ctypes.byref(before), None)
