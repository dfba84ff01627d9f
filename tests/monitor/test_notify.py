"""What systemd is told: ready, alive while sound comes in, stopping."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from listen_embed.monitor.notify import Systemd

from .world import finished, monitor, sound, write_wav


def test_the_watchdog_hears_at_half_its_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        given = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        systemd = Systemd({**given, "WATCHDOG_PID": str(os.getpid())})
        systemd.ready("listening to mic:")
        for _ in range(100):
            systemd.alive()
        systemd.stopping()
        said = [manager.recv(200).decode() for _ in range(3)]
        assert said == ["READY=1\nSTATUS=listening to mic:", "WATCHDOG=1", "STOPPING=1"]
        Systemd({**given, "WATCHDOG_PID": "1"}).alive()  # meant for somebody else
        manager.setblocking(False)
        assert _nothing(manager)


def _nothing(manager: socket.socket) -> bool:
    try:
        manager.recv(1)
    except BlockingIOError:
        return True
    return False


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    for given in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "x"}):
        systemd = Systemd(given)
        systemd.ready("x")
        systemd.alive()
        systemd.stopping()


def test_a_monitor_tells_it(tmp_path: Path, machine_file: Path, monkeypatch: object) -> None:
    wav = write_wav(tmp_path / "a.wav", sound(("low", 3.0), rate=16000), 16000)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")
        journal = tmp_path / "j.sqlite"
        finished(monitor("run", "--head", machine_file, "--from", wav, "--journal", journal))
        said = [manager.recv(200).decode().split("\n")[0] for _ in range(3)]
        assert said == ["READY=1", "WATCHDOG=1", "STOPPING=1"]
