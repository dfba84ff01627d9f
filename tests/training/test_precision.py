from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch

from listen_embed.training.precision import CPU, Precision, autocast


def product(precision: Precision) -> torch.dtype:
    with autocast(CPU, precision):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_what_is_asked_for_is_taken() -> None:
    assert product("float32") == torch.float32
    assert product("bfloat16") == torch.bfloat16


@pytest.mark.parametrize(("tiles", "taken"), [(True, torch.bfloat16), (False, torch.float32)])
def test_else_the_processor_decides(
    tiles: bool, taken: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": tiles})
    assert product("auto") == taken
