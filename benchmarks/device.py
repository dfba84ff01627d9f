"""What exported models cost on Cortex-M boards and in a browser's engine -> docs/DEVICES.md.

    python benchmarks/device.py [--only boards mode equal near web] [--models sea/32/nano ...]

Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm; for WebAssembly clang, lld,
wasi-libc and node. Instructions are counted by QEMU (-icount shift=0) and are the same in every
run; they are no cycles, which no emulator tells. With `--only` the page's other tables stay as they
are, with `--models` the rows of other models.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
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
    "sea/64/lite",
    "sea/64/general",
    "sea/64/stream",
    "sea/128/general",
    "pruned/384/mn04",
    "listen/64/workshop",
]
NEAR_STEPS = 60
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
cycle, with frames side by side; of `sea/64/stream`, which gives an embedding ten times as often,
step after step.

## Cortex-M

{boards}

The M3 has no floating-point unit: its front end computes in integers (`--arithmetic fixed`) where
there is such a one; a model whose log-mel depends on the peak of its frame has none, and neither
has one whose network computes in float.

`sea/64/stream` computes in single precision, with weights of eight bits; what it remembers from
step to step is in the RAM. A step costs a tenth of a second's instructions.

`--online online.npz` adds a classifier that goes on learning on the device ([FLEET.md](FLEET.md)).

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
column is the largest difference of a whole embedding from that, in steps of the output.

## How near to Python

{near}

A network in float sums in another order than LiteRT does, and rounds elsewhere; every board, this
computer and every length of block give the same bytes. Values are near within 1e-5 of the largest
one. Differences are shares of the largest value, over {near_steps} steps.

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
    seconds = spec.step_seconds or spec.front_end.frame_seconds
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
    for spec, mode in itertools.product(specs, ("xnn", "reference")):
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


def near_table(specs: list[ModelSpec]) -> str:
    rows = ["| model | log-mel: near | network | embedding |", "|---|---|---|---|"]
    for spec in specs:
        content = store.load(spec)
        with tempfile.TemporaryDirectory() as place:
            made = export_c(spec, Path(place) / "out")
            sound = check.check_sound(spec, made.frame_hop, Options(), NEAR_STEPS)
            program = check.build_for_host(Path(place) / "out", Path(place))
            given = check.run_on_host(program, sound, spec, content)
        pictures = check.pictures_of(sound, spec, content, made.frame_hop)
        found = check.nearness_of(given, pictures, spec, content)
        rows.append(
            f"| {spec.name} | {found.pictures:.2%} | {found.networks:.1e} | "
            f"{found.embeddings:.1e} |"
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


def computes_in_float(spec: ModelSpec) -> bool:
    return model_source(store.load(spec), spec, Options(), "").is_float


class Table(NamedTuple):
    """A table of the page: what is above it, how it is made, and of which models."""

    heading: str
    make: Callable[[list[ModelSpec]], str]
    takes: Callable[[ModelSpec], bool]


TABLES = {
    "boards": Table("Cortex-M", boards_table, lambda spec: True),
    "mode": Table("Two roundings", mode_table, lambda spec: spec.name == MODELS[0]),
    "equal": Table("How equal to Python", equal_table, lambda spec: not computes_in_float(spec)),
    "near": Table("How near to Python", near_table, computes_in_float),
    "web": Table("WebAssembly", web_table, lambda spec: True),
}


def rows_of(page: str, heading: str) -> list[str]:
    """Return the rows of the table below a heading, without its head."""
    below = page.partition(f"## {heading}\n")[2].lstrip().splitlines()
    return list(itertools.takewhile(lambda line: line.startswith("|"), below))[2:]


def made_anew(page: str, table: Table, chosen: list[ModelSpec]) -> str:
    """Return a table whose rows of chosen models are measured; the others stay as they are."""
    specs = [spec for spec in chosen if table.takes(spec)]
    head, rule, *rows = table.make(specs).splitlines()
    measured = {spec.name for spec in specs}
    rows += [row for row in rows_of(page, table.heading) if model_of(row) not in measured]
    return "\n".join([head, rule, *sorted(rows, key=lambda row: MODELS.index(model_of(row)))])


def model_of(row: str) -> str:
    return row.strip("| ").partition(" |")[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    args = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    specs = [registry.find(name) for name in args.models]
    tables = {
        name: made_anew(page, table, specs if name in args.only else [])
        for name, table in TABLES.items()
    }
    version = boards.run([boards.COMPILER, "-dumpversion"]).decode().strip()
    text = _TEXT.format(compiler=version, near_steps=NEAR_STEPS, **tables)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
