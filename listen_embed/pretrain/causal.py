"""A short causal convolution of every channel, whose way back costs a CPU little.

torch's own gradient of such a convolution takes fifty times as long as the convolution: the
weights' part of it goes value by value. Here it is a few products of whole arrays.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the convolution of every channel with its own weights; step t has heard x up to t.

    Parameters
    ----------
    x : Tensor (B, L, C)
    weight : Tensor (C, 1, 1, K)
    bias : Tensor (C,)

    Returns
    -------
    Tensor (B, L, C)
        In x's dtype.
    """
    if x.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        found = _Convolved.apply(x, weight.to(x.dtype), bias.to(x.dtype))  # type: ignore[no-untyped-call]
        return cast(Tensor, found)
    return heard(x, weight.to(x.dtype), bias.to(x.dtype))


def heard(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the convolution by torch's own means."""
    return _correlated(x, weight, bias, weight.shape[-1] - 1)[:, : x.shape[1]]


def heard_back(g: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the weights and the bias, given that of what was heard."""
    n_taps = weight.shape[-1]
    # Zeros between the clips, so that all of them can be shifted as one.
    x, g = (functional.pad(part, (0, 0, 0, n_taps - 1)) for part in (x, g))
    dx = _correlated(g, weight.flip(-1), None, 0)
    x, g = x.flatten(0, 1), g.flatten(0, 1)
    taps = [_summed(g[late:] * x[: len(x) - late]) for late in reversed(range(n_taps))]
    return dx, torch.stack(taps, dim=1)[:, None, None], _summed(g)


def _summed(rows: Tensor) -> Tensor:
    """Return the sum of rows (C,): as a product, for which processors have units of their own."""
    return rows.new_ones(1, len(rows)).mm(rows)[0]


def _correlated(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    picture = x.transpose(1, 2)[:, :, None]
    found = functional.conv2d(picture, weight, bias, padding=(0, padding), groups=len(weight))
    return found[:, :, 0].transpose(1, 2)


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return heard(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return heard_back(g, *ctx.saved_tensors)
