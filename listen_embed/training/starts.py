"""Where students start: the front ends they take, and mn04 as a network to prune."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from listen_embed import registry, store
from listen_embed.spec import FrontEnd
from listen_embed.training import pruning, quantize, timetable
from listen_embed.training.network import Student, Transformer, from_efficientat, halve_columns
from listen_embed.training.restore import restore
from listen_embed.training.shards import Trailing
from listen_embed.training.streaming import Stepping, Streamer
from listen_embed.upstream import torch_zip

TEACHER = "teacher/384/mn04"

# mn04's own with half as many columns: half the work. The window fills the transform, so that
# nothing falls between two columns.
MN04_FRONT_END = replace(registry.find(TEACHER).front_end, hop_samples=640, window_samples=1024)

# For the smallest students: cheap on a microcontroller, and a fifth of mn04's input.
NANO_FRONT_END = FrontEnd(
    sample_rate=16_000,
    frame_samples=16_000,
    n_fft=512,
    window_samples=512,
    hop_samples=320,
    n_mels=64,
    f_max=8_000.0,
    log="ln",
    log_offset=1e-5,
    shift=4.5,
    scale=0.2,
)

# A step of a student that streams is a tenth of a second, and sees 0.06 s more; two seconds are
# what it shall remember.
STEPPING = Stepping(columns=10, window=16, seconds=0.1, every=5)
TRAILING = Trailing(seconds=2.0, every=0.5)
CROP_SECONDS = 5
STREAM_CELLS = 80
_EARS = "sea/64/general"

# Gives the untrained student from typical features, float32 (N, 1, n_bands, n_steps).
Start = Callable[[torch.Tensor], Student | Transformer | Streamer]


def mn04(folder: Path) -> Student:
    """Return mn04 as a network to prune, for the columns of `MN04_FRONT_END`.

    It comes from its published file, which is kept in the folder.
    """
    path = folder / "mn04.pt"
    download = registry.find(TEACHER).download
    assert download is not None
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        store.obtain(download, path, progress=True)
    network = from_efficientat(torch_zip.read_state_dict(path))
    halve_columns(network)
    return network


def streaming(emb_dim: int, seed: int = 0) -> Streamer:
    """Return the untrained student that streams, with the ears of sea/64/general."""
    torch.manual_seed(seed)
    ears = restore(store.load(registry.find(_EARS)))
    quantize.unfold_sixths(ears)
    return Streamer(ears, STEPPING, STREAM_CELLS, emb_dim, settled=3)


def slim_mn04(
    folder: Path,
    budget_bytes: int,
    *,
    last: float,
    emb_dim: int,
    progress: timetable.Shown = True,
) -> Start:
    """Return a start that is mn04 with as many channels as a budget lets it keep.

    Parameters
    ----------
    folder : Path
        Keeps mn04's published file.
    budget_bytes, last, emb_dim
        As `pruning.slim_to_budget` has them.
    progress : bool or Timetable
        Whether to show a progress bar.
    """
    return lambda features: pruning.slim_to_budget(
        mn04(folder),
        features,
        budget_bytes,
        last=last,
        emb_dim=emb_dim,
        progress=progress,
    )
