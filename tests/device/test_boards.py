"""Emulated Cortex-M boards: the bytes of this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import registry, store
from listen_embed.device import boards, check
from listen_embed.device.export import export_c
from listen_embed.device.model_source import Options

from .one import by_tflm
from .test_waveform import RATES, hearing_both

N_FRAMES = 60

pytestmark = pytest.mark.needs(boards.COMPILER, boards.EMULATOR, "gcc")


@pytest.fixture(scope="module", params=["xnn", "reference"])
def nano(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return an export of nano, sound for it, and what it gives on this computer."""
    place = tmp_path_factory.mktemp(request.param)
    options = Options(mode=request.param, hop_size=0.2)
    spec = registry.find("sea/32/nano")
    content = store.load(spec)
    made = export_c(spec, place / "out", options)
    sound = check.check_sound(spec, made.frame_hop, options, N_FRAMES)
    program = check.build_for_host(place / "out", place)
    return place, options, spec, content, sound, check.run_on_host(program, sound, spec, content)


@pytest.mark.parametrize("board", boards.BOARDS, ids=lambda board: board.processor)
def test_a_board_gives_the_bytes_of_this_computer(
    nano: Any, board: boards.Board, tmp_path: Path
) -> None:
    place, _, spec, content, sound, wanted = nano
    program = boards.build(place / "out", board, tmp_path)
    given = check.run_on_board(program, board, sound, spec, content)
    assert len(given.embeddings) == N_FRAMES
    assert given.content == wanted.content
    assert 100 < given.stack_bytes < 1024
    assert given.frame_instructions > given.network_instructions > 1_000_000


def test_the_networks_are_those_of_the_interpreters(nano: Any) -> None:
    _, options, _, content, _, given = nano
    inputs = np.concatenate([given.pictures, check.network_inputs(content)])
    found = np.concatenate([given.embeddings, given.networks])
    if options.mode == "xnn":
        wanted = check.through_interpreter(inputs, content)
    else:
        wanted = np.stack([by_tflm(content, row.reshape(1, 64, 49, 1)) for row in inputs])
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("number", [0, 2], ids=["without floats", "with floats"])
def test_a_waveform_is_the_same_bytes_on_a_board(number: int, tmp_path: Path) -> None:
    board = boards.BOARDS[number]
    spec, content = hearing_both(RATES["32 kHz"])
    made = export_c(spec, tmp_path / "out", Options(), content)
    sound = check.check_sound(spec, made.frame_hop, Options())
    host = check.run_on_host(check.build_for_host(tmp_path / "out", tmp_path), sound, spec, content)
    program = boards.build(tmp_path / "out", board, tmp_path)
    given = check.run_on_board(program, board, sound, spec, content)
    assert given.content == host.content
    assert given.stack_bytes < 1024
    assert made.memory.samples >= spec.front_end.frame_samples * 2
