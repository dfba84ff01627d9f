"""The training loop: steps, checkpoints, and going on after them; on one device or many.

Started by ``torchrun`` every process takes its part of each batch, and the gradients' mean is that
of the whole batch, so that the losses are those of one process.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from listen_embed.atomic import replacing
from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.pretrain import material
from listen_embed.pretrain.material import Clips, Material
from listen_embed.pretrain.method import Batch, Losses, Method
from listen_embed.training.distill import falling
from listen_embed.training.precision import Precision, autocast

_LOG = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
_PREVIOUS = "checkpoint.previous.pt"
_SECONDS_BETWEEN = 60.0
_STEPS_A_ROW = 20  # of the history


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an encoder is trained.

    Parameters
    ----------
    n_steps : int
    learning_rate : float
        Its peak, after the first 5 % of the run; it falls as a cosine.
    weight_decay : float
    seed : int
        Of the weights at the start.
    precision : {"auto", "float32", "bfloat16"}
        "auto" takes bfloat16 where the processor multiplies matrices in it.
    workers : int
        Processes that prepare batches.
    """

    n_steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0
    precision: Precision = "auto"
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the history: the means over some steps.

    Attributes
    ----------
    step : int
        Steps so far.
    loss : float
    parts : dict of str to float
    """

    step: int
    loss: float
    parts: dict[str, float]


class Run:
    """A run and all its state.

    Attributes
    ----------
    step : int
        Steps so far.
    history : list of Row
    scores : list of (int, float)
        What a probe said after so many steps; the caller's to fill, kept in the checkpoint.

    Parameters
    ----------
    method : Method
    sounds : Material
    settings : Settings
    folder : Path
        Holds the checkpoint; a run found there is continued.
    facts : dict
        What must be the same for a run to be continued, beside `settings`.
    name_of : callable
        Names a crop for people, given its place in the corpus.
    """

    def __init__(
        self,
        method: Method,
        sounds: Material,
        settings: Settings,
        folder: Path,
        facts: dict[str, Any],
        name_of: Callable[[int], str] = str,
    ) -> None:
        self.device = _device()
        self.method = method.to(self.device)
        self.settings = settings
        self.step = 0
        self.history: list[Row] = []
        self.scores: list[tuple[int, float]] = []
        self._sounds = sounds
        self._folder = folder
        self._name_of = name_of
        self._facts = json.loads(json.dumps(facts | _deciding(settings)))
        self._optimizer = torch.optim.AdamW(
            _decayed(method, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, 0.98)
        )
        self._network: nn.Module = method
        if distributed.is_available() and distributed.is_initialized():
            self._network = DistributedDataParallel(method)
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def train(self, until: int) -> Iterator[Losses]:
        """Take the steps up to but not including `until`, and yield their losses.

        Raises
        ------
        ListenEmbedError
            A loss is not finite, or the memory does not suffice; the last checkpoint is good.
        """
        saved = time.monotonic()
        made = material.batches(self._sounds, self.step, until, self.settings.workers)
        try:
            for clips in made:
                with _enough_memory(self._sounds.batch):
                    losses = self._learn(clips)
                self.step += 1
                self._note(losses)
                if time.monotonic() - saved > _SECONDS_BETWEEN:
                    self.save()
                    saved = time.monotonic()
                yield losses
        except KeyboardInterrupt:
            self.save()
            raise
        self.save()

    def _learn(self, clips: Clips) -> Losses:
        self._network.train()
        self._set_rate()
        with autocast(self.device, self.settings.precision):
            losses = cast(Losses, self._network(as_batch(clips, self.device)))
        self._check_finite(losses.total, clips)
        self._optimizer.zero_grad()
        losses.total.mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.method.parameters(), 3.0)
        self._optimizer.step()
        self.method.after_step(self.step / self.settings.n_steps)
        return losses

    def _check_finite(self, total: Tensor, clips: Clips) -> None:
        broken = (~torch.isfinite(total)).nonzero().flatten().tolist()
        if broken:
            names = ", ".join(self._name_of(int(clips.crops[row])) for row in broken[:3])
            raise ListenEmbedError(
                f"step {self.step + 1}: the loss is not finite for {names}; the checkpoint of "
                f"{self._folder} is from before. Lower --learning-rate, or leave the recording out"
            )

    def _set_rate(self) -> None:
        share = self.step / self.settings.n_steps
        rising = min(1.0, (share + 1 / self.settings.n_steps) / 0.05)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rising * falling(share)

    def _note(self, losses: Losses) -> None:
        row = Row(
            self.step,
            _mean(losses.total),
            {name: _mean(part) for name, part in losses.parts.items()},
        )
        n = (self.step - 1) % _STEPS_A_ROW
        if n and self.history:
            row = _averaged(self.history.pop(), row, n)
        self.history.append(row)

    def save(self) -> None:
        """Write the checkpoint; the one before is kept beside it."""
        if _rank() != 0:
            return
        state = {
            "method": self.method.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "facts": json.dumps(self._facts, sort_keys=True),
            "history": json.dumps([asdict(row) for row in self.history]),
            "scores": json.dumps(self.scores),
        }
        latest = self._folder / CHECKPOINT
        if latest.exists():
            os.replace(latest, self._folder / _PREVIOUS)
        with replacing(latest) as file:
            torch.save(state, file)

    def _resume(self) -> None:
        places = [self._folder / CHECKPOINT, self._folder / _PREVIOUS]
        found = [place for place in places if place.exists()]
        for place in found:
            state = _loaded(place, self.device)
            if state is not None:
                self._take_up(state, place)
                return
        if found:
            raise InputError(
                f"{found[0]} is damaged, and no older checkpoint is whole; delete {self._folder} "
                "to start again"
            )

    def _take_up(self, state: dict[str, Any], place: Path) -> None:
        theirs = json.loads(state["facts"])
        others = [name for name in self._facts if self._facts[name] != theirs.get(name)]
        if others:
            changes = (f"{n} was {theirs.get(n)!r}, is {self._facts[n]!r}" for n in others)
            raise InputError(
                f"{place} is of a run with other settings ({'; '.join(changes)}); continue with "
                "those, or choose another folder"
            )
        self.method.load_state_dict(state["method"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.history = [Row(**row) for row in json.loads(state["history"])]
        self.scores = [(step, score) for step, score in json.loads(state["scores"])]
        _LOG.info("continuing after step %d", self.step)


def _deciding(settings: Settings) -> dict[str, Any]:
    """Return the settings that decide what comes out, but for rounding."""
    deciding = asdict(settings)
    for name in ("workers", "precision"):
        del deciding[name]
    return deciding


def _loaded(place: Path, device: torch.device) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = torch.load(place, map_location=device, weights_only=True)
    except Exception as error:  # torch names no common kind for what a broken file raises
        _LOG.warning("%s cannot be read (%s)", place, error)
        return None
    return state


@contextmanager
def _enough_memory(batch: int) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _no_memory(batch) from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise _no_memory(batch) from error


def _no_memory(batch: int) -> ListenEmbedError:
    return ListenEmbedError(
        f"the memory does not suffice for {batch} clips at once; lower --batch, or take a smaller "
        "--size"
    )


def as_batch(clips: Clips, device: torch.device) -> Batch:
    """Return clips as tensors of a device."""
    log_mels = torch.from_numpy(np.ascontiguousarray(clips.log_mels))
    masks = torch.from_numpy(np.ascontiguousarray(clips.masks))
    return Batch(log_mels.to(device), masks.to(device))


def _decayed(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices only; tokens, positions, norms and biases have no reason to shrink."""
    trained = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim == 2]
    others = [p for p in trained if p.ndim != 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _mean(values: Tensor) -> float:
    mean = values.detach().float().mean()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(mean)
        mean /= distributed.get_world_size()
    return float(mean)


def _averaged(so_far: Row, row: Row, n: int) -> Row:
    def mean(old: float, new: float) -> float:
        return (n * old + new) / (n + 1)

    parts = {name: mean(so_far.parts[name], value) for name, value in row.parts.items()}
    return Row(row.step, mean(so_far.loss, row.loss), parts)


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _rank() -> int:
    is_shared = distributed.is_available() and distributed.is_initialized()
    return distributed.get_rank() if is_shared else 0


@contextmanager
def shared_run() -> Iterator[tuple[int, int]]:
    """Join the processes that ``torchrun`` started; give this one's number, and how many."""
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if n_processes == 1:
        yield 0, 1
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(_device())
    distributed.init_process_group(backend)
    try:
        yield distributed.get_rank(), n_processes
    finally:
        distributed.destroy_process_group()
