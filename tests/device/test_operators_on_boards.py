"""Each operator on emulated boards: the instructions that this computer has not give its bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.device import boards, text
from listen_embed.device.export import LIBRARY
from listen_embed.device.lowering import lower
from listen_embed.device.steps import Mode
from listen_embed.device.widening import arranged
from listen_embed.graph import read_graph

from .one import DECLARED, KERNELS, by_litert, by_tflm, constants
from .test_lowering import CASES, inputs

SEEDS = range(3)
_MAIN = """
#include "check.h"

static int8_t arena[{arena}] __attribute__((aligned(8)));

int main(void)
{{
    int32_t i;
    check_open();
    for (i = 0; i < {n}; i++) {{
{runs}
    }}
    check_close();
    return 0;
}}
"""

pytestmark = pytest.mark.needs(boards.COMPILER, boards.EMULATOR)


def _of_all(mode: Mode) -> str:
    """Return C that runs the networks of all cases, inputs from a file, outputs to another."""
    networks, runs, arena = [DECLARED], [], 0
    for number, content in enumerate(CASES.values()):
        plan, layout = arranged(lower(read_graph(content), mode))
        made = text.network(plan, layout, mode).replace("listen_network", f"network_{number}")
        own = re.sub(r"\b([a-z]+(?:_[a-z]+)*_\d+(?:_\d+)?)\b", rf"of_{number}_\1", made)
        networks.append(own.replace("void of_", "static void of_"))
        reads = [f"check_read(arena + {layout.tensors[i]}, {plan.n_bytes[i]});" for i in plan.taken]
        run = f"of_{number}_network_{number}(arena);"
        write = f"check_write(arena + {layout.tensors[plan.given]}, {plan.n_bytes[plan.given]});"
        runs += [f"        {line}" for line in (*reads, run, write)]
        arena = max(arena, layout.n_bytes)
    return "\n".join(networks) + _MAIN.format(arena=arena, n=len(SEEDS), runs="\n".join(runs))


def _given() -> list[list[Any]]:
    return [inputs(content, seed) for seed in SEEDS for content in CASES.values()]


@pytest.mark.parametrize("mode", ["xnn", "reference"])
@pytest.mark.parametrize("processor", ["cortex-m3", "cortex-m4", "cortex-m55"])
def test_operators_on_a_board_equal_their_interpreters(
    processor: str, mode: Mode, tmp_path: Path
) -> None:
    board = next(board for board in boards.BOARDS if board.processor == processor)
    (tmp_path / "listen_model.h").write_text(constants(mode))
    (tmp_path / "main.c").write_text(_of_all(mode))
    sources = [tmp_path / "main.c", *(LIBRARY / "src" / f"{name}.c" for name in KERNELS)]
    program = boards.build_sources(sources, (tmp_path, LIBRARY / "src"), board, tmp_path)
    taken = b"".join(values.tobytes() for case in _given() for values in case)
    found = boards.execute(program, board, taken)
    by = by_litert if mode == "xnn" else by_tflm
    wanted = [by(content, *inputs(content, seed)) for seed in SEEDS for content in CASES.values()]
    assert np.array_equal(np.frombuffer(found, np.int8), np.concatenate(wanted))
