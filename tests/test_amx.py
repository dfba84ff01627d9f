"""Without AMX: refused while a network is made, and nothing else changes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import pytest

from listen_embed import amx

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own interface")

# What the process may use (ARCH_GET_XCOMP_PERM; bit 18 stands for the tiles), and an embedding.
_PROGRAM = """
import ctypes, platform
import numpy as np
import listen_embed
sound = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.1
embedding, _ = listen_embed.get_embedding(sound, 32_000)
allowed = ctypes.c_uint64()
if platform.machine() == "x86_64":
    ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(allowed))
print(allowed.value >> 18 & 1, embedding.tobytes().hex())
"""


def stack() -> tuple[int, int]:
    """Return flags and size of this thread's alternate signal stack."""
    found = amx.Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.flags, found.size


def run(**environment: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    is_allowed, embedding = done.stdout.split()
    return is_allowed, embedding


@needs_linux
def test_amx_stays_off_and_the_result_is_the_same() -> None:
    is_allowed, embedding = run()
    assert is_allowed == "0"
    assert run(LISTEN_EMBED_AMX="1")[1] == embedding


@needs_linux
def test_signals_and_their_stack_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx.platform, "machine", lambda: "x86_64")
    before = stack()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(ZeroDivisionError), amx.without_amx():
        assert stack()[1] in (2048, before[1])  # too late where AMX is in use already
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        raise ZeroDivisionError
    assert stack() == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


@needs_linux
def test_a_signal_waits_until_there_is_room() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with amx.without_amx():
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


@pytest.mark.parametrize(("system", "machine"), [("darwin", "x86_64"), ("linux", "aarch64")])
def test_elsewhere_nothing_happens(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amx.sys, "platform", system)
    monkeypatch.setattr(amx.platform, "machine", lambda: machine)
    monkeypatch.setattr(amx, "_small_stack", lambda: pytest.fail("touched"))
    with amx.without_amx():
        pass
