"""Smaller networks from larger ones: whole channels (faster on any hardware), or single weights (sparse).

Each function returns a new student; nothing mutates. What a channel is worth is measured on real
features: the mean square of what it carries, times the squared weights that read it.

Source of the magnitude schedule: EdgeL3 (Kumari et al., PAISE 2019), layer-wise targets.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from listen_embed.errors import InputError
from listen_embed.training.network import (
    Architecture,
    ConvNorm,
    InvertedResidual,
    Student,
    estimate_bytes,
)

_MULTIPLE = 8  # channels come in eights, as vector units like them


def slim(
    student: Student,
    features: Tensor,
    *,
    hidden: float,
    squeeze: float,
    last: float = 1.0,
    emb_dim: int = 0,
) -> Student:
    """Return a student with a share of its channels, the most useful ones.

    Parameters
    ----------
    student : Student
    features : Tensor, float32 (N, 1, n_bands, n_steps)
        What usefulness is measured on.
    hidden, squeeze, last : float
        Shares in (0, 1] of the expanded channels, of the squeezed ones inside the excitation, and of
        the last convolution's; rounded up to eights. A block that does not expand keeps its
        channels, which the block before gives.
    emb_dim : int
        Width of a new linear layer at the end (zeros; fit or train it), 0 for none.
    """
    usefulness = _measure(student, features)
    smaller = Student(
        slim_architecture(
            student.architecture, hidden=hidden, squeeze=squeeze, last=last, emb_dim=emb_dim
        )
    )
    _copy_conv(smaller.stem, student.stem, slice(None), slice(None))
    for new, old, of_hidden, of_squeeze in zip(
        smaller.blocks, student.blocks, usefulness.hidden, usefulness.squeeze, strict=True
    ):
        share = hidden if isinstance(old.expand, ConvNorm) else 1.0
        kept = None if of_squeeze is None else _best(of_squeeze, squeeze)
        _copy_block(new, old, _best(of_hidden, share), kept)
    _copy_conv(smaller.last, student.last, _best(usefulness.last, last), slice(None))
    if emb_dim:
        nn.init.zeros_(smaller.to_embedding.weight)
        nn.init.zeros_(smaller.to_embedding.bias)
    return smaller


class _Usefulness:
    def __init__(
        self, hidden: list[Tensor], squeeze: list[Tensor | None], last: Tensor
    ) -> None:
        self.hidden, self.squeeze, self.last = hidden, squeeze, last


@torch.no_grad()
def _measure(student: Student, features: Tensor) -> _Usefulness:
    """Run features through and weigh every prunable channel."""
    student = copy.deepcopy(student).eval()
    carried: dict[nn.Module, Tensor] = {}

    def remember(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        value = inputs[0]
        carried[module] = value.pow(2).mean([d for d in range(value.ndim) if d != 1])

    watched = [block.project for block in student.blocks]
    watched += [block.excite.expand for block in student.blocks if block.squeezes]
    for module in watched:
        module.register_forward_pre_hook(remember)
    pooled = student.pooled(features)
    hidden, squeeze = [], []
    for block in student.blocks:
        readers = block.project[0].weight[:, :, 0, 0]
        hidden.append(carried[block.project] * readers.pow(2).sum(0))
        if block.squeezes:
            gates = block.excite.expand
            # expand reads relu(reduce(.)): what it carries is what its weights see
            squeeze.append(carried[gates] * gates.weight.pow(2).sum(0))
        else:
            squeeze.append(None)
    return _Usefulness(hidden, squeeze, pooled.var(0))


def _best(usefulness: Tensor, share: float) -> Tensor:
    """Return the indices of the most useful channels, in their old order."""
    return usefulness.topk(_n_kept(len(usefulness), share)).indices.sort().values


def _copy_block(
    new: InvertedResidual, old: InvertedResidual, hidden: Tensor, squeeze: Tensor | None
) -> None:
    if isinstance(old.expand, ConvNorm):
        _copy_conv(new.expand, old.expand, hidden, slice(None))
    _copy_conv(new.depthwise, old.depthwise, hidden, slice(None))
    _copy_conv(new.project, old.project, slice(None), hidden)
    if squeeze is None:
        return
    with torch.no_grad():
        new.excite.reduce.weight.copy_(old.excite.reduce.weight[squeeze][:, hidden])
        new.excite.reduce.bias.copy_(old.excite.reduce.bias[squeeze])
        new.excite.expand.weight.copy_(old.excite.expand.weight[hidden][:, squeeze])
        new.excite.expand.bias.copy_(old.excite.expand.bias[hidden])


def _copy_conv(
    new: nn.Module, old: nn.Module, outputs: Tensor | slice, inputs: Tensor | slice
) -> None:
    with torch.no_grad():
        new[0].weight.copy_(old[0].weight[outputs][:, inputs])  # type: ignore[index]
        for part in ("weight", "bias", "running_mean", "running_var"):
            getattr(new[1], part).copy_(getattr(old[1], part)[outputs])  # type: ignore[index]


def fit_shares(architecture: Architecture, budget_bytes: int, emb_dim: int) -> dict[str, float]:
    """Return the arguments of `slim` that keep the most channels within a budget.

    Raises
    ------
    InputError
        Even the smallest share is too large.
    """
    for share in (0.95, 0.9, 0.8, 0.75, 0.65, 0.6, 0.5, 0.4, 0.36, 0.3, 0.25):
        shares = {"hidden": share, "squeeze": share / 3, "last": max(share, 0.4)}
        if estimate_bytes(slim_architecture(architecture, emb_dim=emb_dim, **shares)) <= budget_bytes:
            return shares
    least = estimate_bytes(slim_architecture(architecture, emb_dim=emb_dim, **shares))
    raise InputError(
        f"a budget of {budget_bytes} bytes is too small for a pruned student, which needs {least}; "
        "raise the budget, or let a student grow from scratch"
    )


def slim_architecture(
    architecture: Architecture, *, hidden: float, squeeze: float, last: float, emb_dim: int
) -> Architecture:
    """Return the shape that `slim` will give."""
    blocks = tuple(
        replace(
            block,
            hidden=_n_kept(block.hidden, hidden) if block.expands else block.hidden,
            squeeze=_n_kept(block.squeeze, squeeze) if block.squeeze else 0,
        )
        for block in architecture.blocks
    )
    return replace(
        architecture, blocks=blocks, last=_n_kept(architecture.last, last), emb_dim=emb_dim
    )


def _n_kept(n: int, share: float) -> int:
    return min(n, max(1, -(-round(share * n) // _MULTIPLE)) * _MULTIPLE)


def prune_magnitude(student: nn.Module, sparsity: Sequence[float]) -> nn.Module:
    """Return a student whose convolutions have their smallest weights set to zero.

    Parameters
    ----------
    student : nn.Module
    sparsity : sequence of float
        Share in [0, 1) of zeros for each convolution in order; EdgeL3 spares the first.
    """
    pruned = copy.deepcopy(student)
    convolutions = [m for m in pruned.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for convolution, share in zip(convolutions, sparsity, strict=True):
            weight = convolution.weight
            n_zeros = round(share * weight.numel())
            if n_zeros:
                threshold = weight.abs().flatten().kthvalue(n_zeros).values
                weight.mul_(weight.abs() > threshold)
    return pruned


def schedule(n_layers: int, target: float) -> list[float]:
    """Return layer-wise sparsities that rise from 0 at the first layer, as EdgeL3's do.

    EdgeL3's best row is 0, 85, 85, 85, 75, 95, 98, 98 %: nothing from the first layer, whose loss hurts
    most, and ever more from the wide late ones.
    """
    edgel3 = [0.0, 0.85, 0.85, 0.85, 0.75, 0.95, 0.98, 0.98]
    positions = [i * (len(edgel3) - 1) / max(1, n_layers - 1) for i in range(n_layers)]
    shape = [edgel3[round(position)] for position in positions]
    return [min(0.99, share * target / 0.9545) for share in shape]
