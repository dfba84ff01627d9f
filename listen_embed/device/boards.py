"""Cortex-M boards that QEMU knows, and how to build for them and run on them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from listen_embed.errors import ListenEmbedError

HARNESS = Path(__file__).with_name("harness")
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
_WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
_LIMIT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Board:
    """A board: QEMU's name of it, its processor, where its memories begin, and the flash's bytes.

    The processor starts from a table of 16 words at `vectors`.
    """

    machine: str
    processor: str
    flags: tuple[str, ...]
    vectors: int
    flash: int
    ram: int
    flash_bytes: int = 4 << 20


BOARDS = (
    Board("mps2-an385", "cortex-m3", (), 0x00000000, 0x00000040, 0x20000000),
    Board(
        "mps2-an386",
        "cortex-m4",
        ("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        0x00000000,
        0x00000040,
        0x20000000,
    ),
    Board(
        "mps2-an500",
        "cortex-m7",
        ("-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
        0x00000000,
        0x00000040,
        0x20000000,
    ),
    Board(
        "mps2-an505",
        "cortex-m33",
        ("-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
        0x10000000,
        0x10000040,
        0x38000000,
    ),
    Board(
        "mps3-an547",
        "cortex-m55",
        ("-mfloat-abi=hard",),
        0x00000000,
        0x01000000,
        0x21000000,
        2 << 20,
    ),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes that the library alone takes, from the linked program."""

    flash: int
    ram: int


def are_installed() -> bool:
    """Whether the cross compiler and the emulator are there."""
    return all(shutil.which(program) for program in (COMPILER, EMULATOR))


def build(folder: Path, board: Board, work: Path, flags: tuple[str, ...] = ("-O2",)) -> Path:
    """Build an exported library and the check for a board; return the program."""
    sources = [*sorted((folder / "src").glob("*.c")), HARNESS / "check.c"]
    return build_sources(sources, (folder / "src",), board, work, flags)


def build_sources(
    sources: list[Path],
    headers: tuple[Path, ...],
    board: Board,
    work: Path,
    flags: tuple[str, ...] = ("-O2",),
) -> Path:
    """Build sources for a board, with what starts them there; return the program."""
    folders = [part for folder in (*headers, HARNESS) for part in ("-I", str(folder))]
    common = (
        f"-mcpu={board.processor}", "-mthumb", *board.flags, "-std=c99", *flags, *_WARNINGS,
        "-ffunction-sections", "-fdata-sections", *folders,
    )  # fmt: skip
    objects = []
    for source in [*sources, HARNESS / "board.c"]:
        objects.append(work / f"{source.stem}.o")
        own = () if source.parent != HARNESS else ("-std=gnu99", "-Wno-pedantic")
        run([COMPILER, *common, *own, "-c", str(source), "-o", str(objects[-1])])
    program = work / "check.elf"
    link = (
        "-nostartfiles", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments",
        f"-Wl,--defsym=VECTORS={board.vectors}", f"-Wl,--defsym=FLASH={board.flash}",
        f"-Wl,--defsym=RAM={board.ram}",
        "-T", str(HARNESS / "board.ld"), f"-Wl,-Map={work / 'check.map'}",
    )  # fmt: skip
    run([COMPILER, *common, *link, *map(str, objects), "-lm", "-o", str(program)])
    return program


def execute(program: Path, board: Board, given: bytes) -> bytes:
    """Run a program on an emulated board and return what it wrote."""
    work = program.parent
    (work / "check.in").write_bytes(given)
    (work / "check.out").unlink(missing_ok=True)
    options = ("-nographic", "-semihosting-config", "enable=on,target=native")
    counting = ("-icount", "shift=0", "-monitor", "none", "-serial", "none")
    run([EMULATOR, "-M", board.machine, *options, *counting, "-kernel", str(program)], work)
    return (work / "check.out").read_bytes()


def sizes(program: Path) -> Sizes:
    """Return the flash and the RAM of the library's own sections, from the linker's map.

    What the C library adds (copying and clearing memory) is counted; the check is not.
    """
    text = program.with_suffix(".map").read_text()
    flash = ram = 0
    section = re.compile(r"^ (\.[a-z]+)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+(\S+)$", re.MULTILINE)
    joined = re.sub(r"^( \.\S+)\n\s+", r"\1 ", text.partition("Linker script and memory map")[2],
                    flags=re.MULTILINE)  # fmt: skip
    for kind, size, file in section.findall(joined):
        if file.endswith(("/check.o", "/board.o")):
            continue
        if kind in (".text", ".rodata", ".data"):
            flash += int(size, 16)
        if kind in (".data", ".bss"):
            ram += int(size, 16)
    return Sizes(flash, ram)


def run(command: list[str], folder: Path | None = None, given: bytes | None = None) -> bytes:
    """Run a program and return its output.

    Raises
    ------
    ListenEmbedError
        It failed; with what it said.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, input=given, capture_output=True, timeout=_LIMIT_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ListenEmbedError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-2000:]
        raise ListenEmbedError(f"{command[0]} failed: {said}")
    return done.stdout
