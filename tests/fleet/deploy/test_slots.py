"""Models on a device: installed whole or not at all, taken back, and alive after any power cut."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from listen_embed import self_check
from listen_embed.errors import VerificationError
from listen_embed.fleet.deploy import package
from listen_embed.fleet.deploy.manifest import FileInfo
from listen_embed.fleet.deploy.refusal import Refusal
from listen_embed.fleet.deploy.slots import Slots

from ..things.world import NANO
from .world import OTHER, fetching, files, installed, manifest, needs, rollback

N_CUTS = 50
ROOT = Path(__file__).parents[3]


def test_a_model_is_installed_and_the_one_before_kept(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    assert slots.model is None
    slots.install(manifest(NANO, 1), fetching())
    slots.install(manifest(OTHER, 2), fetching())
    assert slots.state.current and slots.state.previous
    assert (slots.state.current.model, slots.state.previous.model) == (OTHER, NANO)
    again = Slots(tmp_path)
    assert again.state == slots.state
    assert again.model is not None
    package.try_out(again.model, needs(OTHER)[1])


def test_back_and_forth(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    with pytest.raises(Refusal, match="no previous model"):
        slots.roll_back(rollback(NANO, 1))
    slots.install(manifest(NANO, 1), fetching())
    slots.install(manifest(OTHER, 2), fetching())
    with pytest.raises(Refusal, match=r"previous model is sea/32/nano .*, not listen/64/workshop"):
        slots.roll_back(rollback(OTHER, 3))
    slots.roll_back(rollback(NANO, 3))
    assert slots.state.current and slots.state.current.model == NANO
    slots.roll_back(rollback(OTHER, 4))
    assert slots.state.current.model == OTHER
    assert slots.state.sequence == 4


def test_installing_the_same_again_keeps_the_previous(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.install(manifest(NANO, 1), fetching())
    slots.install(manifest(OTHER, 2), fetching())
    slots.install(manifest(OTHER, 9), fetching())
    assert slots.state.previous and slots.state.previous.model == NANO
    assert slots.state.sequence == 9
    slots.install(manifest(NANO, 10), fetching())
    assert slots.state.current and slots.state.current.model == NANO
    assert len(installed(tmp_path)) == 3


def _with(name: str, content: bytes) -> dict[str, Any]:
    """Return files of nano of which one has other contents, honestly stated."""
    changed = files() | {name: content}
    by_digest = {package.info(one).sha256: one for one in changed.values()}
    return {
        "made": manifest(files=package.infos(changed)),
        "fetch": lambda wanted: by_digest[wanted.sha256],
    }


def _golden_of_another() -> bytes:
    return files(OTHER)[self_check.FILE]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.tflite", b"TFL3" * 100, "does not work here"),
        ("model.toml", b"[", "does not work here: .*not valid TOML"),
        (self_check.FILE, b"PK", "does not work here: .*golden.npz"),
        (self_check.FILE, None, "does not work here: .*promises"),
    ],
)
def test_a_model_that_does_not_work_changes_nothing(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    slots = Slots(tmp_path)
    slots.install(manifest(OTHER, 1), fetching())
    before, state = installed(tmp_path), slots.state
    case = _with(name, _golden_of_another() if content is None else content)
    with pytest.raises(Refusal, match=said):
        slots.install(case["made"], case["fetch"])
    assert (installed(tmp_path), slots.state) == (before, state)


def test_another_embedders_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"files are another embedder's: digest [0-9a-f]{12}…, prom"):
        Slots(tmp_path).install(manifest(digest=needs(OTHER)[1]), fetching())


def test_a_model_without_golden_vectors_is_refused(tmp_path: Path) -> None:
    fewer = {name: one for name, one in files().items() if name != self_check.FILE}
    with pytest.raises(Refusal, match=r"brings no golden\.npz to be tried on"):
        Slots(tmp_path).install(manifest(files=package.infos(fewer)), fetching())


def test_a_file_that_is_not_the_promised_one_is_refused(tmp_path: Path) -> None:
    def cut(wanted: FileInfo) -> bytes:
        return fetching()(wanted)[:-1]

    with pytest.raises(Refusal, match=r"is not the promised file: .* bytes, sha256 .*; promised"):
        Slots(tmp_path).install(manifest(), cut)
    assert installed(tmp_path) == set()


def test_a_damaged_model_falls_back_to_the_previous(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.install(manifest(NANO, 1), fetching())
    slots.install(manifest(OTHER, 2), fetching())
    assert slots.model is not None
    (slots.model / "model.tflite").write_bytes(b"worn out")
    again = Slots(tmp_path)
    assert again.state.current and again.state.current.model == NANO
    assert again.problem == f"{OTHER} was damaged; back to {NANO}"
    assert again.model is not None
    (again.model / "model.tflite").unlink()
    bare = Slots(tmp_path)
    assert (bare.model, bare.state.sequence) == (None, 2)
    assert bare.problem == f"{NANO} was damaged; there is no other; deploy again"
    bare.install(manifest(NANO, 3), fetching())
    assert Slots(tmp_path).problem == ""


def test_a_damaged_state_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(VerificationError, match=r"state\.json: cannot be read"):
        Slots(tmp_path)


def test_only_folders_of_its_own_are_removed(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / ("0" * 32)).mkdir()
    (tmp_path / ".staging-01234567").mkdir()
    Slots(tmp_path)
    assert installed(tmp_path) == {"letters"}


def test_everything_is_on_the_disk_before_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, rename, switch = os.fsync, os.rename, os.replace

    def noted(what: str, do: Any) -> Any:
        def call(*given: Any) -> Any:
            order.append(what)
            return do(*given)

        return call

    monkeypatch.setattr(os, "fsync", noted("sync", sync))
    monkeypatch.setattr(os, "rename", noted("rename", rename))
    monkeypatch.setattr(os, "replace", noted("switch", switch))
    Slots(tmp_path).install(manifest(), fetching())
    n_files = len(files())
    # Files and their folder; the folder's new name; the state; its name.
    assert order == ["sync"] * (n_files + 1) + ["rename", "sync", "sync", "switch", "sync"]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is such a place: hundreds of fsyncs take long on a disk."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.fixture
def device(memory: Path) -> Iterator[subprocess.Popen[str]]:
    """A device whose power is cut again and again."""
    Slots(memory).install(manifest(OTHER, 1), fetching())
    command = [sys.executable, "-m", "tests.fleet.deploy.cuts", str(memory)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        yield process
        process.kill()


def test_a_power_cut_at_any_moment_leaves_a_working_model(
    memory: Path, device: subprocess.Popen[str]
) -> None:
    rng, sequences, interrupted = random.Random(3), [1], 0
    assert device.stdin and device.stdout
    for _ in range(N_CUTS):
        print(rng.randrange(1, 60), rng.uniform(1e-6, 0.005), file=device.stdin, flush=True)
        assert device.stdout.readline() == "cut\n"
        interrupted += any(name.startswith(".staging-") for name in installed(memory))
        slots = Slots(memory)
        assert slots.problem == ""
        assert slots.state.current is not None and slots.model is not None
        package.try_out(slots.model, slots.state.current.digest)
        sequences.append(slots.state.sequence)
    assert sequences == sorted(sequences)
    assert sequences[-1] > 10
    assert interrupted > 10
