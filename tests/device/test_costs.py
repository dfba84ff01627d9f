"""What exports cost, and how near to Python they are: as docs/DEVICES.md says, and not worse."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from listen_embed import registry, store
from listen_embed.device import boards, check
from listen_embed.device.export import export_c
from listen_embed.device.model_source import Options

PAGE = (Path(__file__).parents[2] / "docs" / "DEVICES.md").read_text(encoding="utf-8")
MARGIN = 1.02  # of growth
STACK_BYTES = 1024
# Goals of sea/32/nano on the M4: flash, RAM, stack, instructions of a frame.
NANO = (32_000, 20_000, 390, 5_000_000)


class Row(NamedTuple):
    """A row of the page's first table: kilobytes, and millions of instructions a second."""

    model: str
    processor: str
    arithmetic: str
    flash: float
    ram: float
    front_end: float
    network: float


def cells_of(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, its own head left out."""
    below = PAGE.partition(f"## {heading}\n")[2]
    lines = itertools.takewhile(bool, below.strip().splitlines())
    return [line.strip("| ").split(" | ") for line in lines][2:]


def rows() -> list[Row]:
    found = []
    for model, core, flash, ram, _, front_end, network, *_ in cells_of("Cortex-M"):
        core, _, fixed = core.partition(", ")
        processor = f"cortex-{core.lower()}"
        numbers = map(float, (flash, ram, front_end, network))
        found.append(Row(model, processor, fixed or "float", *numbers))
    return found


def test_the_page_has_every_shipped_model_on_every_board() -> None:
    shipped = {spec.name for spec in registry.models() if spec.file and spec.has_network}
    assert {row.model for row in rows()} == shipped
    assert len(rows()) == len(shipped) * len(boards.BOARDS)
    equal, near = (
        {cells[0] for cells in cells_of(heading)}
        for heading in ("How equal to Python", "How near to Python")
    )
    assert equal | near == shipped and not equal & near


@pytest.mark.needs(boards.COMPILER, boards.EMULATOR)
@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.model} {row.processor}")
def test_costs_do_not_grow(row: Row, tmp_path: Path) -> None:
    spec = registry.find(row.model)
    content = store.load(spec)
    options = Options(arithmetic="fixed" if row.arithmetic == "fixed" else "float")
    made = export_c(spec, tmp_path / "out", options)
    sound = check.check_sound(spec, made.frame_hop, options, 1)
    board = next(board for board in boards.BOARDS if board.processor == row.processor)
    program = boards.build(tmp_path / "out", board, tmp_path)
    given = check.run_on_board(program, board, sound, spec, content)
    sizes, seconds = boards.sizes(program), spec.step_seconds or spec.front_end.frame_seconds
    front_end = (given.frame_instructions - given.network_instructions) / seconds / 1e6
    assert row.flash / MARGIN < sizes.flash / 1000 < row.flash * MARGIN
    assert row.ram / MARGIN < sizes.ram / 1000 < row.ram * MARGIN
    assert front_end < row.front_end * MARGIN
    assert given.network_instructions / seconds / 1e6 < row.network * MARGIN
    assert given.stack_bytes < STACK_BYTES
    assert given.memory_bytes <= sizes.ram
    if (row.model, row.processor) == ("sea/32/nano", "cortex-m4"):
        costs = (sizes.flash, sizes.ram, given.stack_bytes, given.frame_instructions)
        assert all(cost <= goal for cost, goal in zip(costs, NANO, strict=True))


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("cells", cells_of("How equal to Python"), ids=lambda cells: cells[0])
def test_embeddings_are_as_near_as_the_page_says(cells: list[str], tmp_path: Path) -> None:
    model, arithmetic, n_frames, equal, steps, network, apart = cells
    spec = registry.find(model)
    content = store.load(spec)
    options = Options(arithmetic="fixed" if arithmetic == "fixed" else "float")
    made = export_c(spec, tmp_path / "out", options)
    sound = check.check_sound(spec, made.frame_hop, options, int(n_frames))
    program = check.build_for_host(tmp_path / "out", tmp_path)
    given = check.run_on_host(program, sound, spec, content)
    pictures = check.pictures_of(sound, spec, content, made.frame_hop)
    whole = check.through_interpreter(pictures, content)
    off = np.abs(pictures.astype(int) - given.pictures)
    assert off.max() <= int(steps)
    assert (off == 0).mean() > float(equal.rstrip("%")) / 100 - 0.0005
    # All that is apart comes from the log-mel: the network itself is equal.
    assert network == "100%"
    assert np.array_equal(check.through_interpreter(given.pictures, content), given.embeddings)
    assert np.abs(whole.astype(int) - given.embeddings).max() <= int(apart)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("cells", cells_of("How near to Python"), ids=lambda cells: cells[0])
def test_float_embeddings_are_as_near_as_the_page_says(cells: list[str], tmp_path: Path) -> None:
    model, near, network, embedding = cells
    spec = registry.find(model)
    content = store.load(spec)
    made = export_c(spec, tmp_path / "out")
    sound = check.check_sound(spec, made.frame_hop, Options(), 60)
    program = check.build_for_host(tmp_path / "out", tmp_path)
    given = check.run_on_host(program, sound, spec, content)
    pictures = check.pictures_of(sound, spec, content, made.frame_hop)
    found = check.nearness_of(given, pictures, spec, content)
    assert found.pictures > float(near.rstrip("%")) / 100 - 0.0005
    # LiteRT's own sums go by the processor that it runs on.
    assert found.networks < 2 * float(network) and found.embeddings < 2 * float(embedding)
