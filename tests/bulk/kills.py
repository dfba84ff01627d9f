"""Kill a job's processes at random, as machines that come and go do; also for benchmarks/bulk.py.

The driver runs in a session of its own, so that whatever it started can be told from all else.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from listen_embed.bulk.job import left_to_do
from listen_embed.bulk.manifest import Job
from listen_embed.bulk.place import place

_WORKER_MARKS = (b"multiprocessing.spawn", b"ray::_do")
# Its imports take about as long.
_BEGUN_SECONDS = 0.3
_DRIVER_SHARE = 0.3


def disturbed(job: Job, engine: str, n_kills: int, seed: int) -> Counter[str]:
    """Run a job, killing workers and drivers, until it has survived so many; then let it finish.

    Returns
    -------
    Counter
        How many drivers and workers were killed, and how often it was over too soon and some of
        its parts were taken away to go on.
    """
    rng = random.Random(seed)
    kills: Counter[str] = Counter()
    while kills["driver"] + kills["worker"] < n_kills:
        if not left_to_do(job):
            kills["parts taken away"] += _take_away(job, rng)
        with _session(job, engine) as driver:
            _kill_at_random(driver, n_kills, kills, rng)
    with _session(job, engine) as driver:
        assert driver.wait(timeout=300) == 0, "the undisturbed end of a disturbed job"
    return kills


def _kill_at_random(
    driver: subprocess.Popen[bytes], n_kills: int, kills: Counter[str], rng: random.Random
) -> None:
    while driver.poll() is None and kills["driver"] + kills["worker"] < n_kills:
        time.sleep(rng.uniform(0.05, 0.6))
        workers = [pid for pid in members(driver.pid) if _is_worker(pid)]
        if not workers:
            continue  # it is still starting
        time.sleep(rng.uniform(0.0, 0.5))
        if rng.random() < _DRIVER_SHARE:
            driver.kill()
            driver.wait()
            kills["driver"] += 1
        else:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                kills["worker"] += 1


class _session:
    """A driver in a session of its own, of which nothing is left afterwards."""

    def __init__(self, job: Job, engine: str) -> None:
        command = [sys.executable, "-m", "listen_embed.cli", "bulk", "run", "--out", job.url]
        self._command = [*command, "--engine", engine, "--workers", "2", "-q"]

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._driver = subprocess.Popen(
            self._command, start_new_session=True, stderr=subprocess.DEVNULL
        )
        return self._driver

    def __exit__(self, *_: object) -> None:
        if self._driver.poll() is None:
            self._driver.kill()
        self._driver.wait()
        for _ in range(50):
            left = list(members(self._driver.pid))
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.1)


def members(session: int) -> Iterator[int]:
    """Yield the living processes of a session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, IndexError):
                facts = (entry / "stat").read_text().rsplit(") ", 1)[1].split()
                if int(facts[3]) == session and facts[0] != "Z":
                    yield int(entry.name)


def _is_worker(pid: int) -> bool:
    """Whether a process is a worker that has had the time to begin a shard."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(mark in command for mark in _WORKER_MARKS) and cpu_seconds(pid) > _BEGUN_SECONDS


def cpu_seconds(pid: int) -> float:
    """Return user and system seconds of a process, its own alone; 0 if it is gone."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return 0.0
    return (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")


def _take_away(job: Job, rng: random.Random) -> int:
    names = sorted(place(job.url).names("parts"))
    chosen = rng.sample(names, max(1, len(names) // 2))
    for name in chosen:
        place(job.url).remove(f"parts/{name}")
    return len(chosen)
