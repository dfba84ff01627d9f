from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from listen_embed.pretrain import scan
from listen_embed.pretrain.selective import Weights, selected

HEADS, WIDTH, STATES = 3, 4, 5


def by_parts(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor,
    select: Tensor,
    step: Tensor,
    decay: Tensor,
    skip: Tensor,
) -> Tensor:
    """The same, part after part, the scan step by step."""
    n_steps = x.shape[1]
    heard = functional.conv1d(x.transpose(1, 2), kernel[:, 0], bias, padding=3, groups=x.shape[2])[
        ..., :n_steps
    ]
    tokens = functional.silu(heard.transpose(1, 2))
    steps, b, c = functional.linear(tokens, select).split([HEADS, STATES, STATES], -1)
    heads = tokens.reshape(len(x), n_steps, HEADS, WIDTH)
    y = scan.by_steps(heads, functional.softplus(steps + step), decay, b, c)
    return y.flatten(2) + tokens * skip


def ours(given: list[Tensor]) -> Tensor:
    x, kernel, bias, select, step, decay, skip = given
    return selected(x, Weights(kernel, bias, select, skip, step, decay))


def inputs(n: int) -> list[Tensor]:
    torch.manual_seed(n)
    channels = HEADS * WIDTH
    return [
        torch.randn(2, n, channels, dtype=torch.float64),
        torch.randn(channels, 1, 1, 4, dtype=torch.float64),
        torch.randn(channels, dtype=torch.float64),
        0.3 * torch.randn(HEADS + 2 * STATES, channels, dtype=torch.float64),
        torch.randn(HEADS, dtype=torch.float64),
        -4 * torch.rand(HEADS, dtype=torch.float64),
        torch.randn(channels, dtype=torch.float64),
    ]


@pytest.mark.parametrize("n", [1, 31, 33, 100])
def test_it_equals_its_parts(n: int) -> None:
    expected = by_parts(*inputs(n))
    given = [part.float() for part in inputs(n)]
    for found in (ours(given), ours([part.requires_grad_() for part in given])):
        assert (found.double() - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("n", [1, 31, 33, 100])
def test_so_do_its_gradients(n: int) -> None:
    given = [part.float().requires_grad_() for part in inputs(n)]
    exact = [part.requires_grad_() for part in inputs(n)]
    weights = torch.randn_like(exact[0])
    found = torch.autograd.grad((ours(given) * weights.float()).sum(), given)
    expected = torch.autograd.grad((by_parts(*exact) * weights).sum(), exact, allow_unused=True)
    for one, theirs in zip(found, expected, strict=True):
        wanted = torch.zeros_like(one) if theirs is None else theirs  # one step has no decay
        assert (one.double() - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp(min=1)
