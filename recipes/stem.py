"""A cheaper beginning for a student that knows much: one coarse stage in the place of a fine one.

mn04's first convolutions give pictures of 64 x 50 pixels with 8 and 24 channels: a sixth of a
student's products, but a third of its time in eight bits, and most of what a microcontroller stores
in between. One convolution of 5 x 3, four bands and two columns further each time, and a separable
one behind it give pictures of the same 16 x 32 x 25 sooner. They learn to give what the old ones
give, each from its own front end; then the whole student learns on (`lite.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from listen_embed.output import replacing
from listen_embed.training.distill import falling
from listen_embed.training.network import Block, Student
from listen_embed.training.shards import Recipe, Shard, shards

CHANNELS = 32
N_REPLACED = 2  # blocks of the old student that the new stem and its one block stand for
N_SHARDS, BATCH, RATE = 14, 32, 3e-3


def with_coarse_stem(old: Student, recipe: Recipe, folder: Path, workers: int = 1) -> Student:
    """Return a student that begins anew and goes on as the old one does.

    Parameters
    ----------
    old : Student
        Not changed, but what lies behind its first blocks is shared.
    recipe : Recipe
        Its two front ends are the old student's and the new one's.
    folder : Path
        Keeps the shards, and what the stem has learnt when it is done.
    workers : int
        Processes that prepare shards.
    """
    new, kept = begun_anew(old), folder / "stem.pt"
    beginning = nn.Sequential(new.stem, new.blocks[0])
    if kept.exists():
        beginning.load_state_dict(torch.load(kept, weights_only=True))
    else:
        _teach(beginning, _first_stage(old), recipe, folder, workers)
        with replacing(kept) as file:
            torch.save(beginning.state_dict(), file)
    return new.eval()


def begun_anew(old: Student) -> Student:
    """Return the student with an untrained stem and first block."""
    torch.manual_seed(0)
    before = old.architecture
    first = Block(3, 1, CHANNELS, before.blocks[N_REPLACED - 1].out, 0, "relu", expands=False)
    new = Student(
        replace(
            before,
            stem=CHANNELS,
            stem_kernel=(5, 3),
            stem_stride=(4, 2),
            stem_activation="relu",
            blocks=(first, *before.blocks[N_REPLACED:]),
        )
    )
    new.blocks = nn.Sequential(new.blocks[0], *old.blocks[N_REPLACED:])
    new.last, new.to_embedding = old.last, old.to_embedding
    return new


def _first_stage(student: Student) -> nn.Module:
    return nn.Sequential(student.stem, *student.blocks[:N_REPLACED]).eval()


def _teach(new: nn.Module, old: nn.Module, recipe: Recipe, folder: Path, workers: int) -> None:
    """Regress the new stage onto the old one, every channel as important as the others."""
    new.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    n_steps = N_SHARDS * (recipe.size // BATCH)
    optimizer = torch.optim.AdamW(new.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step / n_steps))
    scale: Tensor | None = None
    bar = tqdm(_batches(recipe, folder, workers), total=n_steps, desc="a coarse stem", unit="step")
    for fine, coarse in bar:
        with torch.no_grad():
            wanted = old(fine)
        if scale is None:
            scale = wanted.std((0, 2, 3), keepdim=True)
        loss = ((new(coarse) - wanted) / scale).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(error=f"{loss.item():.3f}", refresh=False)


def _share(done: float) -> float:
    """Return the share of the rate: it rises over 5 % of the way, and falls as a cosine."""
    return min(1.0, 20 * done + 0.01) * falling(done)


def _batches(recipe: Recipe, folder: Path, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    for number, shard in enumerate(shards(folder, recipe, 0, N_SHARDS, workers)):
        order = np.random.default_rng(number).permutation(recipe.size)
        for begin in range(0, recipe.size, BATCH):
            yield _pictures(shard, np.sort(order[begin : begin + BATCH]))


def _pictures(shard: Shard, rows: Any) -> tuple[Tensor, Tensor]:
    """Return crops as both front ends hear them."""
    heard = (torch.from_numpy(f[rows].astype(np.float32))[:, None] for f in shard.features)
    fine, coarse = (x.to(memory_format=torch.channels_last) for x in heard)
    return fine, coarse
