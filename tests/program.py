"""Run the command line for real, in a process of its own; make sounds for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SR = 16_000
COMMAND = (sys.executable, "-m", "listen_embed.cli")

# A process passes its peak memory on to those that it starts, so a small one starts the program.
_MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    with heeding_ctrl_c():
        return subprocess.Popen([*COMMAND, *map(str, arguments)], text=True, **options)


def finished(program: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what a program says until its end, which is near; it does not outlive the test."""
    try:
        return program.communicate(timeout=60)
    finally:
        program.kill()


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Let programs started here be interrupted.

    A suite that a background shell started ignores SIGINT, and what it starts would inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def peak_memory_mb(*arguments: str | Path) -> float:
    """Run the program and return its peak memory."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) / 1024


def write_sound(path: Path, seconds: float = 2.0, sr: int = SR, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * sr))
    soundfile.write(path, samples.astype(np.float32), sr)
    return path


def write_long_sound(path: Path, minutes: float) -> Path:
    """Write a tone as FLAC, which is small and quickly made."""
    second = np.rint(3_000 * np.sin(2 * np.pi * 440 * np.arange(SR) / SR)).astype(np.int16)
    with soundfile.SoundFile(path, "w", SR, 1, "PCM_16") as file:
        for _ in range(round(60 * minutes)):
            file.write(second)
    return path


def touch(*names: str) -> None:
    """Make empty files, their folders too."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def names_in(folder: Path) -> Iterator[str]:
    """Yield all names below a folder, hidden ones too."""
    yield from sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
