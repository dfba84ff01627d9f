"""Smaller networks from larger ones: whole channels (faster anywhere), or single weights (sparse).

Each function returns a new student; nothing mutates. What a channel is worth is measured on real
features: the mean square of what it carries, times the squared weights that read it.

Source of the magnitude schedule: EdgeL3 (Kumari et al., PAISE 2019), layer-wise targets.
"""

from __future__ import annotations

import copy
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from listen_embed.errors import InputError
from listen_embed.training import timetable
from listen_embed.training.network import (
    Architecture,
    ConvNorm,
    InvertedResidual,
    SqueezeExcite,
    Student,
    estimate_bytes,
)
from listen_embed.training.quantize import folded

_MULTIPLE = 8  # channels come in eights, as vector units like them


def slim_to_budget(
    student: Student,
    features: Tensor,
    budget_bytes: int,
    *,
    last: float,
    emb_dim: int,
    progress: timetable.Shown = False,
) -> Student:
    """Return a student that fits a budget, its channels taken where they are missed least.

    Eight channels at a time go from the block where that changes the pooled channels least for
    the bytes it saves, until the budget is met: early blocks, small and sensitive, keep theirs.

    Parameters
    ----------
    student : Student
    features : Tensor, float32 (N, 1, n_bands, n_steps)
        What usefulness is measured on.
    budget_bytes : int
        Of the int8 .tflite.
    last : float
        Share in (0, 1] of the last convolution's channels, rounded up to eights.
    emb_dim : int
        Width of a new linear layer at the end (zeros; fit or train it), 0 for none.
    progress : bool or Timetable
        Whether to show a progress bar, in bytes that are gone.

    Raises
    ------
    InputError
        Even eight channels everywhere are too many.
    """
    check_budget(student.architecture, budget_bytes, last=last, emb_dim=emb_dim)
    search = _Search(student, features, last, emb_dim)
    size = whole = estimate_bytes(search.architecture())
    excess = max(0, whole - budget_bytes)
    timetable.begin(progress, "pruning")
    with timetable.bar(progress, "pruning", total=excess, unit="B", unit_scale=True) as bar:
        while size > budget_bytes:
            search.take_one()
            size = estimate_bytes(search.architecture())
            gone = whole - max(size, budget_bytes)
            bar.update(max(0, gone - bar.n))  # a width of its own now and then adds a few bytes
    return _slimmed(student, search.kept(), emb_dim)


def check_budget(
    architecture: Architecture, budget_bytes: int, *, last: float, emb_dim: int
) -> None:
    """Raise `InputError` if `slim_to_budget` could not meet a budget, which names the least."""
    blocks = tuple(
        replace(
            block,
            hidden=min(block.hidden, _MULTIPLE) if block.expands else block.hidden,
            squeeze=min(block.squeeze, _MULTIPLE),
        )
        for block in architecture.blocks
    )
    n_last = _n_kept(architecture.last, last)
    least = estimate_bytes(replace(architecture, blocks=blocks, last=n_last, emb_dim=emb_dim))
    if least > budget_bytes:
        raise InputError(
            f"a budget of {budget_bytes} bytes is too small for a pruned student, which needs "
            f"{least}; raise the budget, or let a student grow from scratch"
        )


@dataclass(frozen=True, slots=True)
class _Channels:
    """Something about all prunable channels, or about those that stay.

    Attributes
    ----------
    hidden : list of Tensor
        One for each block.
    squeeze : list of Tensor or None
        None for blocks without squeeze-excitation.
    last : Tensor
    """

    hidden: list[Tensor]
    squeeze: list[Tensor | None]
    last: Tensor


def _slimmed(student: Student, kept: _Channels, emb_dim: int) -> Student:
    """Return a student with the kept channels only, and a linear layer of zeros if `emb_dim`."""
    old = student.architecture
    blocks = tuple(
        replace(block, hidden=len(hidden), squeeze=0 if squeeze is None else len(squeeze))
        for block, hidden, squeeze in zip(old.blocks, kept.hidden, kept.squeeze, strict=True)
    )
    architecture = replace(old, blocks=blocks, last=len(kept.last), emb_dim=emb_dim)
    smaller = Student(architecture)
    if isinstance(student.stem[1], nn.Identity):
        smaller = cast(Student, folded(smaller))
    _copy_conv(smaller.stem, student.stem, slice(None), slice(None))
    for new, from_block, hidden, squeeze in zip(
        smaller.residuals, student.residuals, kept.hidden, kept.squeeze, strict=True
    ):
        _copy_block(new, from_block, hidden, squeeze)
    _copy_conv(smaller.last, student.last, kept.last, slice(None))
    if isinstance(smaller.to_embedding, nn.Linear):
        nn.init.zeros_(smaller.to_embedding.weight)
        nn.init.zeros_(smaller.to_embedding.bias)
    return smaller


class _Search:
    """A student that loses channels eight at a time, least missed first.

    What a cut costs changes little by cuts elsewhere, so costs are kept in a heap and only the one
    on top is measured again before it is believed.
    """

    _N_CROPS = 96

    def __init__(self, student: Student, features: Tensor, last: float, emb_dim: int) -> None:
        self._student = copy.deepcopy(student).eval()
        self._features = features[: self._N_CROPS]
        self._emb_dim = emb_dim
        usefulness = _measure(student, features)
        places = {("hidden", i): u for i, u in enumerate(usefulness.hidden)}
        places |= {("squeeze", i): u for i, u in enumerate(usefulness.squeeze) if u is not None}
        self._order = {place: u.argsort(descending=True) for place, u in places.items()}
        self._n = {place: len(order) for place, order in self._order.items()}
        self._last = _best(usefulness.last, _n_kept(len(usefulness.last), last))
        with torch.no_grad():
            self._wanted = self._student.pooled(self._features)
        self._error = 0.0
        self._heap = [(0.0, place) for place in self._order if self._can_lose(place)]

    def architecture(self) -> Architecture:
        """Return the present shape."""
        blocks = tuple(
            replace(
                block,
                hidden=self._n[("hidden", i)],
                squeeze=self._n.get(("squeeze", i), 0),
            )
            for i, block in enumerate(self._student.architecture.blocks)
        )
        return replace(
            self._student.architecture,
            blocks=blocks, last=len(self._last), emb_dim=self._emb_dim,
        )  # fmt: skip

    def kept(self) -> _Channels:
        """Return the indices of the channels that are left, in their old order."""
        n_blocks = len(self._student.blocks)
        left = {
            place: order[: self._n[place]].sort().values for place, order in self._order.items()
        }
        return _Channels(
            [left[("hidden", i)] for i in range(n_blocks)],
            [left.get(("squeeze", i)) for i in range(n_blocks)],
            self._last,
        )

    def take_one(self) -> None:
        """Take eight channels where that costs least for the bytes it saves."""
        while True:
            _, place = heapq.heappop(self._heap)
            error, price = self._price(place)
            if not self._heap or price <= self._heap[0][0]:
                break
            heapq.heappush(self._heap, (price, place))
        self._cut(place, _MULTIPLE)
        self._error = error
        if self._can_lose(place):
            heapq.heappush(self._heap, (price, place))

    def _can_lose(self, place: tuple[str, int]) -> bool:
        kind, i = place
        expands = self._student.architecture.blocks[i].expands
        return self._n[place] > _MULTIPLE and (kind == "squeeze" or expands)

    @torch.no_grad()
    def _price(self, place: tuple[str, int]) -> tuple[float, float]:
        """Return the error after the next cut here, and what it adds for each byte saved."""
        before = estimate_bytes(self.architecture())
        weight = self._reader(place)
        saved = weight.clone()
        self._cut(place, _MULTIPLE)
        given = self._student.pooled(self._features)
        error = float((given - self._wanted).pow(2).sum() / self._wanted.var(0).sum())
        saved_bytes = before - estimate_bytes(self.architecture())
        weight.copy_(saved)
        self._n[place] += _MULTIPLE
        return error, (error - self._error) / saved_bytes

    @torch.no_grad()
    def _cut(self, place: tuple[str, int], n: int) -> None:
        """Take the least useful channels away, by zeros where they are read."""
        self._n[place] -= n
        gone = self._order[place][self._n[place] :]
        self._reader(place)[:, gone] = 0

    def _reader(self, place: tuple[str, int]) -> Tensor:
        kind, i = place
        block = self._student.residuals[i]
        if kind == "hidden":
            return block.project.convolution.weight.detach()[:, :, 0, 0]
        assert isinstance(block.excite, SqueezeExcite)
        return block.excite.expand.weight.detach()


@torch.no_grad()
def _measure(student: Student, features: Tensor) -> _Channels:
    """Run features through; return how useful every prunable channel is."""
    student = copy.deepcopy(student).eval()
    carried: dict[nn.Module, Tensor] = {}

    def remember(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        value = inputs[0]
        carried[module] = value.pow(2).mean([d for d in range(value.ndim) if d != 1])

    for block in student.residuals:
        block.project.register_forward_pre_hook(remember)
        if isinstance(block.excite, SqueezeExcite):
            block.excite.expand.register_forward_pre_hook(remember)
    pooled = student.pooled(features)
    hidden: list[Tensor] = []
    squeeze: list[Tensor | None] = []
    for block in student.residuals:
        readers = block.project.convolution.weight[:, :, 0, 0]
        hidden.append(carried[block.project] * readers.pow(2).sum(0))
        if isinstance(block.excite, SqueezeExcite):
            gates = block.excite.expand
            # expand reads relu(reduce(.)): what it carries is what its weights see
            squeeze.append(carried[gates] * gates.weight.pow(2).sum(0))
        else:
            squeeze.append(None)
    return _Channels(hidden, squeeze, pooled.var(0))


def _best(usefulness: Tensor, n: int) -> Tensor:
    """Return the indices of the most useful channels, in their old order."""
    return usefulness.topk(n).indices.sort().values


def _copy_block(
    new: InvertedResidual, old: InvertedResidual, hidden: Tensor, squeeze: Tensor | None
) -> None:
    if isinstance(old.expand, ConvNorm):
        _copy_conv(new.expand, old.expand, hidden, slice(None))
    _copy_conv(new.depthwise, old.depthwise, hidden, slice(None))
    _copy_conv(new.project, old.project, slice(None), hidden)
    if squeeze is None:
        return
    assert isinstance(new.excite, SqueezeExcite) and isinstance(old.excite, SqueezeExcite)
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
        if isinstance(old[1], nn.Identity):  # type: ignore[index]
            new[0].bias.copy_(old[0].bias[outputs])  # type: ignore[index]
            return
        for part in ("weight", "bias", "running_mean", "running_var"):
            getattr(new[1], part).copy_(getattr(old[1], part)[outputs])  # type: ignore[index]


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

    EdgeL3's best row is 0, 85, 85, 85, 75, 95, 98, 98 %: nothing from the first layer, whose loss
    hurts most, and ever more from the wide late ones.
    """
    edgel3 = [0.0, 0.85, 0.85, 0.85, 0.75, 0.95, 0.98, 0.98]
    positions = [i * (len(edgel3) - 1) / max(1, n_layers - 1) for i in range(n_layers)]
    shape = [edgel3[round(position)] for position in positions]
    return [min(0.99, share * target / 0.9545) for share in shape]
