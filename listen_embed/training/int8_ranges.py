"""How wide an int8 range should be: as wide as the values that matter, no wider than pays.

A rare peak stretches the steps for all other values, so a range is shrunk to where clipping and
rounding together err least. And what a following operator flattens anyway needs no steps at all.

Source: Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks for
rapid-deployment", NeurIPS 2019, for clipping by the squared error.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOW, HIGH = -128, 127
# By the operators that read a tensor. A hard-swish, x * relu6(x + 3), is 0 below -3; beyond 6 a
# sigmoid is flat to less than the step of its own output.
HARD_SWISH, LOGISTIC = (-3.0, math.inf), (-6.0, 6.0)
NEEDED = {frozenset({"ADD", "MUL"}): HARD_SWISH, frozenset({"LOGISTIC"}): LOGISTIC}
EVERYTHING = (-math.inf, math.inf)
SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)

Range = tuple[float, float]


def rounded(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return values in int8 steps between two extremes, which hold 0; gradients pass through."""
    scale = torch.clamp((high - low) / (HIGH - LOW), min=1e-8)
    zero = torch.round(LOW - low / scale).clamp(LOW, HIGH).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(values, scale, zero, LOW, HIGH)


@torch.no_grad()
def rounding_errors(values: Tensor, low: Tensor, high: Tensor, needed: Range) -> Tensor:
    """Return the squared error, summed, for each of the `SHARES` of a range."""
    wanted = values.clamp(*needed)
    errors = [(rounded(wanted, low * s, high * s) - wanted).pow(2).sum() for s in SHARES]
    return torch.stack(errors)
