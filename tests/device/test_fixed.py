"""The front end in integers against Python's in floats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from listen_embed import registry, store
from listen_embed.device import boards, check
from listen_embed.device.export import export_c
from listen_embed.device.model_source import Options
from listen_embed.errors import InputError

from .test_check import FRONT_ENDS, SANITIZED, averaging, exported, hard_sounds

FIXED = Options(arithmetic="fixed")
KINDS = ["plain", "end", "same", "reflect, pre-emphasis", "kaldi, odd window"]


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("name", KINDS)
def test_integers_draw_what_python_draws(name: str, tmp_path: Path) -> None:
    spec, content = averaging(FRONT_ENDS[name])
    program, made = exported(tmp_path, spec, content, arithmetic="fixed")
    sound = check.check_sound(spec, made.frame_hop, FIXED, 6)
    given = check.run_on_host(program, sound, spec, content)
    wanted = check.pictures_of(sound, spec, content, made.frame_hop)
    apart = np.abs(wanted.astype(int) - given.pictures)
    assert apart.max() <= 1
    assert (apart == 0).mean() > 0.98


@pytest.mark.needs("gcc")
def test_no_sound_makes_them_overflow(tmp_path: Path) -> None:
    spec = registry.find("sea/32/nano")
    content = store.load(spec)
    program, made = exported(tmp_path, spec, content, SANITIZED, arithmetic="fixed")
    for sound in hard_sounds(20_000).values():
        given = check.run_on_host(program, sound, spec, content)
        wanted = check.pictures_of(sound, spec, content, made.frame_hop)
        assert np.abs(wanted.astype(int) - given.pictures).max() <= 1


@pytest.mark.needs(boards.COMPILER, boards.EMULATOR)
def test_a_second_of_sound_costs_the_m3_less_than_12_million_instructions(tmp_path: Path) -> None:
    spec = registry.find("sea/32/nano")
    content = store.load(spec)
    made = export_c(spec, tmp_path / "out", FIXED)
    sound = check.check_sound(spec, made.frame_hop, FIXED, 2)
    program = boards.build(tmp_path / "out", boards.BOARDS[0], tmp_path)
    given = check.run_on_board(program, boards.BOARDS[0], sound, spec, content)
    assert given.frame_instructions < 11_100_000
    pictures = check.pictures_of(sound, spec, content, made.frame_hop)
    assert np.abs(pictures.astype(int) - given.pictures).max() <= 1


@pytest.mark.parametrize("name", ["magnitude", "root", "bins", "peak of the frame"])
def test_what_there_are_no_integers_for_is_named(name: str, tmp_path: Path) -> None:
    spec, content = averaging(FRONT_ENDS[name])
    with pytest.raises(InputError, match="no front end in integers for"):
        export_c(spec, tmp_path / "out", FIXED, content)
    with pytest.raises(InputError, match="samples='float32'"):
        export_c(spec, tmp_path / "out", replace(FIXED, samples="float32"), content)
