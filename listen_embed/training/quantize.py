"""Quantisation-aware fine-tuning: a student feels the int8 steps while it can still adapt to them.

Weights are rounded per output channel, activations per tensor, just where the int8 .tflite rounds
them, in ranges chosen as `convert.to_int8` will choose them. Gradients pass straight through.

Source: Jacob et al., "Quantization and training of neural networks for integer-arithmetic-only
inference", CVPR 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from listen_embed.training import int8_ranges
from listen_embed.training.network import (
    BandLevels,
    ChannelMean,
    ConvNorm,
    HardSwish,
    InvertedResidual,
    NormLinear,
    Sixth,
    SqueezeExcite,
    Student,
)

_MOMENTUM = 0.02


class RoundedActivation(nn.Module):
    """Rounds what a module gives to int8 steps; a forward hook, and a submodule for its state.

    Parameters
    ----------
    needed : (float, float)
        Values outside matter to nobody.
    """

    low: Tensor
    high: Tensor
    share: Tensor

    def __init__(self, needed: int8_ranges.Range = int8_ranges.EVERYTHING) -> None:
        super().__init__()
        self._needed = needed
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("share", torch.ones(()))

    def forward(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Return the output rounded; while training, follow its range."""
        if module.training:
            self._follow(output.detach())
        return int8_ranges.rounded(output, self.low, self.high)

    def _follow(self, values: Tensor) -> None:
        """Move towards the batch's extremes, times the share that erred least at first.

        A range always holds 0, which int8 must represent.
        """
        bottom, top = self._needed
        low = values.amin().clamp(bottom, 0)
        high = values.amax().clamp(0, top)
        is_new = bool(self.high == self.low)
        if is_new:
            errors = int8_ranges.rounding_errors(values, low, high, self._needed)
            self.share.fill_(int8_ranges.SHARES[int(errors.argmin())])
        self.low.lerp_(low * self.share, 1.0 if is_new else _MOMENTUM)
        self.high.lerp_(high * self.share, 1.0 if is_new else _MOMENTUM)


class RoundedConv2d(nn.Conv2d):
    """A convolution that uses its weights as their int8 copies would be."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution with rounded weights."""
        y: Tensor = self._conv_forward(x, _rounded_weight(self.weight), self.bias)
        return y


class RoundedLinear(nn.Linear):
    """A linear layer that uses its weights as their int8 copies would be."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the product with rounded weights."""
        return nn.functional.linear(x, _rounded_weight(self.weight), self.bias)


# The same parameters, another forward: such a layer is turned into the other kind in place.
_ROUNDED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: RoundedConv2d,
    nn.Linear: RoundedLinear,
}
# Linear layers into which a ReLU is fused.
_BEFORE_RELU = ("excite.reduce", "widened.linear")
_ROUNDED_MODULES = (
    HardSwish, Sixth, nn.ReLU, nn.ReLU6, nn.Sigmoid, ChannelMean, BandLevels, SqueezeExcite,
)  # fmt: skip
_PLAIN = {rounded: plain for plain, rounded in _ROUNDED.items()}


def _rounded_weight(weight: Tensor) -> Tensor:
    """Round to 255 symmetric steps per output channel."""
    scale = weight.detach().flatten(1).abs().amax(1).clamp(min=1e-8) / int8_ranges.HIGH
    zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(
        weight, scale, zeros, 0, -int8_ranges.HIGH, int8_ranges.HIGH
    )


def folded(student: nn.Module) -> nn.Module:
    """Return a copy whose batch-norms are part of the layers beside them."""
    plain = copy.deepcopy(student).eval()
    for block in [module for module in plain.modules() if isinstance(module, ConvNorm)]:
        if isinstance(block[1], nn.BatchNorm2d):
            block[0] = fuse_conv_bn_eval(block.convolution, block[1])
            block.convolution.bias.requires_grad_(True)  # type: ignore[union-attr]  # fusing forgets it
            block[1] = nn.Identity()
    for pair in [module for module in plain.modules() if isinstance(module, NormLinear)]:
        if not isinstance(pair.norm, nn.Identity):
            pair.fold()
    if isinstance(plain, Student):
        _fold_sixths(plain)
    return plain


@torch.no_grad()
def _fold_sixths(student: Student) -> None:
    """Put the sixth of each hard-swish into the weights that read it, where nothing else does."""
    for swish, readers in _swishes_and_readers(student):
        if swish.is_whole:
            swish.leave_sixth()
            for reader in readers:
                reader.weight.div_(6)  # type: ignore[operator]


@torch.no_grad()
def unfold_sixths(student: Student) -> None:
    """Take the sixths out of weights that hold them: every hard-swish is whole again."""
    for swish, readers in _swishes_and_readers(student):
        if not swish.is_whole:
            swish.take_sixth()
            for reader in readers:
                reader.weight.mul_(6)  # type: ignore[operator]


def _swishes_and_readers(student: Student) -> Iterator[tuple[HardSwish, list[nn.Module]]]:
    """Yield each hard-swish that only layers with weights read, and these layers."""
    for block in student.residuals:
        reads_depthwise: list[nn.Module] = [block.project[0]]
        if isinstance(block.excite, SqueezeExcite):
            reads_depthwise.append(block.excite.reduce)
        if isinstance(block.expand, ConvNorm):
            yield from _swish_of(block.expand, [block.depthwise[0]])
        yield from _swish_of(block.depthwise, reads_depthwise)
    if isinstance(student.to_embedding, nn.Linear):
        yield from _swish_of(student.last, [student.to_embedding])


def _swish_of(
    block: ConvNorm, readers: list[nn.Module]
) -> Iterator[tuple[HardSwish, list[nn.Module]]]:
    if isinstance(block[-1], HardSwish):
        yield block[-1], readers


def prepare(student: nn.Module, activations: Literal[8, 32] = 8) -> nn.Module:
    """Return a copy that rounds as its int8 .tflite will, ready for `distill.distil`.

    With 32 bits activations are left alone; weights are rounded all the same.
    """
    rounding = folded(student)
    for name, module in list(rounding.named_modules()):
        module.__class__ = _ROUNDED.get(type(module), type(module))
        if activations == 8 and _is_rounded(name, module):
            before_sigmoid = name.endswith("excite.expand")
            _round(module, int8_ranges.LOGISTIC if before_sigmoid else int8_ranges.EVERYTHING)
    if activations == 8:
        _round_inside_convolutions(rounding)
    return rounding


@torch.no_grad()
def finish(rounding: nn.Module) -> nn.Module:
    """Return the fine-tuned network as it is to be quantised for real.

    Its weights stand on their int8 steps already, so the float model is the one that was tuned.
    """
    plain = copy.deepcopy(rounding).eval()
    for module in list(plain.modules()):
        if isinstance(module, RoundedConv2d | RoundedLinear):
            module.weight.copy_(_rounded_weight(module.weight))
        module.__class__ = _PLAIN.get(type(module), type(module))
        if hasattr(module, "rounded"):
            del module.rounded
            module._forward_hooks.clear()
    return plain


def _is_rounded(name: str, module: nn.Module) -> bool:
    """Whether the .tflite stores what this module gives; a ReLU is part of what precedes it."""
    if isinstance(module, InvertedResidual):
        return module.adds_input
    if isinstance(module, nn.Linear):
        return not name.endswith(_BEFORE_RELU)
    return name in ("input", "joined") or isinstance(module, _ROUNDED_MODULES)


def _round_inside_convolutions(rounding: nn.Module) -> None:
    """Round a convolution's own output, unless a ReLU follows, which is fused into it."""
    for block in [module for module in rounding.modules() if isinstance(module, ConvNorm)]:
        followers = list(block)[2:]
        if not followers:
            _round(block[0], int8_ranges.EVERYTHING)
        elif isinstance(followers[0], HardSwish):
            _round(block[0], int8_ranges.HARD_SWISH)


def _round(module: nn.Module, needed: int8_ranges.Range) -> None:
    """Round what a module gives."""
    hook = RoundedActivation(needed)
    module.add_module("rounded", hook)
    module.register_forward_hook(hook)
