from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from listen_embed.pretrain import scan

LENGTHS = [1, 2, 31, 32, 33, 100, 257]


def by_head_inputs(n: int) -> tuple[Tensor, ...]:
    torch.manual_seed(n)
    size, heads, width, states = 2, 3, 4, 5
    return (
        torch.randn(size, n, heads, width, dtype=torch.float64),
        torch.rand(size, n, heads, dtype=torch.float64),
        -4 * torch.rand(heads, dtype=torch.float64),
        torch.randn(size, n, states, dtype=torch.float64),
        torch.randn(size, n, states, dtype=torch.float64),
    )


def by_channel_inputs(n: int) -> tuple[Tensor, ...]:
    torch.manual_seed(n)
    size, channels, states = 2, 6, 5
    return (
        torch.randn(size, n, channels, dtype=torch.float64),
        torch.rand(size, n, channels, dtype=torch.float64),
        -4 * torch.rand(channels, states, dtype=torch.float64),
        torch.randn(size, n, states, dtype=torch.float64),
        torch.randn(size, n, states, dtype=torch.float64),
    )


CASES = [(scan.by_head, by_head_inputs), (scan.by_channel, by_channel_inputs)]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize(("form", "inputs"), CASES)
def test_it_equals_the_recurrence(
    form: Callable[..., Tensor], inputs: Callable[[int], tuple[Tensor, ...]], n: int
) -> None:
    given = tuple(part.float() for part in inputs(n))
    expected = scan.by_steps(*inputs(n))
    scale = expected.abs().max()
    assert (form(*given).double() - expected).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize(("form", "inputs"), CASES)
def test_so_do_its_gradients(
    form: Callable[..., Tensor], inputs: Callable[[int], tuple[Tensor, ...]], n: int
) -> None:
    given = [part.float().requires_grad_() for part in inputs(n)]
    exact = [part.requires_grad_() for part in inputs(n)]
    weights = torch.randn_like(exact[0])
    found = torch.autograd.grad(
        (form(*given) * weights.float()).sum(), given, materialize_grads=True
    )
    expected = torch.autograd.grad(
        (scan.by_steps(*exact) * weights).sum(), exact, materialize_grads=True
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.double() - theirs).abs().max() <= 1e-5 * theirs.abs().max().clamp(min=1)


@pytest.mark.parametrize(("form", "inputs"), CASES)
def test_later_steps_do_not_reach_back(
    form: Callable[..., Tensor], inputs: Callable[[int], tuple[Tensor, ...]]
) -> None:
    x, *others = (part.float() for part in inputs(100))
    changed = x.clone()
    changed[:, 60:] += 1
    before, after = form(x, *others), form(changed, *others)
    assert torch.equal(before[:, :60], after[:, :60])
    assert not torch.allclose(before[:, 60], after[:, 60])
