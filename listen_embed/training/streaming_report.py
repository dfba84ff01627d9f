"""What a report says of a student that streams: how well it follows, and how fast it forgets."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from listen_embed.runtime import Network
from listen_embed.training.export import Trained
from listen_embed.training.streaming import Stepping

Array = NDArray[np.float32]

# Pairs of crops, and how many crops follow each.
_N_PAIRS = 32
_N_FOLLOWING = 3


def run(trained: Trained, model: bytes, features: Array) -> tuple[Array, float]:
    """Return the embeddings that training compares, (N * (times + 1), d), and ms of one step."""
    assert trained.stepping is not None
    network = Network(model, threads=1, state=trained.state)
    network(_windows(trained.stepping, features[0]))
    begin = time.perf_counter()
    steps = np.stack([network(_windows(trained.stepping, crop)) for crop in features])
    n_run = steps.shape[0] * steps.shape[1]
    per_step = 1000 * (time.perf_counter() - begin) / n_run
    compared = trained.stepping.compared(torch.from_numpy(steps)).numpy()
    return compared.reshape(-1, compared.shape[-1]), per_step


def memory(trained: Trained, features: Array) -> dict[str, Any]:
    """Return the size of a state, and how fast what was in it fades; nothing without a state."""
    if trained.stepping is None:
        return {}
    network = Network(trained.int8_model, threads=1, state=trained.state)
    n_needed = 2 + _N_FOLLOWING
    crops = [_windows(trained.stepping, crop) for crop in features[: _N_PAIRS + n_needed]]
    apart = []
    for i in range(len(crops) - n_needed):
        one, other, *then = crops[i : i + n_needed]
        apart.append(_apart(network, one, other, np.concatenate(then)))
    distances = np.stack(apart)
    fading = (distances[:, 1:] / distances[:, :1]).mean(axis=0)
    return {"state_bytes": network.state_bytes, "forgetting": fading.tolist()}


def _apart(network: Network, one: Array, other: Array, then: Array) -> Array:
    """Return how far apart two pasts leave the embeddings: before a common sound, and during it."""
    runs = network.start(), network.start()
    before = [run(past)[-1:] for run, past in zip(runs, (one, other), strict=True)]
    during = [run(then) for run in runs]
    paths = [np.concatenate(pair) for pair in zip(before, during, strict=True)]
    distances: Array = np.linalg.norm(paths[0] - paths[1], axis=1)
    return distances


def in_words(state_bytes: int, forgetting: list[float], step_seconds: float = 0.1) -> str:
    """Return the memory's size and the forgetting as Markdown."""
    times = {share: _seconds_until(forgetting, share, step_seconds) for share in (0.5, 0.1, 0.01)}
    rows = "\n".join(f"| {share:.0%} | {seconds} |" for share, seconds in times.items())
    return (
        f"\nIt remembers {state_bytes:,} bytes from step to step, and nothing else. Of what tells "
        "two pasts apart, a sound that follows both leaves:\n\n"
        f"| left in the embedding | after |\n|--:|--:|\n{rows}\n"
    )


def _seconds_until(forgetting: list[float], share: float, step_seconds: float) -> str:
    below = [step for step, left in enumerate(forgetting, start=1) if left <= share]
    if not below:
        return f"more than {len(forgetting) * step_seconds:.1f} s"
    return f"{below[0] * step_seconds:.1f} s"


def _windows(stepping: Stepping, crop: Array) -> Array:
    windows: Array = stepping.windows(torch.from_numpy(crop)[None, None])[0].numpy()
    return windows
