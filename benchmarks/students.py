"""Where a student's time goes, and how students learnt: pictures by size, errors by shards.

    python benchmarks/students.py [--out docs]

A student's network halves its picture several times. Its file is cut behind each size, and every
piece runs on one thread, in turns with the others, so that whatever else the machine does meets
all; the fastest run counts. What a size takes is the difference of two pieces. The curves are those
of the last training of each model, from its ``report.json``: the error on crops that it did not
learn from.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from listen_embed import registry, store
from listen_embed.amx import without_amx
from listen_embed.graph import OperatorInfo, TensorInfo, macs, read_graph
from listen_embed.upstream import graph

WEIGHTS = Path(__file__).parents[1] / "weights"
STUDENTS = ("sea/32/nano", "sea/64/lite", "sea/64/general", "sea/128/general", "pruned/384/mn04")
N_RUNS = 400


@dataclass(frozen=True)
class Stage:
    """The operators of one size of picture.

    Attributes
    ----------
    model : str
    rows, columns : int
        Of the pictures that its convolutions give.
    share : float
        Of the network's time.
    macs, values : int
        Multiply-accumulates, and values that are written.
    """

    model: str
    rows: int
    columns: int
    share: float
    macs: int
    values: int


def made(model: bytes) -> Interpreter:
    """Return an interpreter as the package makes them."""
    with without_amx():
        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
    return interpreter


def stages(name: str) -> list[Stage]:
    """Return what each size of picture costs a model, the largest first."""
    model = store.load(registry.find(name))
    ends = _ends(model)
    pieces = [first_part(model, end) for end in ends]
    seconds = fastest([made(piece) for piece in pieces])
    products = [macs(piece) for piece in pieces]
    written = [sum(_sizes(piece)) for piece in pieces]
    return [
        Stage(name, *_picture(model, end), time / seconds[-1], n_macs, n_values)
        for end, time, n_macs, n_values in zip(
            ends, *(np.diff(costs, prepend=0) for costs in (seconds, products, written)),
            strict=True,
        )
    ]  # fmt: skip


def first_part(model: bytes, end: int) -> bytes:
    """Return a .tflite of the operators up to number `end`, whose result it gives."""
    tree = graph.unpack(model)
    (only,) = tree.subgraphs
    only.operators = only.operators[: end + 1]
    only.outputs = [only.operators[end].outputs[0]]
    tree.signatureDefs = None
    return graph.pack(tree)


def fastest(pieces: list[Interpreter]) -> list[float]:
    """Return the seconds of each piece's fastest run, nothing read from it."""
    for piece in pieces:
        (log_mel,) = piece.get_input_details()
        piece.set_tensor(log_mel["index"], np.zeros(log_mel["shape"], log_mel["dtype"]))
    best = [np.inf] * len(pieces)
    for _ in range(N_RUNS):
        for i, piece in enumerate(pieces):
            begin = time.perf_counter()
            piece.invoke()
            best[i] = min(best[i], time.perf_counter() - begin)
    return best


def _ends(model: bytes) -> list[int]:
    """Return the number of the last operator of each size, the last of all in the last one's."""
    last: dict[int, int] = {}
    described = read_graph(model)
    for number, operator in enumerate(described.operators):
        shape = _given(operator, described.tensors).shape
        if "CONV_2D" in operator.name and shape[1] > 1:
            last[shape[1]] = number
    return [*sorted(last.values())[:-1], len(described.operators) - 1]


def _picture(model: bytes, end: int) -> tuple[int, int]:
    described = read_graph(model)
    found = [
        _given(operator, described.tensors).shape[1:3]
        for operator in described.operators[: end + 1]
        if "CONV_2D" in operator.name
    ]
    return found[-1][0], found[-1][1]


def _sizes(model: bytes) -> list[int]:
    described = read_graph(model)
    return [_given(op, described.tensors).size_bytes for op in described.operators]


def _given(operator: OperatorInfo, tensors: tuple[TensorInfo, ...]) -> TensorInfo:
    return tensors[operator.outputs[0]]


def draw(path: Path) -> None:
    """Draw the held-out errors of the last trainings of students of one width."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for name in ("sea/64/lite", "sea/64/general"):
        report = WEIGHTS / name.replace("/", "-") / "report.json"
        lessons = json.loads(report.read_text(encoding="utf-8"))["history"]
        axes.plot([row["shard"] for row in lessons], [row["error"] for row in lessons], label=name)
    axes.set(xlabel="shards of 2,048 crops", ylabel="squared error over variance", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def page(found: list[Stage]) -> str:
    """Return docs/STUDENTS.md."""
    rows = "\n".join(
        f"| {s.model} | {s.rows} x {s.columns} | {s.share:.0%} | {s.macs / 1e6:.2f} "
        f"| {s.values / 1e3:.0f} |"
        for s in found
    )
    return f"""# What students cost, and how they learnt

Written by `python benchmarks/students.py`. The time of an int8 network by the size of its
pictures, one thread; the share is of the network alone, without its front end.

| model | picture | share of time | million MACs | thousand values written |
|---|---|--:|--:|--:|
{rows}

The first size of the larger students has a sixth of their products or less, and a third of their
time: few channels fill no wide register, and every value is rounded and written. `sea/64/lite` has
no such pictures; that, and half the columns, is all that sets it apart from `sea/64/general`.

Errors on crops that were not learnt from, in the last training of each; crops of one, two and five
seconds come in turn, which is what the teeth are. `sea/64/lite` had learnt from 48 shards before
and still fell by a tenth; it ends above `sea/64/general`, which it began as. Longer trainings, and
a wider stem, are what could close the gap.
"""


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    found = [stage for name in STUDENTS for stage in stages(name)]
    draw(args.out / "students-curves.png")
    (args.out / "STUDENTS.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
