"""The students: a family of networks, described by an `Architecture`, sized from a byte budget.

A student is a MobileNetV3 over log-mels: a stem, inverted residuals with squeeze-excitation, a last
1x1 convolution, the mean over frequency and time, and a linear layer to the embedding.
EfficientAT's mn04 is of the same family, so a student may start as a channel-pruned copy of it.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019; Schmid et al., ICASSP 2023 (arXiv
2211.04772).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from listen_embed.errors import InputError

Activation = Literal["relu", "relu6", "hardswish"]

_BN_EPS = 1e-3
# mn04's table: kernel, stride, activation and squeeze-excitation of blocks 1 to 15.
_KERNELS = (3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5)
_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)
_N_RELU = 6


@dataclass(frozen=True, slots=True)
class Block:
    """An inverted residual: expand to `hidden`, convolve each channel, excite, project to `out`."""

    kernel: int
    stride: int
    hidden: int
    out: int
    squeeze: int
    activation: Activation
    expands: bool = True


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that decides a student's shape.

    Parameters
    ----------
    stem, last : int
        Channels of the first and of the last convolution.
    blocks : tuple of Block
    emb_dim : int
        Width of the embedding; 0 leaves the linear layer out, as mn04 does.
    activation : str
        Of the last convolution, and of the first one unless it has one of its own.
    stem_stride, stem_kernel : (int, int)
        Of the first convolution, over frequency and over time.
    stem_activation : str, optional
    n_bands : int
        Bands whose levels go straight into the embedding, beside what the convolutions find; 0 for
        no such short cut. The mean over frequency forgets where a steady sound lies; this does not.
    """

    stem: int
    blocks: tuple[Block, ...]
    last: int
    emb_dim: int
    activation: Activation = "hardswish"
    stem_stride: tuple[int, int] = (2, 2)
    n_bands: int = 0
    stem_kernel: tuple[int, int] = (3, 3)
    stem_activation: Activation | None = None

    @property
    def first_activation(self) -> Activation:
        """What follows the first convolution."""
        return self.stem_activation or self.activation


class HardSwish(nn.Module):
    """x * relu6(x + 3) / 6, written so that an int8 graph stays in the CPU's delegate.

    The operator HARD_SWISH leaves it; an addition with its clamp fused and a product do not. What
    reads the result can mostly take the sixth into its weights, which saves an operator.

    Attributes
    ----------
    is_whole : bool
        Whether the sixth is in the result; without it the result is six times the activation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.relu6 = nn.ReLU6()
        self.sixth: nn.Module = Sixth()

    @property
    def is_whole(self) -> bool:
        """Whether the sixth is in the result."""
        return isinstance(self.sixth, Sixth)

    def leave_sixth(self) -> None:
        """From now on give six times as much: whoever reads it has been told."""
        self.sixth = nn.Identity()

    def take_sixth(self) -> None:
        """From now on give the activation itself: whoever reads it has been told."""
        self.sixth = Sixth()

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation, shaped as x."""
        gate: Tensor = self.relu6(x + 3)
        # A sixth of the product would be recognised by the converter, and made HARD_SWISH again.
        return self.sixth(x) * gate  # type: ignore[no-any-return]


class Sixth(nn.Module):
    """x / 6; a module, so that rounding can be attached to it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a sixth of x."""
        return x * (1 / 6)


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": HardSwish,
}


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch-norm, activation; torch's symmetric padding."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int],
        groups: int,
        act: Activation | None,
    ) -> None:
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        edges = ((rows - 1) // 2, (columns - 1) // 2)
        convolution = nn.Conv2d(
            n_in, n_out, (rows, columns), stride, edges, groups=groups, bias=False
        )
        layers: list[nn.Module] = [convolution, nn.BatchNorm2d(n_out, eps=_BN_EPS, momentum=0.1)]
        if act:
            layers.append(_ACTIVATIONS[act]())
        super().__init__(*layers)

    @property
    def convolution(self) -> nn.Conv2d:
        """The first of the three."""
        return cast(nn.Conv2d, self[0])


class ChannelMean(nn.Module):
    """The mean over frequency and time; a module, so that rounding can be attached to it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C) of (B, C, F, T)."""
        # A .tflite has channels last: said so, the converter needs no TRANSPOSE.
        return x.permute(0, 2, 3, 1).mean((1, 2))


class BandLevels(nn.Module):
    """The mean of every band over time, and how far it falls below; see `Transformer`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2 F) of log-mels (B, 1, F, T)."""
        bands = x.permute(0, 2, 3, 1)  # as a .tflite has them
        mean = bands.mean(2, keepdim=True)
        falls = torch.relu(mean - bands).mean(2, keepdim=True)
        return torch.cat([mean, falls], dim=1).flatten(1)


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.mean = ChannelMean()
        self.reduce = nn.Linear(channels, squeeze)
        self.relu = nn.ReLU()
        self.expand = nn.Linear(squeeze, channels)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, F, T), each channel scaled by its gate."""
        gate = self.gate(self.expand(self.relu(self.reduce(self.mean(x)))))
        return x * gate[:, :, None, None]  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    """One `Block`."""

    def __init__(self, n_in: int, block: Block) -> None:
        super().__init__()
        act = block.activation
        self.expand = ConvNorm(n_in, block.hidden, 1, 1, 1, act) if block.expands else nn.Identity()
        self.depthwise = ConvNorm(
            block.hidden, block.hidden, block.kernel, block.stride, block.hidden, act
        )
        self.squeezes = block.squeeze > 0
        self.excite = SqueezeExcite(block.hidden, block.squeeze) if block.squeeze else nn.Identity()
        self.project = ConvNorm(block.hidden, block.out, 1, 1, 1, None)
        self.adds_input = block.stride == 1 and n_in == block.out

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, F / stride, T / stride)."""
        y: Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.adds_input else y


class Student(nn.Module):
    """A network of the family; see the module's docstring.

    Parameters
    ----------
    architecture : Architecture
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.input = nn.Identity()
        kernel, stride = architecture.stem_kernel, architecture.stem_stride
        self.stem = ConvNorm(1, architecture.stem, kernel, stride, 1, architecture.first_activation)
        widths = [architecture.stem, *(block.out for block in architecture.blocks)]
        self.blocks = nn.Sequential(
            *(InvertedResidual(n, b) for n, b in zip(widths, architecture.blocks, strict=False))
        )
        self.mean = ChannelMean()
        self.last = ConvNorm(widths[-1], architecture.last, 1, 1, 1, architecture.activation)
        self.to_embedding = (
            nn.Linear(architecture.last, architecture.emb_dim)
            if architecture.emb_dim
            else nn.Identity()
        )
        if architecture.n_bands:
            self.levels = BandLevels()
            self.short_cut = nn.Linear(2 * architecture.n_bands, architecture.emb_dim)
            self.joined = nn.Identity()

    @property
    def residuals(self) -> list[InvertedResidual]:
        """The blocks in order."""
        return [block for block in self.blocks if isinstance(block, InvertedResidual)]

    @torch.no_grad()
    def set_readout(self, weight: Tensor, bias: Tensor) -> None:
        """Let the embedding be a linear map (emb_dim, n) of `pooled`, and a bias (emb_dim,)."""
        readout = cast(nn.Linear, self.to_embedding)
        readout.weight.copy_(weight[:, : self.architecture.last])
        readout.bias.copy_(bias)
        if self.architecture.n_bands:
            self.short_cut.weight.copy_(weight[:, self.architecture.last :])
            nn.init.zeros_(self.short_cut.bias)

    def pooled(self, x: Tensor) -> Tensor:
        """Return the channel means of log-mels (B, 1, F, T), and the bands' levels if it has any.

        They are (B, last), or (B, last + 2 n_bands).
        """
        x = self.input(x)
        channels: Tensor = self._channels(x)
        if not self.architecture.n_bands:
            return channels
        return torch.cat([channels, self.levels(x)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings (B, emb_dim) of log-mels (B, 1, F, T)."""
        x = self.input(x)
        found: Tensor = self.to_embedding(self._channels(x))
        if not self.architecture.n_bands:
            return found
        return self.joined(found + self.short_cut(self.levels(x)))  # type: ignore[no-any-return]

    def _channels(self, x: Tensor) -> Tensor:
        return self.mean(self.last(self.blocks(self.stem(x))))  # type: ignore[no-any-return]


@torch.no_grad()
def halve_columns(student: Student) -> None:
    """Let a student take columns twice as far apart; behind its stem nothing changes.

    The stem strides by one over them in the place of two, and takes for the column between two
    their mean. Log-mels are not quite that, so it has to learn on.
    """
    rows, _ = student.architecture.stem_stride
    student.architecture = replace(student.architecture, stem_stride=(rows, 1))
    convolution = student.stem.convolution
    convolution.stride = (rows, 1)
    before, at, after = convolution.weight.unbind(3)
    blended = torch.stack([before / 2, at + (before + after) / 2, after / 2], dim=3)
    convolution.weight.copy_(blended)


def count_weights(architecture: Architecture) -> int:
    """Return the weights and biases of a student with its batch-norms folded: its bytes in int8."""
    rows, columns = architecture.stem_kernel
    total, width = (rows * columns + 1) * architecture.stem, architecture.stem
    for block in architecture.blocks:
        if block.expands:
            total += (width + 1) * block.hidden
        total += (block.kernel**2 + 1) * block.hidden
        if block.squeeze:
            total += (2 * block.hidden + 1) * block.squeeze + block.hidden
        total += (block.hidden + 1) * block.out
        width = block.out
    total += (width + 1) * architecture.last
    total += (architecture.last + 1) * architecture.emb_dim
    n_levels = 2 * architecture.n_bands
    return total + ((n_levels + 1) * architecture.emb_dim if n_levels else 0)


def estimate_bytes(architecture: Architecture) -> int:
    """Return about how large a student's int8 .tflite will be.

    Beside the weights, every channel has an int32 bias (three bytes more than counted) and the
    scales of its weights and its bias, all layers of one width share a list of zero points, and
    every operator with its tensors takes some 272 bytes, or 88 where it has no weights: a
    hard-swish is two of these, and a third where its sixth cannot be folded.
    """
    widths = [architecture.stem, architecture.last, architecture.emb_dim]
    operators = 6
    for block in architecture.blocks:
        widths += [block.hidden] * (2 if block.expands else 1) + [block.out]
        widths += [block.squeeze, block.hidden] if block.squeeze else []
        operators += 3 + (6 if block.squeeze else 0)
    zero_points = 8 * sum(set(widths))
    overhead = zero_points + 272 * operators + 88 * _count_swishes(architecture)
    if architecture.n_bands:
        overhead += 272 + 11 * architecture.emb_dim + 88 * 7
    return count_weights(architecture) + 11 * sum(widths) + overhead


def _count_swishes(architecture: Architecture) -> int:
    """Return how many operators hard-swishes add to those that are counted with the layers."""
    inside = sum(
        2 if block.expands else 1
        for block in architecture.blocks
        if block.activation == "hardswish"
    )
    # Two operators each, and the sixth that nothing takes: the stem's, and the last one's without
    # a readout.
    stem = 2 if architecture.first_activation == "hardswish" else 0
    last = 1 if architecture.emb_dim else 2
    return inside + stem + (last if architecture.activation == "hardswish" else 0)


# A depthwise-separable table for students that grow from nothing: stride and width of each block.
_GROWN = ((2, 24), (1, 32), (2, 48), (1, 48), (2, 64), (1, 64))
_MULTIPLIERS = tuple(m / 8 for m in range(48, 3, -1))


def fit_budget(budget_bytes: int, emb_dim: int) -> Architecture:
    """Return the widest student that fits a budget, to be trained from scratch.

    Parameters
    ----------
    budget_bytes : int
        Size of the int8 .tflite.
    emb_dim : int

    Raises
    ------
    InputError
        Not even the narrowest fits.
    """
    for multiplier in _MULTIPLIERS:
        architecture = grown(multiplier, emb_dim)
        if estimate_bytes(architecture) <= budget_bytes:
            return architecture
    least = estimate_bytes(grown(_MULTIPLIERS[-1], emb_dim))
    raise InputError(
        f"a budget of {budget_bytes} bytes is too small: {emb_dim} dimensions need at least "
        f"{least}; raise the budget or lower the dimension"
    )


def grown(multiplier: float, emb_dim: int) -> Architecture:
    """Return a depthwise-separable student with all widths times `multiplier`."""
    widths = [max(8, 8 * round(multiplier * width / 8)) for _, width in _GROWN]
    stem = max(8, 8 * round(multiplier * 2))
    blocks = tuple(
        Block(3, stride, n_in, n_out, 0, "relu", expands=False)
        for (stride, _), n_in, n_out in zip(_GROWN, [stem, *widths], widths, strict=False)
    )
    last = max(8, 8 * round(multiplier * 10))
    return Architecture(stem, blocks, last, emb_dim, "relu")


def from_efficientat(tensors: Mapping[str, NDArray[Any]]) -> Student:
    """Return EfficientAT's network, up to its 384-d average, from a published state dict.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        As `listen_embed.upstream.torch_zip.read_state_dict` gives them.
    """
    blocks = tuple(_published_block(tensors, i) for i in range(1, len(_KERNELS) + 1))
    stem = len(tensors["features.0.0.weight"])
    last = len(tensors[f"features.{len(_KERNELS) + 1}.0.weight"])
    student = Student(Architecture(stem, blocks, last, 0))
    _load_conv(student.stem, tensors, "features.0")
    for i, block in enumerate(student.residuals, start=1):
        _load_block(block, tensors, f"features.{i}.block")
    _load_conv(student.last, tensors, f"features.{len(_KERNELS) + 1}")
    return student.eval()


def _stages(tensors: Mapping[str, NDArray[Any]], prefix: str) -> list[str]:
    """Return the names of a block's parts in order: expand?, depthwise, excitation?, project."""
    parts = {
        key.removeprefix(f"{prefix}.").split(".")[0]
        for key in tensors
        if key.startswith(f"{prefix}.")
    }
    return [f"{prefix}.{part}" for part in sorted(parts, key=int)]


def _published_block(tensors: Mapping[str, NDArray[Any]], index: int) -> Block:
    stages = _stages(tensors, f"features.{index}.block")
    excitation = [s for s in stages if f"{s}.conc_se_layers.0.fc1.weight" in tensors]
    convolutions = [s for s in stages if s not in excitation]
    hidden = len(tensors[f"{convolutions[-2]}.0.weight"])
    squeeze = len(tensors[f"{excitation[0]}.conc_se_layers.0.fc1.weight"]) if excitation else 0
    return Block(
        kernel=_KERNELS[index - 1],
        stride=_STRIDES[index - 1],
        hidden=hidden,
        out=len(tensors[f"{convolutions[-1]}.0.weight"]),
        squeeze=squeeze,
        activation="relu" if index <= _N_RELU else "hardswish",
        expands=len(convolutions) == 3,
    )


def _load_block(block: InvertedResidual, tensors: Mapping[str, NDArray[Any]], prefix: str) -> None:
    stages = _stages(tensors, prefix)
    excitation = [s for s in stages if f"{s}.conc_se_layers.0.fc1.weight" in tensors]
    convolutions = [s for s in stages if s not in excitation]
    targets = [block.depthwise, block.project]
    if isinstance(block.expand, ConvNorm):
        targets.insert(0, block.expand)
    for module, name in zip(targets, convolutions, strict=True):
        _load_conv(module, tensors, name)
    for name in excitation:
        assert isinstance(block.excite, SqueezeExcite)
        for ours, theirs in ((block.excite.reduce, "fc1"), (block.excite.expand, "fc2")):
            _copy(ours.weight, tensors[f"{name}.conc_se_layers.0.{theirs}.weight"])
            _copy(ours.bias, tensors[f"{name}.conc_se_layers.0.{theirs}.bias"])


def _load_conv(module: nn.Module, tensors: Mapping[str, NDArray[Any]], name: str) -> None:
    convolution, norm = module[0], module[1]  # type: ignore[index]
    _copy(convolution.weight, tensors[f"{name}.0.weight"])
    for part in ("weight", "bias", "running_mean", "running_var"):
        _copy(getattr(norm, part), tensors[f"{name}.1.{part}"])


def _copy(target: Tensor, values: NDArray[Any]) -> None:
    with torch.no_grad():
        target.copy_(torch.from_numpy(np.ascontiguousarray(values)))


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """Everything that decides a `Transformer`'s shape.

    Parameters
    ----------
    n_bands : int
        Rows of the log-mel; each column is a token.
    width, heads, hidden, layers : int
        Width of the tokens, attention heads, width inside the feed-forward part, number of layers.
    emb_dim : int
    """

    n_bands: int
    width: int
    heads: int
    hidden: int
    layers: int
    emb_dim: int


class Transformer(nn.Module):
    """A transformer in LISTEN's manner, for machines: small, and blind to positions in time.

    LISTEN cuts the log-mel into square patches and forgets where they were; a steady machine is
    known by its fine spectrum, so here a token is a whole column. Batch-norm stands where LISTEN
    has layer-norm: it folds into the next matrix, which int8 can do and layer-norm hardly. Means
    over time are pooled of the tokens, of their positive parts and of their rises from one to the
    next: level, spread and flicker. Beside all that, two facts of every band go straight into the
    embedding: its mean, and how far it falls below; together they nearly give the level that
    passing noise leaves alone.

    Source: Han et al. 2026 (LISTEN), with the changes above.
    """

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.shape = shape
        self.input = nn.Identity()
        self.to_tokens = nn.Linear(shape.n_bands, shape.width)
        self.layers = nn.Sequential(*(_Layer(shape) for _ in range(shape.layers)))
        self.to_embedding = nn.Linear(3 * shape.width, shape.emb_dim)
        self.short_cut = nn.Linear(2 * shape.n_bands, shape.emb_dim)

    @torch.no_grad()
    def set_readout(self, weight: Tensor, bias: Tensor) -> None:
        """Let the short cut be a linear map of `pooled`, and a bias."""
        self.short_cut.weight.copy_(weight)
        self.short_cut.bias.copy_(bias)

    def pooled(self, x: Tensor) -> Tensor:
        """Return the bands' means and falls (B, 2 n_bands) of log-mels (B, 1, n_bands, n_steps)."""
        return self._pooled(self._columns(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings (B, emb_dim) of log-mels (B, 1, n_bands, n_steps)."""
        columns = self._columns(x)
        tokens = self.layers(self.to_tokens(columns))
        rises = torch.relu(tokens[:, 1:] - tokens[:, :-1])
        of_tokens = torch.cat([tokens.mean(1), torch.relu(tokens).mean(1), rises.mean(1)], dim=1)
        return self.to_embedding(of_tokens) + self.short_cut(self._pooled(columns))  # type: ignore[no-any-return]

    def _columns(self, x: Tensor) -> Tensor:
        return self.input(x)[:, 0].transpose(1, 2)  # type: ignore[no-any-return]

    def _pooled(self, columns: Tensor) -> Tensor:
        mean = columns.mean(1, keepdim=True)
        return torch.cat([mean[:, 0], torch.relu(mean - columns).mean(1)], dim=1)


class _Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a short cut."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.queries, self.keys, self.values = (NormLinear(width, width) for _ in range(3))
        with torch.no_grad():  # attention's usual scale, where it costs nothing
            self.queries.linear.weight *= (width / shape.heads) ** -0.5
        self.joined = nn.Linear(width, width)
        self.widened = NormLinear(width, shape.hidden)
        self.relu = nn.ReLU()
        self.narrowed = nn.Linear(shape.hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, width)."""
        q, k, v = (self._split(part(x)) for part in (self.queries, self.keys, self.values))
        weights = torch.softmax(q @ k.transpose(2, 3), dim=-1)
        attended = (weights @ v).transpose(1, 2).flatten(2)
        x = x + self.joined(attended)
        narrowed: Tensor = self.narrowed(self.relu(self.widened(x)))
        return x + narrowed

    def _split(self, x: Tensor) -> Tensor:
        """Return (B, heads, T, width / heads) of (B, T, width)."""
        heads: Tensor = x.unflatten(2, (self.heads, -1))  # type: ignore[no-untyped-call]
        return heads.transpose(1, 2)


class NormLinear(nn.Module):
    """Batch-norm over all tokens, then a linear layer; one matrix once folded."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm1d(n_in)
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, n_out) of tokens (B, T, n_in)."""
        if isinstance(self.norm, nn.Identity):
            return self.linear(x)  # type: ignore[no-any-return]
        return self.linear(self.norm(x.transpose(1, 2)).transpose(1, 2))  # type: ignore[no-any-return]

    @torch.no_grad()
    def fold(self) -> None:
        """Put the norm, as it is in evaluation, into the linear layer."""
        norm = self.norm
        assert isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        self.linear.bias.add_(self.linear.weight @ shift)
        self.linear.weight *= scale
        self.norm = nn.Identity()
