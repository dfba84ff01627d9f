"""The method ``finetune``: a whole base learns, its first layers the slowest.

Any `Base` will do: a torch module that gives frames of log-mels, and its front end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from listen_embed.classify import bases, encoders, finishing, fit, windows
from listen_embed.classify.bases import Base, Channels
from listen_embed.classify.clips import Array, Clips, Rows
from listen_embed.classify.folder import Made
from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.layer import Layer
from listen_embed.classify.mixing import mixed_log_mels
from listen_embed.classify.options import Options
from listen_embed.classify.parts import parts_of
from listen_embed.classify.report import Measured
from listen_embed.pretrain import export
from listen_embed.training import convert, quantize
from listen_embed.training.export import Trained
from listen_embed.training.network import Student
from listen_embed.training.precision import autocast

_EPOCHS, _BATCH, _RATE = 15, 32, 1e-3
_FALL = 0.8  # of the learning rate, from each layer to the one before it
_MIXED = 0.5  # share of windows that a second one is added to
_GAIN_DB = (-12.0, 6.0)
_MASKED = 0.15  # of the bands, and of the columns, at most


class Tuned(nn.Module):
    """A base, the mean of its frames, and classes."""

    def __init__(self, base: Base, n_classes: int) -> None:
        super().__init__()
        self.network = base.network
        self.dropout = nn.Dropout(0.3)
        self.classes = nn.Linear(base.width, n_classes)

    def forward(self, log_mels: Tensor) -> Tensor:
        """Return logits (B, C) of log-mels (B, 1, n_bands, n_steps)."""
        with autocast():
            found = self.network(log_mels).float().mean(1)
        return self.classes(self.dropout(found))  # type: ignore[no-any-return]


def make(
    labelled: LabelledClips, options: Options, work: Path, *, progress: bool = True
) -> tuple[Made, Measured]:
    """Return a fine-tuned classifier, and how good its int8 form is on clips it never heard."""
    base = trainable(encoders.base_of(options.base_model))
    return make_of(base, labelled, options, work, progress=progress)


def make_of(
    base: Base, labelled: LabelledClips, options: Options, work: Path, *, progress: bool = True
) -> tuple[Made, Measured]:
    """Return the same of any base."""
    front_end = base.lasting(options.window or windows.usual_seconds(labelled))
    clips = Clips(
        labelled,
        windows.windows_of(labelled, front_end, work, progress=progress),
        parts_of(labelled, options.seed),
    )
    result = trained(clips, base, options, work, progress=progress)
    tuned = cast(Tuned, result.network)
    made = converted(clips, tuned)
    weight, bias = (p.detach().numpy().copy() for p in tuned.classes.parameters())
    layer = Layer(weight, bias, np.full(len(bias), 0.5, np.float32), clips.kind)
    return finishing.finished(clips, made, layer, front_end, options, base, result.history)


def trainable(base: Base) -> Base:
    """Return a base without norms: small batches would undo what published ones know."""
    if not isinstance(base.network, Channels):
        return base
    student = cast(Student, quantize.folded(base.network.student))
    layers = bases.layers_of(student)
    return replace(base, network=Channels(student), layers=layers)


def trained(
    clips: Clips, base: Base, options: Options, work: Path | None, *, progress: bool = True
) -> fit.Result:
    """Return a base with classes that clips taught."""
    learn, choose = (clips.windows.of(part) for part in (clips.parts.learn, clips.parts.choose))
    torch.manual_seed(options.seed)
    return fit.fit(
        Tuned(base, len(clips.labelled.labels)),
        Mixtures(clips, learn, base, options.seed),
        lambda network: clips.by_clip(choose, _logits(network, clips, choose)),
        clips.kind,
        fit.Settings(
            epochs=options.epochs or _EPOCHS, batch=_BATCH, learning_rate=_RATE, seed=options.seed
        ),
        work,
        weights=fit.class_weights(clips.targets_of(learn)),
        rates=lambda network, rate: by_layer(base, cast(Tuned, network), rate),
        progress=progress,
    )


def by_layer(base: Base, tuned: Tuned, rate: float) -> list[dict[str, Any]]:
    """Return the optimiser's groups: the classes' rate is whole, and falls towards the input."""
    layers: Sequence[nn.Module] = base.layers or (tuned.network,)
    groups: list[dict[str, Any]] = [{"params": list(tuned.classes.parameters()), "lr": rate}]
    taken = {id(p) for p in tuned.classes.parameters()}
    for depth, layer in enumerate(reversed(layers), start=1):
        own = [p for p in layer.parameters() if id(p) not in taken]
        taken |= {id(p) for p in own}
        groups.append({"params": own, "lr": rate * _FALL**depth})
    rest = [p for p in tuned.parameters() if id(p) not in taken]
    groups.append({"params": rest, "lr": rate * _FALL ** len(layers)})
    return [group for group in groups if group["params"]]


@dataclass(frozen=True, slots=True)
class Mixtures:
    """Windows as lessons: mixed with each other, with bands and columns left out."""

    clips: Clips
    rows: Rows
    base: Base
    seed: int

    def steps(self, epoch: int, batch: int) -> list[tuple[int, Rows]]:
        """Return a pass's batches, each with a number for its own random choices."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
        parts = np.array_split(order, max(1, len(order) // batch))
        return [(epoch * len(parts) + i, np.sort(part)) for i, part in enumerate(parts)]

    def lesson(self, step: tuple[int, Rows]) -> tuple[tuple[Tensor], Tensor]:
        """Return log-mels (B, 1, n_bands, n_steps), and targets (B, C)."""
        number, rows = step
        rng = np.random.default_rng([self.seed, number, 1])
        mels = torch.from_numpy(self.clips.windows.log_mels[rows].astype(np.float32))
        targets = torch.from_numpy(self.clips.targets_of(rows))
        mels, targets = self._mixed(mels, targets, rng)
        masked = with_masks(mels, rng)[:, None]
        return (masked.contiguous(memory_format=torch.channels_last),), targets

    def _mixed(
        self, mels: Tensor, targets: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        n = round(_MIXED * len(mels))
        partners = rng.permutation(len(mels))[:n]
        gain_db = torch.from_numpy(rng.uniform(*_GAIN_DB, n).astype(np.float32))
        gain = 10 ** (gain_db / 20)
        both = mixed_log_mels(mels[:n], mels[partners], gain, self.base.front_end)
        share = (1 / (1 + gain**2))[:, None]
        joined = share * targets[:n] + (1 - share) * targets[partners]
        if self.clips.labelled.is_multi:
            joined = torch.maximum(targets[:n], targets[partners])
        return torch.cat([both, mels[n:]]), torch.cat([joined, targets[n:]])


def with_masks(log_mels: Tensor, rng: np.random.Generator) -> Tensor:
    """Return log-mels (B, n_bands, n_steps), some bands and columns of each at its mean.

    Source: Park et al., "SpecAugment", Interspeech 2019.
    """
    found = log_mels.clone()
    for one in found:
        mean = one.mean()
        for axis in (0, 1):
            n = one.shape[axis]
            width = int(rng.integers(0, max(1, round(_MASKED * n)) + 1))
            begin = int(rng.integers(0, n - width + 1))
            one.narrow(axis, begin, width).fill_(mean)
    return found


@torch.no_grad()
def _logits(network: nn.Module, clips: Clips, rows: Rows, batch: int = 32) -> Array:
    network.eval()
    found = []
    for begin in range(0, len(rows), batch):
        mels = clips.windows.log_mels[rows[begin : begin + batch]].astype(np.float32)
        given = torch.from_numpy(mels)[:, None].contiguous(memory_format=torch.channels_last)
        found.append(network(given).float())
    return torch.cat(found).numpy()


def converted(clips: Clips, tuned: Tuned) -> Trained:
    """Return everything up to the layer before the classes as .tflite, float and int8."""
    rows = clips.windows.of(clips.parts.learn)
    few = np.random.default_rng(0).permutation(rows)[: finishing.N_TYPICAL]
    base = tuned.network
    if isinstance(base, encoders.PatchColumns):
        mels = clips.windows.log_mels[few].astype(np.float32)
        return export.converted(_Mean(base.lasting(mels.shape[2])), mels)
    network = _pooling(base.student) if isinstance(base, Channels) else _Mean(base)
    typical = finishing.inputs_of(clips.windows, few, with_wave=False)
    example = (torch.from_numpy(typical[0][0]),)
    float_model = convert.to_float_of(convert.ChannelsLast(network), example)
    return Trained(float_model, convert.to_int8_of(float_model, typical))


def _pooling(student: Student) -> nn.Module:
    """Return a student up to its mean: the layer before the classes."""
    return nn.Sequential(student.input, student.stem, student.blocks, student.last, student.mean)


class _Mean(nn.Module):
    """The mean of a network's frames."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, log_mels: Tensor) -> Tensor:
        return self.network(log_mels).mean(1)  # type: ignore[no-any-return]
