from __future__ import annotations

import pytest
import torch
from torch import Tensor

from listen_embed.pretrain.causal import convolved


def by_steps(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The definition: what a step hears of itself and of those before it."""
    ys = []
    for t in range(x.shape[1]):
        heard = [(late, t - late) for late in range(weight.shape[-1]) if late <= t]
        ys.append(bias + sum(weight[:, 0, 0, -1 - late] * x[:, place] for late, place in heard))
    return torch.stack(ys, dim=1)


def inputs(n: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(n)
    shapes = [(3, n, 5), (5, 1, 1, 4), (5,)]
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("n", [1, 2, 4, 33])
def test_it_equals_the_definition_and_so_do_its_gradients(n: int) -> None:
    ours, theirs = inputs(n), inputs(n)
    found, expected = convolved(*ours), by_steps(*theirs)
    assert torch.allclose(found, expected, atol=1e-12)
    weights = torch.randn_like(found)
    gradients = torch.autograd.grad((found * weights).sum(), ours)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), theirs)
    for one, other in zip(gradients, expected_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_without_gradients_it_is_the_same() -> None:
    given = inputs(20, torch.float32)
    with torch.no_grad():
        assert torch.equal(convolved(*given), convolved(*[part.detach() for part in given]))
    assert torch.allclose(convolved(*given), convolved(*[part.detach() for part in given]))
