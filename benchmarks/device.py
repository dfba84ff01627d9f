"""What exported models cost on Cortex-M boards and in a browser's engine -> docs/DEVICES.md.

    python benchmarks/device.py [--only boards mode equal web]

Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm; for WebAssembly clang, lld,
wasi-libc and node. Instructions are counted by QEMU (-icount shift=0) and are the same in every
run; they are no cycles, which no emulator tells. With `--only` the page's other tables stay as they
are.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from listen_embed import registry, store
from listen_embed.device import Options, boards, check, export_c, export_wasm
from listen_embed.device.model_source import model_source
from listen_embed.errors import ListenEmbedError
from listen_embed.spec import ModelSpec

PAGE = Path(__file__).parents[1] / "docs" / "DEVICES.md"
MODELS = [
    "sea/32/nano",
    "sea/64/general",
    "sea/128/general",
    "pruned/384/mn04",
    "listen/64/workshop",
]
_CLOCK = """
const fs = require("fs");
(async () => {
  const bytes = fs.readFileSync(process.argv[2]);
  const m = (await WebAssembly.instantiate(bytes, {})).instance.exports;
  const n = m.rate() * 10, block = m.block();
  m.init();
  const view = new Float32Array(m.memory.buffer, m.samples(), block);
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const begin = process.hrtime.bigint();
    for (let i = 0; i < n; i += block) {
      for (let j = 0; j < block; j++) view[j] = Math.sin((i + j) * 0.05);
      m.push(block);
    }
    best = Math.min(best, Number(process.hrtime.bigint() - begin) / 1e6 / 10);
  }
  console.log(JSON.stringify({ ms: best }));
})();
"""
_TEXT = """\
# Models on small machines

`listen-embed export c MODEL --out folder/` writes a model as a self-contained C99 library;
`--check` builds it, compares it with this package, and runs it on emulated boards.
`listen-embed export wasm` writes a page for browsers.

All figures are printed by `benchmarks/device.py`: gcc {compiler}, `-O2`, emulated by QEMU. Flash
and RAM are the library's own, from the linker: code, constants, arena, columns and samples, all
static; stack is what painted memory shows. **Instructions, not cycles**: QEMU models none; a real
core needs more than one cycle for some. MHz is what real time would need at one instruction a
cycle, with frames side by side.

## Cortex-M

{boards}

The M3 has no floating-point unit: its front end computes in integers (`--arithmetic fixed`) where
there is such a one; a model whose log-mel depends on the peak of its frame has none.

## Two roundings

{mode}

The same .tflite has two answers: `xnn` (the default) gives those of this package bit by bit,
`reference` those of TensorFlow Lite for Microcontrollers. The tests hold both against their
interpreters, operator by operator and network by network.

## How equal to Python

{equal}

The network is equal bit by bit: equal log-mels give equal embeddings. The front end computes in
single precision in another order than numpy, and now and then a value of the log-mel falls to the
other side of a half. Such a step passes through the network, and in a deep one it grows. The last
column is the largest difference of a whole embedding from that, in steps of the output; a step of
workshop, whose values have 16 bits, is 256 times as small as one of the others.

## WebAssembly

{web}
"""


class Cost(NamedTuple):
    """What a model costs on a board."""

    flash: int
    ram: int
    stack: int
    network: int
    frame: int


def measured(spec: ModelSpec, board: boards.Board, work: Path, options: Options) -> Cost | None:
    """Return what a model costs, or None where it does not fit the board."""
    content = store.load(spec)
    made = export_c(spec, work / "out", options)
    sound = check.check_sound(spec, made.frame_hop, options, 1)
    place = work / f"{board.machine}-{options.mode}"
    place.mkdir()
    try:
        program = boards.build(work / "out", board, place)
        given = check.run_on_board(program, board, sound, spec, content)
    except ListenEmbedError as error:
        print(f"{spec.name} on {board.processor}: {error}")
        return None
    sizes = boards.sizes(program)
    return Cost(
        sizes.flash, sizes.ram, given.stack_bytes, given.network_instructions,
        given.frame_instructions,
    )  # fmt: skip


def suited(spec: ModelSpec, board: boards.Board) -> Options:
    """Return the front end in integers where there is no floating-point unit, if there is one."""
    if board.flags:
        return Options()
    try:
        fixed = Options(arithmetic="fixed")
        model_source(store.load(spec), spec, fixed, "")
    except ListenEmbedError:
        return Options()
    return fixed


def row(name: str, processor: str, cost: Cost | None, spec: ModelSpec) -> str:
    if cost is None:
        return f"| {name} | {processor} | does not fit the emulated board | | | | | | |"
    seconds = spec.front_end.frame_seconds
    millions = [n / 1e6 / seconds for n in (cost.frame - cost.network, cost.network, cost.frame)]
    cells = [f"{cost.flash / 1000:.1f}", f"{cost.ram / 1000:.1f}", f"{cost.stack / 1000:.1f}"]
    cells += [f"{value:.2f}" for value in millions]
    return f"| {name} | {processor} | {' | '.join(cells)} | {millions[2]:.1f} |"


HEAD = """\
| model | core | flash, kB | RAM, kB | stack, kB | front end, M instructions a second | network | \
both | MHz |
|---|---|---|---|---|---|---|---|---|"""


def boards_table(specs: list[ModelSpec]) -> str:
    rows = [HEAD]
    for spec in specs:
        with tempfile.TemporaryDirectory() as place:
            for board in boards.BOARDS:
                options = suited(spec, board)
                cost = measured(spec, board, Path(place), options)
                core = board.processor.removeprefix("cortex-").upper()
                core += ", fixed" if options.arithmetic == "fixed" else ""
                rows.append(row(spec.name, core, cost, spec))
                print(rows[-1], flush=True)
    return "\n".join(rows)


def mode_table(specs: list[ModelSpec]) -> str:
    board = next(board for board in boards.BOARDS if board.processor == "cortex-m4")
    rows = [HEAD.replace("core", "rounding, M4")]
    spec = specs[0]
    for mode in ("xnn", "reference"):
        with tempfile.TemporaryDirectory() as place:
            cost = measured(spec, board, Path(place), Options(mode=mode))
        rows.append(row(spec.name, mode, cost, spec))
        print(rows[-1], flush=True)
    return "\n".join(rows)


def equal_table(specs: list[ModelSpec]) -> str:
    head = "| model | front end | frames | log-mel: equal | steps | network | embedding, steps |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    fixed = [(spec, suited(spec, boards.BOARDS[0])) for spec in specs]
    pairs = [(spec, Options()) for spec in specs] + [(s, o) for s, o in fixed if o != Options()]
    for spec, options in pairs:
        content = store.load(spec)
        with tempfile.TemporaryDirectory() as place:
            made = export_c(spec, Path(place) / "out", options)
            sound = check.check_sound(spec, made.frame_hop, options, 20)
            program = check.build_for_host(Path(place) / "out", Path(place))
            given = check.run_on_host(program, sound, spec, content)
        pictures = check.pictures_of(sound, spec, content, made.frame_hop)
        same = (pictures == given.pictures).mean()
        exact = (check.through_interpreter(given.pictures, content) == given.embeddings).mean()
        whole = check.through_interpreter(pictures, content).astype(int) - given.embeddings
        rows.append(
            f"| {spec.name} | {options.arithmetic} | {len(pictures)} | {same:.3%} | "
            f"{abs(pictures.astype(int) - given.pictures).max()} | {exact:.0%} | "
            f"{abs(whole).max()} |"
        )
        print(rows[-1], flush=True)
    return "\n".join(rows)


def web_table(specs: list[ModelSpec]) -> str:
    node = shutil.which("node")
    rows = ["| model | .wasm, kB | ms a second of sound (node, one thread) |", "|---|---|---|"]
    for spec in specs:
        with tempfile.TemporaryDirectory() as place:
            export_wasm(spec, Path(place) / "out")
            module = Path(place) / "out" / "listen-embed.wasm"
            ms = "not measured: no node"
            if node:
                done = subprocess.run(
                    [node, "-e", _CLOCK, "-", str(module)], capture_output=True, check=True
                )
                ms = f"{json.loads(done.stdout)['ms']:.2f}"
            rows.append(f"| {spec.name} | {module.stat().st_size / 1000:.1f} | {ms} |")
            print(rows[-1], flush=True)
    return "\n".join(rows)


MAKERS = {"boards": boards_table, "mode": mode_table, "equal": equal_table, "web": web_table}


def tables_of(page: str) -> list[str]:
    """Return the tables of a page in their order."""
    return [found.rstrip() for found in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MAKERS, default=list(MAKERS))
    chosen = parser.parse_args().only
    tables = dict(zip(MAKERS, tables_of(PAGE.read_text(encoding="utf-8")), strict=True))
    specs = [registry.find(name) for name in MODELS]
    tables |= {name: MAKERS[name](specs) for name in chosen}
    version = boards.run([boards.COMPILER, "-dumpversion"]).decode().strip()
    PAGE.write_text(_TEXT.format(compiler=version, **tables), encoding="utf-8")


if __name__ == "__main__":
    main()
