"""The README does what it says: its Python runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
# Blocks that need what a test has not: a microphone, a broker, hours. They still must parse.
_NOT_RUN = "<!-- not run: "


def text() -> str:
    assert README.is_file(), "there is no README.md"
    return README.read_text(encoding="utf-8")


def blocks(language: str) -> list[tuple[int, str, bool]]:
    """Return (line, code, whether it can run here) of each block in a language."""
    found = []
    content = text() if README.is_file() else ""
    for match in _BLOCK.finditer(content):
        if match.group(1) == language:
            before = content[: match.start()].rstrip().rsplit("\n", 1)[-1]
            line = content.count("\n", 0, match.start()) + 1
            found.append((line, match.group(2), not before.startswith(_NOT_RUN)))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user's: the example sounds, also under the names that examples use."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples/audio", folder / "examples/audio")
    return folder


def test_there_is_something_to_run() -> None:
    assert any(can_run for _, _, can_run in blocks("python"))
    assert blocks("bash")


def test_python_blocks_run_one_after_the_other(folder: Path) -> None:
    """In one interpreter, as a reader would type them; names carry over from block to block."""
    program = "\n".join(
        f"# README.md, line {line}\n{code}" for line, code, can_run in blocks("python") if can_run
    )
    for line, code, _ in blocks("python"):
        compile(code, f"README.md:{line}", "exec")
    run = subprocess.run(
        [sys.executable, "-W", "error::listen_embed.ListenEmbedWarning", "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert run.returncode == 0, run.stderr


def shell_lines() -> list[str]:
    """Return the commands in bash blocks, joined where they continue, without comments."""
    lines = []
    for _, code, _ in blocks("bash"):
        for line in code.replace("\\\n", " ").splitlines():
            commands = line.removeprefix("$ ").split("  #")[0].split("&&")
            lines += [command.strip() for command in commands if command.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    return lines


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {target for line in shell_lines() for target in re.findall(r"\bmake ([a-z]+)", line)}
    assert named <= targets
    assert {"demo", "test"} <= named, "the two commands that do everything"


def test_commands_know_their_options() -> None:
    """Every `listen-embed ...` in the README names options that its own help names."""
    helps: dict[str, str] = {}
    for line in shell_lines():
        words = line.split()
        if "listen-embed" not in words or words[0] in ("pip", "python"):
            continue
        words = words[words.index("listen-embed") + 1 :]
        # A command is one bare word; some have a second.
        bare = list(itertools.takewhile(lambda word: re.fullmatch(r"[a-z]+", word), words))
        has_second = bare[:1] in (["monitor"], ["fleet"], ["bulk"], ["index"], ["export"])
        command = bare[: 2 if has_second else 1]
        key = " ".join(command)
        if key not in helps:
            run = subprocess.run(
                [sys.executable, "-m", "listen_embed.cli", *command, "--help"],
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            assert run.returncode == 0, f"listen-embed {key}: {run.stderr}"
            helps[key] = run.stdout
        for option in (word.split("=")[0] for word in words if word.startswith("--")):
            assert option in helps[key], f"{line}: {option} is not in its help"
    assert helps


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (ROOT / target).exists(), target
