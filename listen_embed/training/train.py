"""The one training story: a plan and material -> a trained student -> a model folder.

Start, reduce, distil, prune weights if asked for, fine-tune for int8, convert. Every stage leaves
its checkpoints in a folder of its own, and a call with the same plan goes on where the last one was
cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from listen_embed.spec import FrontEnd
from listen_embed.training import convert, export, pruning, quantize, report, timetable
from listen_embed.training.distill import Lesson, Settings, distil, fit_linear
from listen_embed.training.export import Identity, Trained
from listen_embed.training.network import Student, Transformer
from listen_embed.training.reduction import Reduction
from listen_embed.training.shards import Recipe, Shard, shards
from listen_embed.training.starts import Start
from listen_embed.training.streaming import Stepping, Streamer
from listen_embed.training.verdict import Verdict

# Shard 0 is held out: it prunes and measures, and no step is taken on it.
_FIRST_SHARD = 1
# Shards whose teacher embeddings the reduction is fitted on, the held-out one among them.
_REDUCTION_SHARDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one student is made.

    Parameters
    ----------
    identity : Identity
        Its name, licence and origin.
    front_end : FrontEnd
        What it takes; one of its material's.
    start : callable
        Gives the untrained student from typical features.
    reduce : callable
        Gives the reduction from teacher embeddings (N, D).
    distillation : Settings, optional
        None goes on with a student that was distilled before.
    int8 : Settings, optional
        Of the fine-tuning for int8; None leaves it out.
    sparsity : float
        Share of zero weights, by EdgeL3's schedule, in [0, 1); trained again after pruning.
    activations : {8, 32}
        Bits of the model's activations: int8, or float32 behind int8 weights.
    ridge : float, optional
        Fits the student's readout before training, by a ridge regression of this strength.
    folds_first : bool
        Train without batch-norms. Those of a published network fit what it was trained on;
        statistics of our batches in their place would undo what it knows.
    stepping : Stepping, optional
        Of a student that streams: its start gives a `Streamer`.
    """

    identity: Identity
    front_end: FrontEnd
    start: Start
    reduce: Callable[[NDArray[np.float32]], Reduction]
    distillation: Settings | None
    int8: Settings | None
    sparsity: float = 0.0
    activations: Literal[8, 32] = 8
    ridge: float | None = None
    folds_first: bool = False
    stepping: Stepping | None = None

    @property
    def heard(self) -> FrontEnd:
        """The front end of the model that this gives."""
        return self.stepping.front_end(self.front_end) if self.stepping else self.front_end

    @property
    def retraining(self) -> Settings:
        """Settings of the training after weights were pruned: a third as long, a third as fast."""
        full = self.distillation
        assert full is not None, "weights are pruned after a distillation"
        return full.changed(
            n_shards=max(1, full.n_shards // 3), learning_rate=full.learning_rate / 3
        )


@dataclass(frozen=True, slots=True)
class Material:
    """What students learn from.

    Parameters
    ----------
    recipe : Recipe
    folder : Path
        Holds the shards.
    n_shards : int
        Shards that exist beside the held-out one; a longer training goes through them again.
    workers : int
        Processes that prepare shards.
    """

    recipe: Recipe
    folder: Path
    n_shards: int
    workers: int = 1

    def shards(self, front_end: FrontEnd, first: int, last: int) -> Iterator[Shard]:
        """Yield shards by number, as one front end hears them; past the last they come again."""
        which = self.recipe.front_ends.index(front_end)
        for begin, end in self._stretches(first, last):
            for shard in shards(self.folder, self.recipe, begin, end, self.workers):
                yield Shard((shard.features[which],), shard.targets)

    def _stretches(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        while first < last:
            begin = _FIRST_SHARD + (first - _FIRST_SHARD) % self.n_shards if first else 0
            end = min(begin + last - first, _FIRST_SHARD + self.n_shards)
            yield begin, end
            first += end - begin

    def held_out(self, front_end: FrontEnd) -> Shard:
        """Return shard 0, which nothing is trained on."""
        return next(self.shards(front_end, 0, 1))

    def targets(self) -> NDArray[np.float32]:
        """Return the teacher embeddings (N, D) that a reduction is fitted on."""
        last = min(_REDUCTION_SHARDS, _FIRST_SHARD + self.n_shards)
        few = self.shards(self.recipe.front_ends[0], 0, last)
        return np.concatenate([s.targets.reshape(-1, s.targets.shape[-1]) for s in few])


@dataclass(frozen=True, slots=True)
class Split:
    """The held-out crops, each for one purpose.

    Attributes
    ----------
    progress : Shard
        Watched while a student learns; channels are pruned by them.
    calibration : Shard
        Give the ranges of the int8 activations.
    measurement : Shard
        Seen by nothing but the report.
    """

    progress: Shard
    calibration: Shard
    measurement: Shard

    @classmethod
    def of(cls, held_out: Shard) -> Split:
        """Split a shard: a quarter, a quarter, and the rest."""
        quarter = len(held_out.targets) // 4
        bounds = (slice(quarter), slice(quarter, 2 * quarter), slice(2 * quarter, None))
        return cls(*(held_out.part(rows) for rows in bounds))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training gives, and what a report tells of it."""

    trained: Trained
    reduction: Reduction
    history: list[Lesson]
    measurement: Shard


def train(
    plan: Plan, material: Material, folder: Path, *, progress: timetable.Shown = True
) -> Outcome:
    """Return a plan's student, trained and converted.

    Parameters
    ----------
    plan : Plan
    material : Material
    folder : Path
        Holds the checkpoints; stages found there are continued.
    progress : bool or Timetable
        Whether to show progress bars.

    Raises
    ------
    InputError
        The folder holds a run with other settings, or shards of another recipe.
    """
    split = Split.of(material.held_out(plan.front_end))
    reduction = plan.reduce(material.targets())
    history: list[Lesson] = []

    def teach(student: nn.Module, stage: str, settings: Settings) -> nn.Module:
        last = _FIRST_SHARD + settings.n_shards
        taught, lessons = distil(
            student,
            lambda number: material.shards(plan.front_end, _FIRST_SHARD + number, last),
            split.progress,
            reduction,
            settings,
            folder / stage,
            stage=stage,
            progress=progress,
        )
        history.extend(lessons)
        return taught

    student = _started(plan, material, split, reduction)
    if plan.distillation:
        student = teach(student, "distillation", plan.distillation)
    if plan.sparsity:
        student = teach(_sparse(student, plan.sparsity), "retraining", plan.retraining)
    if plan.int8:
        rounding = quantize.prepare(student, plan.activations)
        if isinstance(rounding, Streamer):
            rounding.bound()
            _fit_readout(rounding, plan, material, reduction)
        student = teach(rounding, "int8", plan.int8)
        student = quantize.finish(student)
    timetable.begin(progress, "conversion")
    return Outcome(_converted(plan, student, split), reduction, history, split.measurement)


def write(
    folder: Path,
    plan: Plan,
    outcome: Outcome,
    settings: Mapping[str, Any],
    judge: Callable[[Path], Verdict | None] = lambda folder: None,
) -> None:
    """Write a model folder with its report; `judge` is given the folder before it is in place."""

    def complete(place: Path) -> None:
        figures = report.measure(outcome.trained, outcome.measurement, outcome.reduction)
        verdict = judge(place)
        report.write(place, figures, outcome.reduction, outcome.history, verdict, folder.name)
        export.write_card(
            place, plan.identity, plan.heard, outcome.trained, settings,
            report.in_words(figures, verdict), folder.name,
        )  # fmt: skip

    export.write_folder(folder, plan.identity, plan.heard, outcome.trained, complete)


def _started(plan: Plan, material: Material, split: Split, reduction: Reduction) -> nn.Module:
    typical = np.asarray(split.progress.features[0], np.float32)
    student = plan.start(torch.from_numpy(typical)[:, None])
    _fit_readout(student, plan, material, reduction)
    return quantize.folded(student) if plan.folds_first else student


def _fit_readout(
    student: Student | Transformer | Streamer,
    plan: Plan,
    material: Material,
    reduction: Reduction,
) -> None:
    if plan.ridge is not None:
        first = next(material.shards(plan.front_end, _FIRST_SHARD, _FIRST_SHARD + 1))
        fit_linear(student, first.features[0], reduction(first.targets), plan.ridge)


def _sparse(student: nn.Module, sparsity: float) -> nn.Module:
    n_layers = sum(isinstance(module, nn.Conv2d) for module in student.modules())
    shares = pruning.schedule(n_layers, sparsity)
    return pruning.prune_magnitude(quantize.folded(student), shares)


def _converted(plan: Plan, student: nn.Module, split: Split) -> Trained:
    n_bands, n_steps = plan.heard.input_shape
    if isinstance(student, Streamer):
        step = convert.to_float_step(student, (n_bands, n_steps))
        return Trained(step, convert.to_int8_weights(step), student.stepping, student.state_names)
    float_model = convert.to_float(student, (n_bands, n_steps))
    if plan.activations == 32:
        return Trained(float_model, convert.to_int8_weights(float_model))
    typical = np.asarray(split.calibration.features[0], np.float32)
    return Trained(float_model, convert.to_int8(float_model, typical))
