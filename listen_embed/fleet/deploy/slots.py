"""The models on a device: the current one, the one before, and a switch that is whole or not done.

A model is written into a folder that nobody knows yet, tried, moved to its own name, and only then
named in ``state.json``, which is replaced in one step. Everything is on the disk before the step
that relies on it, so a power cut leaves the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from listen_embed.atomic import replacing
from listen_embed.errors import VerificationError
from listen_embed.fleet.deploy import package
from listen_embed.fleet.deploy.manifest import FileInfo, Manifest
from listen_embed.fleet.deploy.refusal import Refusal

Fetch = Callable[[FileInfo], bytes]

_STATE, _STAGING = "state.json", ".staging-"
_OURS = re.compile(r"[0-9a-f]{32}|\.staging-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Slot:
    """An installed model: the folder's name, what it is, and its files' digests."""

    name: str
    model: str
    digest: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class State:
    """What a device runs; `sequence` is that of the last manifest it obeyed."""

    sequence: int = 0
    current: Slot | None = None
    previous: Slot | None = None


class Slots:
    """The folder in which a device keeps its models.

    Parameters
    ----------
    folder : path

    Raises
    ------
    VerificationError
        The state cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.state = _read_state(folder / _STATE)
        self.problem = ""
        self._fall_back()
        self._sweep()

    @property
    def model(self) -> Path | None:
        """Folder of the current model."""
        slot = self.state.current
        return None if slot is None else self._folder / slot.name

    def _fall_back(self) -> None:
        """Go to the previous model where the current one is damaged, to none where both are."""
        current, previous = self.state.current, self.state.previous
        if current is None or self._is_intact(current):
            return
        if previous is not None and not self._is_intact(previous):
            previous = None
        self._keep(State(self.state.sequence, previous, None))
        then = f"back to {previous.model}" if previous else "there is no other; deploy again"
        self.problem = f"{current.model} was damaged; {then}"

    def _is_intact(self, slot: Slot) -> bool:
        folder = self._folder / slot.name
        return all(_digest(folder / name) == digest for name, digest in slot.files.items())

    def _sweep(self) -> None:
        """Remove what is neither the current nor the previous model."""
        kept = {slot.name for slot in (self.state.current, self.state.previous) if slot}
        for entry in self._folder.iterdir():
            if _OURS.fullmatch(entry.name) and entry.name not in kept:
                shutil.rmtree(entry)

    def install(self, manifest: Manifest, fetch: Fetch) -> None:
        """Install a manifest's model and switch to it; the current one becomes the previous.

        Raises
        ------
        Refusal
            A file is not the promised one, or the model does not pass its golden vectors; nothing
            is changed.
        """
        files = {name: one.sha256 for name, one in manifest.files.items()}
        slot = Slot(package.name_of(manifest.files), manifest.model, manifest.digest, files)
        now = self.state
        if now.current is not None and now.current.name == slot.name:
            self._keep(replace(now, sequence=manifest.sequence))
            return
        self._bring(slot, manifest, fetch)
        self._keep(State(manifest.sequence, slot, now.current))
        self._sweep()

    def _bring(self, slot: Slot, manifest: Manifest, fetch: Fetch) -> None:
        final = self._folder / slot.name
        if final.exists() and self._is_intact(slot):
            package.try_out(final, slot.digest)
            return
        staging = self._folder / f"{_STAGING}{secrets.token_hex(4)}"
        try:
            for name, promised in manifest.files.items():
                _write(staging / name, _fetched(name, promised, fetch))
            package.try_out(staging, slot.digest)
            _sync_all(staging)
            shutil.rmtree(final, ignore_errors=True)
            os.rename(staging, final)
            _sync(self._folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def roll_back(self, manifest: Manifest) -> None:
        """Go back to the previous model, which stays as the next one to go back to.

        Raises
        ------
        Refusal
            There is none, it is another one than the manifest means, or it is damaged.
        """
        now = self.state
        if now.previous is None:
            raise Refusal("there is no previous model to go back to")
        if now.previous.digest != manifest.digest:
            raise Refusal(
                f"the previous model is {now.previous.model} ({now.previous.digest[:12]}…), not "
                f"{manifest.model} ({manifest.digest[:12]}…)"
            )
        if not self._is_intact(now.previous):
            raise Refusal(f"the previous model, {now.previous.model}, is damaged")
        self._keep(State(manifest.sequence, now.previous, now.current))

    def _keep(self, state: State) -> None:
        content = json.dumps(asdict(state)).encode()
        with replacing(self._folder / _STATE) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _sync(self._folder)
        self.state = state


def _fetched(name: str, promised: FileInfo, fetch: Fetch) -> bytes:
    content = fetch(promised)
    found = package.info(content)
    if found != promised:
        raise Refusal(
            f"{name} is not the promised file: {found.size:,} bytes, sha256 {found.sha256[:12]}…; "
            f"promised {promised.size:,}, {promised.sha256[:12]}…"
        )
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Let the disk have a folder's names."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_all(folder: Path) -> None:
    for place in (*(one for one in folder.rglob("*") if one.is_dir()), folder):
        _sync(place)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _read_state(path: Path) -> State:
    if not path.is_file():
        return State()
    try:
        table = json.loads(path.read_bytes())
        return State(int(table["sequence"]), _slot(table["current"]), _slot(table["previous"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerificationError(f"{path}: cannot be read ({error}); deploy again") from error


def _slot(table: dict[str, Any] | None) -> Slot | None:
    return None if table is None else Slot(**table)
