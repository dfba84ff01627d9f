"""Distillation: a student learns to give the teachers' reduced embeddings, shard after shard.

The loss is SEA's regression onto the reduced embedding; "mse+cosine" adds the angle. A checkpoint
after every shard holds all state, so a run that was cut off continues as if nothing had happened.

Source: SEA (Srivastava et al., ICASSP 2021), section 2; AdamW with warm-up and cosine decay in its
place of Adam with plateaus, and an average of the weights over time, both of which reach the same
loss sooner.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from listen_embed.errors import InputError
from listen_embed.output import replacing
from listen_embed.training import timetable
from listen_embed.training.network import Student, Transformer
from listen_embed.training.reduction import Reduction
from listen_embed.training.shards import Shard
from listen_embed.training.streaming import Streamer

_LOG = logging.getLogger(__name__)

Loss = Literal["mse", "cosine", "mse+cosine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a student is trained.

    Parameters
    ----------
    n_shards : int
        Length of the run.
    batch : int
        Crops of one frame in a step; of longer ones it takes as many fewer.
    learning_rate : float
        Its peak; it rises over the first 4 % of the run and falls as a cosine to 1 %.
    weight_decay : float
    average : float
        Decay of the running average of the weights, which is what the run gives.
    loss : {"mse", "cosine", "mse+cosine"}
    seed : int
        Order of the crops within a shard.
    keep_zeros : bool
        Weights that are zero at the start stay zero: a pruned network stays pruned.
    """

    n_shards: int
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    average: float = 0.998
    loss: Loss = "mse+cosine"
    seed: int = 0
    keep_zeros: bool = False

    def changed(self, **values: Any) -> Settings:
        """Return these settings with some others."""
        return replace(self, **values)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one shard taught.

    Attributes
    ----------
    shard : int
        Shards so far.
    loss, error, cosine : float
        Training loss; on held-out crops, squared error over variance, and mean cosine to the
        target.
    """

    shard: int
    loss: float
    error: float
    cosine: float


def distil(
    student: nn.Module,
    shards: Callable[[int], Iterable[Shard]],
    held_out: Shard,
    reduction: Reduction,
    settings: Settings,
    folder: Path,
    *,
    stage: str = "distillation",
    progress: timetable.Shown = True,
) -> tuple[nn.Module, list[Lesson]]:
    """Return the trained student (a new module) and how it went.

    Parameters
    ----------
    student : nn.Module
        Takes (B, 1, n_bands, n_steps), gives (B, d), or (B, times, d); not changed.
    shards : callable
        Gives the shards from a number on.
    held_out : Shard
        Not trained on.
    reduction : Reduction
        Makes targets of teacher embeddings.
    settings : Settings
    folder : Path
        Holds the checkpoint; a run found there with the same settings is continued.
    stage : str
        What the progress bar calls it.
    progress : bool or Timetable
        Whether to show a progress bar.

    Raises
    ------
    InputError
        The folder holds a run with other settings.
    """
    run = _Run(student, settings, folder, held_out.features[0].shape[-1])
    run.resume()
    timetable.begin(progress, stage)
    bar = timetable.bar(
        progress, stage, total=settings.n_shards, initial=len(run.history), unit="shard"
    )
    with bar:
        for number, shard in enumerate(shards(len(run.history)), start=len(run.history)):
            if number == settings.n_shards:
                break
            loss = run.learn(shard.features[0], reduction(shard.targets), number)
            error, cosine = evaluate(
                run.averaged, held_out.features[0], reduction(held_out.targets)
            )
            run.history.append(Lesson(number + 1, loss, error, cosine))
            run.save()
            bar.set_postfix(cosine=f"{cosine:.4f}", error=f"{error:.4f}")
            bar.update()
    return run.averaged.eval(), run.history


@torch.no_grad()
def evaluate(
    student: nn.Module, features: Any, targets: Any, batch: int = 32
) -> tuple[float, float]:
    """Return squared error over variance, and mean cosine, of a student on crops."""
    given, wanted = _embedded(student, features, batch), torch.from_numpy(np.asarray(targets))
    error = (given - wanted).pow(2).sum() / (wanted - wanted.mean(0)).pow(2).sum()
    return float(error), float(torch.cosine_similarity(given, wanted, dim=-1).mean())


def _embedded(student: nn.Module, features: Any, batch: int) -> Tensor:
    """Return a student's embeddings in evaluation; it is left in the mode it was found in."""
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    try:
        inputs = (features[i : i + batch] for i in range(0, len(features), batch))
        return torch.cat([student(_as_input(part, device)).cpu() for part in inputs])
    finally:
        student.train(was_training)


@torch.no_grad()
def fit_linear(
    student: Student | Transformer | Streamer,
    features: Any,
    targets: NDArray[np.float32],
    ridge: float = 1e-2,
) -> None:
    """Set a student's readout to the ridge regression of targets on what it reads.

    A channel-pruned student knows much already, and a steady spectrum is nearly linear in what a
    transformer's short cut reads; this is the quickest way to ask for it.
    """
    device = next(student.parameters()).device
    batches = (_as_input(features[i : i + 32], device) for i in range(0, len(features), 32))
    was_training = student.training
    student.eval()
    pooled = torch.cat([student.pooled(batch) for batch in batches]).double().flatten(0, -2)
    student.train(was_training)
    wanted = torch.from_numpy(np.asarray(targets)).double().flatten(0, -2)
    mean = pooled.mean(0)
    centred = pooled - mean
    gram = centred.T @ centred
    penalty = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram + penalty, centred.T @ (wanted - wanted.mean(0)))
    student.set_readout(weights.T, wanted.mean(0) - mean @ weights)


class _Run:
    """All state of a training run."""

    def __init__(self, student: nn.Module, settings: Settings, folder: Path, n_steps: int) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Channels last is twice as fast on a CPU for narrow depthwise networks.
        channels_last = {"memory_format": torch.channels_last}
        self.student = copy.deepcopy(student).to(device, **channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.student)
        self.optimizer = torch.optim.AdamW(
            _decayed(self.student, settings.weight_decay), lr=settings.learning_rate
        )
        self.settings = settings
        matrices = [p for p in self.student.parameters() if p.ndim > 1]
        self._masks = [(p, p.detach() != 0) for p in matrices] if settings.keep_zeros else []
        self.step = 0
        self.history: list[Lesson] = []
        self._device = device
        self._n_steps = n_steps  # columns of one frame
        self._checkpoint = folder / "checkpoint.pt"
        self._log = folder / "history.json"
        folder.mkdir(parents=True, exist_ok=True)

    def learn(self, features: Any, targets: Any, number: int) -> float:
        """Take one shard's steps; return the mean loss."""
        self.student.train()
        order = np.random.default_rng([self.settings.seed, number]).permutation(len(features))
        batch = max(1, self.settings.batch * self._n_steps // features.shape[-1])
        total_steps = self.settings.n_shards * (len(features) // batch)
        losses = []
        for rows in _batches(order, batch):
            self._set_rate(total_steps)
            given = self.student(_as_input(features[rows], self._device))
            wanted = torch.from_numpy(targets[rows]).to(self._device)
            loss = loss_of(given, wanted, self.settings.loss)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
            self.optimizer.step()
            self._clear_pruned()
            self._average()
            self.step += 1
            losses.append(loss.item())
        return float(np.mean(losses))

    def _set_rate(self, total_steps: int) -> None:
        warm_up = max(1, total_steps // 25)
        rising = min(1.0, (self.step + 1) / warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rising * falling(self.step / total_steps)

    @torch.no_grad()
    def _clear_pruned(self) -> None:
        for weight, mask in self._masks:
            weight *= mask

    @torch.no_grad()
    def _average(self) -> None:
        """Follow the student; early on more closely, since there is little to average yet."""
        keep = min(self.settings.average, (1 + self.step) / (10 + self.step))
        for slow, fast in zip(
            self.averaged.state_dict().values(), self.student.state_dict().values(), strict=True
        ):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - keep)
            else:
                slow.copy_(fast)

    def save(self) -> None:
        """Write the checkpoint and the curve, each at once."""
        state = {
            "student": self.student.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "settings": json.dumps(asdict(self.settings)),
            "history": json.dumps([asdict(row) for row in self.history]),
        }
        with replacing(self._checkpoint) as file:
            torch.save(state, file)
        rows = [asdict(row) for row in self.history]
        with replacing(self._log) as file:
            file.write(json.dumps(rows, indent=1).encode())

    def resume(self) -> None:
        """Take up the run that the folder holds, if any."""
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint, map_location=self._device, weights_only=True)
        if json.loads(state["settings"]) != asdict(self.settings):
            raise InputError(
                f"{self._checkpoint.parent} holds a run with other settings "
                f"({state['settings']}); continue with those, or choose another folder"
            )
        self.student.load_state_dict(state["student"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.history = [Lesson(**row) for row in json.loads(state["history"])]
        _LOG.info("continuing after shard %d", len(self.history))


def falling(done: float) -> float:
    """Return the share of a learning rate that is left: a cosine from 1 down to 1 %."""
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def loss_of(given: Tensor, wanted: Tensor, loss: Loss) -> Tensor:
    """Return the batch's loss; "mse" is relative to targets of unit variance."""
    terms = []
    if "mse" in loss:
        terms.append((given - wanted).pow(2).mean())
    if "cosine" in loss:
        terms.append(1 - torch.cosine_similarity(given, wanted, dim=-1).mean())
    return torch.stack(terms).sum()


def _as_input(features: Any, device: torch.device) -> Tensor:
    batch = torch.from_numpy(np.asarray(features, np.float32))[:, None]
    return batch.to(device, memory_format=torch.channels_last)


def _batches(order: Any, size: int) -> Iterator[Any]:
    """Yield full batches; sorted rows read a memory-mapped file in one sweep."""
    for begin in range(0, len(order) - size + 1, size):
        yield np.sort(order[begin : begin + size])


def _decayed(student: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and kernels only: norms and biases have no reason to shrink."""
    matrices = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
