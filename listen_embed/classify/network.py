"""LEAN's network: a wave encoder, a log-mel base's frames, cross-attention, pooling, classes.

The paper's sizes are not public; these are ours. Every part is made of operators that convert to
int8: convolutions with batch-norm, matrix products, softmax, means.

Source: Choudhary et al., "LEAN: light and efficient audio classification network", arXiv
2305.12712 (the order of the parts).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from listen_embed.training.precision import autocast

Join = Literal["attention", "pooled", "none"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One strided convolution of the wave encoder, and whether a residual one follows."""

    width: int
    kernel: int
    stride: int
    residual: bool = False


# 16 kHz -> 31.25 steps a second, 246 thousand weights, 24 million multiplications a second.
WAVE_STAGES = (
    Stage(32, 64, 16),
    Stage(64, 8, 4, residual=True),
    Stage(96, 4, 2, residual=True),
    Stage(128, 4, 2, residual=True),
    Stage(128, 4, 2),
)
N_JOINED = 4  # steps behind a pretrained encoder, so 7.8 a second
SAMPLES_OF_STEP = math.prod(stage.stride for stage in WAVE_STAGES)
WAVE_WIDTH = WAVE_STAGES[-1].width


class ConvNorm1d(nn.Sequential):
    """Convolution over time (as one row of a picture), batch-norm, ReLU."""

    def __init__(self, n_in: int, stage: Stage) -> None:
        before = (stage.kernel - stage.stride) // 2 if stage.stride > 1 else stage.kernel // 2
        convolution = nn.Conv2d(
            n_in, stage.width, (1, stage.kernel), (1, stage.stride), (0, before), bias=False
        )
        super().__init__(convolution, nn.BatchNorm2d(stage.width), nn.ReLU())


class Residual(nn.Module):
    """A convolution beside a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = ConvNorm1d(width, Stage(width, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, 1, T)."""
        y: Tensor = self.convolution(x)
        return x + y


class WaveEncoder(nn.Module):
    """Strided convolutions on the raw signal.

    Parameters
    ----------
    stages : tuple of Stage
    n_joined : int
        Neighbouring steps that are averaged into one.
    """

    def __init__(self, stages: tuple[Stage, ...] = WAVE_STAGES, n_joined: int = 1) -> None:
        super().__init__()
        self.width = stages[-1].width
        self.n_joined = n_joined
        layers: list[nn.Module] = []
        n_in = 1
        for stage in stages:
            layers.append(ConvNorm1d(n_in, stage))
            layers += [Residual(stage.width)] if stage.residual else []
            n_in = stage.width
        self.layers = nn.Sequential(*layers)

    def forward(self, wave: Tensor) -> Tensor:
        """Return steps (B, T, width) of waveforms (B, n) at 16 kHz, companded."""
        y: Tensor = self.layers(wave[:, None, None, :])
        if self.n_joined > 1:
            y = nn.functional.avg_pool2d(y, (1, self.n_joined))
        return y[:, :, 0].transpose(1, 2)


class CrossAttention(nn.Module):
    """Ask the wave encoder's steps, once for each frame of the base.

    Parameters
    ----------
    n_frame, n_step : int
        Widths of frames (queries) and steps (keys and values).
    width, heads : int
        Of the attention.
    """

    def __init__(self, n_frame: int, n_step: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(n_frame, width)
        self.keys = nn.Linear(n_step, width)
        self.values = nn.Linear(n_step, width)
        self.slopes = nn.Parameter(torch.linspace(0.0, 2.0, heads))
        self.near: Tensor | None = None
        with torch.no_grad():  # attention's usual scale, where it costs nothing
            self.queries.weight *= (width / heads) ** -0.5

    def forward(self, frames: Tensor, steps: Tensor) -> Tensor:
        """Return (B, T, width) of frames (B, T, n_frame) and steps (B, S, n_step)."""
        q, k, v = (
            self._split(part)
            for part in (self.queries(frames), self.keys(steps), self.values(steps))
        )
        near = self._near(q.shape[2], k.shape[2]) if self.near is None else self.near
        weights = torch.softmax(q @ k.transpose(2, 3) + near.to(q), dim=-1)
        return (weights @ v).transpose(1, 2).flatten(2)

    def _near(self, n_frames: int, n_steps: int) -> Tensor:
        """Return what each step loses by its distance from each frame, (heads, frames, steps)."""
        return -self.slopes.abs()[:, None, None] * _distances(n_frames, n_steps)

    @torch.no_grad()
    def fix(self, n_frames: int, n_steps: int) -> None:
        """Make the distances a constant, for windows of one length."""
        self.near = self._near(n_frames, n_steps)

    def _split(self, x: Tensor) -> Tensor:
        """Return (B, heads, T, width / heads) of (B, T, width)."""
        heads: Tensor = x.unflatten(2, (self.heads, -1))  # type: ignore[no-untyped-call]
        return heads.transpose(1, 2)


def _distances(n_frames: int, n_steps: int) -> Tensor:
    """Return how many frames lie between each frame's centre and each step's, (frames, steps)."""
    frames = (torch.arange(n_frames) + 0.5)[:, None]
    steps = (torch.arange(n_steps) + 0.5)[None] * (n_frames / n_steps)
    return (frames - steps).abs()


class AttentionPool(nn.Module):
    """The mean over time, each frame weighed by what it holds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width) of (B, T, width)."""
        weights = torch.softmax(self.score(x).transpose(1, 2), dim=2)
        return (weights @ x)[:, 0]


@dataclass(frozen=True, slots=True)
class FusionShape:
    """Everything that decides a `Fusion`'s shape.

    Parameters
    ----------
    n_frame, n_step : int
        Widths of the base's frames and of the wave encoder's steps; 0 where there is none.
    join : {"attention", "pooled", "none"}
        How the two meet.
    emb_dim, n_classes : int
    width, heads : int
        Of the cross-attention.
    """

    n_frame: int
    n_step: int
    join: Join
    emb_dim: int
    n_classes: int
    width: int = 96
    heads: int = 4


class Fusion(nn.Module):
    """What is behind base and wave encoder: it learns in seconds from their frames and steps."""

    def __init__(self, shape: FusionShape) -> None:
        super().__init__()
        self.shape = shape
        self.normed_frames = nn.BatchNorm1d(shape.n_frame) if shape.n_frame else nn.Identity()
        self.normed_steps = nn.BatchNorm1d(shape.n_step) if shape.n_step else nn.Identity()
        if shape.join == "attention":
            self.attention = CrossAttention(shape.n_frame, shape.n_step, shape.width, shape.heads)
            self.of_steps = nn.Linear(shape.width, shape.emb_dim)
        elif shape.join == "pooled":
            self.of_steps = nn.Linear(shape.n_step, shape.emb_dim)
        self.of_frames = nn.Linear(shape.n_frame or shape.n_step, shape.emb_dim)
        self.relu = nn.ReLU()
        self.pool = AttentionPool(shape.emb_dim)
        self.dropout = nn.Dropout(0.3)
        self.classes = nn.Linear(shape.emb_dim, shape.n_classes)

    def embed(self, frames: Tensor | None, steps: Tensor | None) -> Tensor:
        """Return embeddings (B, emb_dim) of frames (B, T, n_frame) and steps (B, S, n_step)."""
        if frames is None:
            assert steps is not None
            return self.pool(self.relu(self.of_frames(_over_channels(self.normed_steps, steps))))  # type: ignore[no-any-return]
        x = self.of_frames(frames := _over_channels(self.normed_frames, frames))
        if self.shape.join != "none":
            assert steps is not None
            steps = _over_channels(self.normed_steps, steps)
            x = x + self.of_steps(self._joined(frames, steps))
        return self.pool(self.relu(x))  # type: ignore[no-any-return]

    def _joined(self, frames: Tensor, steps: Tensor) -> Tensor:
        if self.shape.join == "attention":
            return self.attention(frames, steps)  # type: ignore[no-any-return]
        return steps.mean(1, keepdim=True)

    def forward(self, frames: Tensor | None, steps: Tensor | None) -> Tensor:
        """Return logits (B, n_classes)."""
        return self.classes(self.dropout(self.embed(frames, steps)))  # type: ignore[no-any-return]

    @torch.no_grad()
    def folded(self, n_frames: int, n_steps: int) -> Fusion:
        """Return a copy without norms and dropout, for windows of one length."""
        plain = copy.deepcopy(self).eval()
        of_steps, of_frames = [], [plain.of_frames]
        if self.shape.join == "attention":
            plain.attention.fix(n_frames, n_steps)
            of_frames.append(plain.attention.queries)
            of_steps = [plain.attention.keys, plain.attention.values]
        elif self.shape.join == "pooled":
            of_steps = [plain.of_steps]
        if not self.shape.n_frame:
            of_steps, of_frames = of_frames, []
        _fold(plain.normed_frames, of_frames)
        _fold(plain.normed_steps, of_steps)
        plain.normed_frames = plain.normed_steps = nn.Identity()
        return plain


def _fold(norm: nn.Module, readers: list[nn.Linear]) -> None:
    """Put a norm, as it is in evaluation, into the layers that read it."""
    if not isinstance(norm, nn.BatchNorm1d):
        return
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    for reader in readers:
        reader.bias.add_(reader.weight @ shift)
        reader.weight *= scale


class Joint(nn.Module):
    """A wave encoder and a fusion that learn together, behind a frozen base."""

    def __init__(self, wave: WaveEncoder, fusion: Fusion) -> None:
        super().__init__()
        self.wave, self.fusion = wave, fusion

    def forward(self, frames: Tensor | None, waves: Tensor) -> Tensor:
        """Return logits of frames (B, T, n_frame) and waveforms (B, n)."""
        with autocast():
            steps = self.wave(waves).float()
        return self.fusion(frames, steps)  # type: ignore[no-any-return]


class Lean(nn.Module):
    """Base, wave encoder and fusion as one network, up to the layer before the classes.

    Parameters
    ----------
    base : nn.Module or None
        Log-mels (B, 1, n_bands, n_steps) -> frames.
    wave : WaveEncoder or None
    fusion : Fusion
    """

    def __init__(self, base: nn.Module | None, wave: WaveEncoder | None, fusion: Fusion) -> None:
        super().__init__()
        self.base, self.wave, self.fusion = base, wave, fusion

    def forward(self, log_mels: Tensor, wave: Tensor | None = None) -> Tensor:
        """Return embeddings (B, emb_dim) of log-mels (B, n_bands, n_steps, 1), waves (B, n)."""
        frames = None if self.base is None else self.base(log_mels.permute(0, 3, 1, 2))
        steps = None if self.wave is None else self.wave(wave)
        return self.fusion.embed(frames, steps)


def without_norms(wave: WaveEncoder) -> WaveEncoder:
    """Return a copy whose norms are part of its convolutions."""
    plain = copy.deepcopy(wave).eval()
    for block in [module for module in plain.modules() if isinstance(module, ConvNorm1d)]:
        block[0] = fuse_conv_bn_eval(block[0], block[1])  # type: ignore[type-var,arg-type]
        block[1] = nn.Identity()
    return plain


def _over_channels(norm: nn.Module, x: Tensor) -> Tensor:
    return norm(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]
