from __future__ import annotations

import pytest
import torch

from listen_embed.pretrain import state_space
from listen_embed.pretrain.state_space import StateSpaceBlock


@pytest.mark.parametrize("n", [33, 64, 100])
def test_stretches_give_what_the_whole_gives(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = StateSpaceBlock(64).eval()
    x = torch.randn(2, n, 64)
    with torch.no_grad():
        whole = block(x)
        for stretch in (7, 32):
            monkeypatch.setattr(state_space, "_STRETCH", stretch)
            assert torch.allclose(block(x), whole, atol=1e-5)


def test_with_gradients_nothing_goes_by_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_space, "_STRETCH", 8)
    block = StateSpaceBlock(64)
    block(torch.randn(1, 20, 64)).sum().backward()
    assert all(weight.grad is not None for weight in block.parameters())
