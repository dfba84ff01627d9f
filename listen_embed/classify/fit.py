"""Training with an eye on held-out clips: the best state wins, and a cut-off run goes on.

The loss is cross-entropy with soft targets, or one binary cross-entropy per label; rare classes
weigh more. A checkpoint after every pass holds all state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from listen_embed.atomic import replacing
from listen_embed.classify import scores
from listen_embed.classify.layer import Kind, activated
from listen_embed.classify.options import CHECKPOINT
from listen_embed.errors import InputError
from listen_embed.training import timetable
from listen_embed.training.distill import falling

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a network is trained.

    Parameters
    ----------
    epochs, batch : int
        Passes at most; windows in a step.
    learning_rate : float
        Its peak; it rises over the first 5 % of the run and falls as a cosine.
    weight_decay : float
    smoothing : float
        Share of a softmax target that is spread over all classes.
    patience : int
        Passes without a better score on held-out clips, after which it ends.
    seed : int
    """

    epochs: int = 30
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    smoothing: float = 0.1
    patience: int = 8
    seed: int = 0


def settings_of(kind: Kind, *, epochs: int, seed: int) -> Settings:
    """Return what suits what is behind frozen parts.

    Where clips have several of many labels, one label is seldom heard in a step: steps are longer
    and more; chosen on held-out mixtures of ESC-50.
    """
    if kind == "softmax":
        return Settings(epochs=epochs, seed=seed)
    return Settings(epochs=epochs, batch=32, learning_rate=5e-3, seed=seed)


class Lessons(Protocol):
    """What there is to learn from."""

    def steps(self, epoch: int, batch: int) -> Sequence[Any]:
        """Return a pass's batches, as `lesson` takes them."""

    def lesson(self, step: Any) -> tuple[tuple[Tensor | None, ...], Tensor]:
        """Return a batch: what the network takes, and targets (B, C)."""


@dataclass(slots=True)
class Result:
    """A trained network, in evaluation, and a row for each pass."""

    network: nn.Module
    history: list[dict[str, float]]


def fit(
    network: nn.Module,
    lessons: Lessons,
    judge: Callable[[nn.Module], tuple[Array, Array]],
    kind: Kind,
    settings: Settings,
    folder: Path | None = None,
    *,
    weights: Tensor | None = None,
    rates: Callable[[nn.Module, float], list[dict[str, Any]]] | None = None,
    progress: timetable.Shown = True,
) -> Result:
    """Return a network trained until held-out clips no longer gain by it.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    lessons : Lessons
    judge : callable
        Gives targets and logits of the held-out clips by a network, (N, C) each.
    kind : {"softmax", "sigmoid"}
    settings : Settings
    folder : Path, optional
        Holds the checkpoint; a run found there with the same settings is continued.
    weights : Tensor, optional
        Of the classes in the loss, (C,).
    rates : callable, optional
        Gives the optimiser's groups of a network at a learning rate; None is one rate for all.

    Raises
    ------
    InputError
        The folder holds a run with other settings.
    """
    run = _Run(network, settings, folder, rates or _one_rate)
    run.resume()
    bar = timetable.bar(progress, "training", total=settings.epochs, initial=run.epoch,
                        unit="pass", delay=2)  # fmt: skip
    with bar:
        while run.epoch < settings.epochs and not run.is_over:
            loss = run.learn(lessons, kind, weights)
            run.judge(*judge(run.averaged.eval()), kind, loss)
            run.save()
            bar.set_postfix(loss=f"{loss:.3f}", held_out=f"{run.history[-1]['score']:.4f}")
            bar.update()
    return Result(run.finished(), run.history)


def class_weights(targets: Array) -> Tensor:
    """Return weights (C,), mean 1: the root of how much rarer a class is than the others."""
    counts = np.maximum(targets.sum(0), 1)
    found = np.sqrt(counts.mean() / counts)
    return torch.from_numpy((found / found.mean()).astype(np.float32))


def loss_of(
    logits: Tensor, targets: Tensor, kind: Kind, smoothing: float, weights: Tensor | None
) -> Tensor:
    """Return a batch's loss of logits and targets (B, C)."""
    if kind == "sigmoid":
        terms = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (terms if weights is None else terms * weights).sum(1).mean()
    soft = targets * (1 - smoothing) + smoothing / targets.shape[1]
    each = -(soft * torch.log_softmax(logits, dim=1))
    return (each if weights is None else each * weights).sum(1).mean()


def _one_rate(network: nn.Module, rate: float) -> list[dict[str, Any]]:
    return [{"params": list(network.parameters()), "lr": rate}]


class _Run:
    """All state of a training."""

    def __init__(
        self,
        network: nn.Module,
        settings: Settings,
        folder: Path | None,
        rates: Callable[[nn.Module, float], list[dict[str, Any]]],
    ) -> None:
        torch.manual_seed(settings.seed)
        self.network, self.settings = network, settings
        self.averaged = copy.deepcopy(network)
        self.best = copy.deepcopy(network.state_dict())
        self.best_score = -math.inf
        groups = rates(network, settings.learning_rate)
        self._peaks = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self.epoch, self.step, self.last_gain = 0, 0, 0
        self.history: list[dict[str, float]] = []
        self._checkpoint = None if folder is None else folder / CHECKPOINT

    @property
    def is_over(self) -> bool:
        """Whether there was no gain for too long."""
        return self.epoch - self.last_gain >= self.settings.patience

    def learn(self, lessons: Lessons, kind: Kind, weights: Tensor | None) -> float:
        """Take one pass's steps; return the mean loss."""
        steps = lessons.steps(self.epoch, self.settings.batch)
        self.network.train()
        losses = []
        for step in steps:
            self._set_rate(len(steps) * self.settings.epochs)
            given, targets = lessons.lesson(step)
            logits = self.network(*given).float()
            loss = loss_of(logits, targets, kind, self.settings.smoothing, weights)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self.step += 1
            self._average()
            losses.append(loss.item())
        self.epoch += 1
        return float(np.mean(losses))

    def _set_rate(self, total_steps: int) -> None:
        rising = min(1.0, (self.step + 1) / max(1, total_steps // 20))
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * rising * falling(self.step / total_steps)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(0.99, (1 + self.step) / (10 + self.step))
        pairs = zip(
            self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True
        )
        for slow, fast in pairs:
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - keep)
            else:
                slow.copy_(fast)

    def judge(self, targets: Array, logits: Array, kind: Kind, loss: float) -> None:
        """Take note of how good the averaged network is, and keep the best."""
        found = activated(logits.astype(np.float64), kind)
        judged = scores.mean_of_both if kind == "softmax" else scores.mean_average_precision
        score = judged(targets, found)
        if score > self.best_score:
            self.best_score, self.last_gain = score, self.epoch
            self.best = copy.deepcopy(self.averaged.state_dict())
        self.history.append({"epoch": self.epoch, "loss": loss, "score": score})

    def finished(self) -> nn.Module:
        """Return the best network, in evaluation."""
        self.network.load_state_dict(self.best)
        return self.network.eval()

    def save(self) -> None:
        """Write the checkpoint at once."""
        if self._checkpoint is None:
            return
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "counts": [self.epoch, self.step, self.last_gain],
            "best_score": self.best_score,
            "history": self.history,
            "settings": asdict(self.settings),
        }
        with replacing(self._checkpoint) as file:
            torch.save(state, file)

    def resume(self) -> None:
        """Take up the run that the folder holds, if any."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint, weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise InputError(
                f"{self._checkpoint.parent} holds a run with other settings "
                f"({state['settings']}); continue with those, or delete it"
            )
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step, self.last_gain = state["counts"]
        self.best, self.best_score = state["best"], state["best_score"]
        self.history = state["history"]
