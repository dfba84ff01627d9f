"""The students that ship in ``weights/``: how each was made, and the command that makes them again.

    python -m listen_embed.training.students RECORDINGS --run training-runs [NAME ...]

RECORDINGS is a folder of openly licensed audio (weights/README.md lists ours). Everything is seeded; with one
thread on one kind of CPU the files come out bit-equal, elsewhere within the tolerance on their cards.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from listen_embed import registry, store
from listen_embed.spec import FrontEnd
from listen_embed.training import corpus, pruning
from listen_embed.training.augment import Augmentation
from listen_embed.training.distill import Progress, Settings, distil, fit_linear
from listen_embed.training.network import Architecture, Block, Student, from_efficientat
from listen_embed.training.quantize import folded
from listen_embed.training.reduction import Reduction, fit_pca, keep_all
from listen_embed.training.shards import CorpusSounds, Recipe, Shard, WorkshopSounds, shards
from listen_embed.upstream import torch_zip

CORPUS_RATE = 16_000
TEACHER = "teacher/384/mn04"
# Shard 0 is held out: it measures progress and prunes, and no step is taken on it.
_FIRST_SHARD, _PCA_SHARDS = 1, 6

# For the smallest student: cheap on a microcontroller, and a fifth of mn04's input.
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


# For machines: fine lines (12 Hz) up to 24 kHz, blind to gain, and columns that a stream can share.
WORKSHOP_FRONT_END = FrontEnd(
    sample_rate=48_000,
    frame_samples=48_000,
    n_fft=4096,
    window_samples=4096,
    hop_samples=960,
    n_mels=128,
    f_max=24_000.0,
    log="db",
    log_floor=1e-10,
    reference="frame-max",
    dynamic_range=80.0,
    shift=40.0,
    scale=0.05,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one student is made.

    Parameters
    ----------
    model_type, emb_dim, variant
        Its name.
    front_end : int
        Which of the recipe's front ends it takes.
    start : callable
        Gives the untrained student from the held-out shard's features.
    settings : Settings
    """

    model_type: str
    emb_dim: int
    variant: str
    front_end: int
    start: Callable[[torch.Tensor], Student]
    settings: Settings

    @property
    def name(self) -> str:
        """``model_type/emb_dim/variant``."""
        return f"{self.model_type}/{self.emb_dim}/{self.variant}"

    @property
    def slug(self) -> str:
        """The name as a folder's name."""
        return self.name.replace("/", "-")


def teacher_network(work: Path) -> Student:
    """Return mn04 as a network to prune, from its published file."""
    path = work / "mn04.pt"
    download = registry.find(TEACHER).download
    assert download is not None
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        store.obtain(download, path, progress=True)
    return from_efficientat(torch_zip.read_state_dict(path))


def general_recipe(folder: Path, chosen: np.ndarray) -> Recipe:
    """Return the training material of all general students: everyday sound, mn04 as teacher."""
    sounds = CorpusSounds(folder, chosen, 32_000, Augmentation(), relabel=0.2)
    return Recipe(sounds, (registry.find(TEACHER).front_end, NANO_FRONT_END), (TEACHER,), 2048, 1)


def workshop_recipe(folder: Path, chosen: np.ndarray) -> Recipe:
    """Return the training material of the machine student: machines in noise.

    The teacher is the log-mel statistics of the machine alone: on steady machine sound no network
    beats them, but noise blurs them, and that is what the student learns to undo.
    """
    how = Augmentation(mix=0.2, noise=0.3, gain=0.0, silence=0.0)
    sounds = WorkshopSounds(CorpusSounds(folder, chosen, 48_000, how, relabel=0.6))
    return Recipe(sounds, (WORKSHOP_FRONT_END,), ("logmel/256/48k",), 2048, 2)


def general_plans(work: Path) -> list[Plan]:
    """Return the plans of the general students."""

    def slimmed(hidden: float, squeeze: float, last: float, emb_dim: int) -> Callable[[torch.Tensor], Student]:
        return lambda features: pruning.slim(
            teacher_network(work), features, hidden=hidden, squeeze=squeeze, last=last, emb_dim=emb_dim
        )

    return [
        Plan(
            model_type="sea", emb_dim=64, variant="general", front_end=0,
            start=slimmed(0.36, 0.08, 0.4, 64), settings=Settings(n_shards=86, learning_rate=1e-3),
        ),
        Plan(
            model_type="sea", emb_dim=128, variant="general", front_end=0,
            start=slimmed(0.75, 0.2, 0.75, 128), settings=Settings(n_shards=86, learning_rate=1e-3),
        ),
        Plan(
            model_type="pruned", emb_dim=384, variant="mn04", front_end=0,
            start=slimmed(0.95, 0.6, 1.0, 0), settings=Settings(n_shards=40, learning_rate=5e-4),
        ),
        Plan(
            model_type="sea", emb_dim=32, variant="nano", front_end=1,
            start=lambda features: _nano(), settings=Settings(n_shards=86, learning_rate=5e-3),
        ),
    ]  # fmt: skip


def _nano() -> Student:
    torch.manual_seed(0)
    widths = ((2, 16, 24), (1, 24, 32), (2, 32, 48), (1, 48, 48), (2, 48, 64))
    blocks = tuple(Block(3, stride, n_in, n_out, 0, "relu", False) for stride, n_in, n_out in widths)
    return Student(Architecture(16, blocks, 80, 32, "relu"))


def train(plan: Plan, recipe: Recipe, material: Path, run: Path, workers: int) -> tuple[Student, Reduction, list[Progress]]:
    """Return a plan's trained student, what its dimensions mean, and how training went."""
    held_out = next(iter(shards(material, recipe, 0, 1, workers)))
    reduction = _reduction(plan, recipe, material, workers)
    start = plan.start(_some_features(held_out, plan.front_end))
    if start.architecture.emb_dim and plan.front_end == 0:
        first = next(iter(shards(material, recipe, _FIRST_SHARD, _FIRST_SHARD + 1, workers)))
        fit_linear(start, first.features[plan.front_end], reduction(first.targets))
    if plan.front_end == 0:
        # mn04's norms fit AudioSet; statistics of our batches in their place would undo what it knows.
        start = folded(start)

    def from_number(number: int) -> Iterator[Shard]:
        last = _FIRST_SHARD + plan.settings.n_shards
        return shards(material, recipe, _FIRST_SHARD + number, last, workers)

    few = Shard(tuple(f[:512] for f in held_out.features), held_out.targets[:512])
    student, history = distil(
        start, from_number, few, reduction, plan.settings, run / plan.slug, front_end=plan.front_end
    )
    assert isinstance(student, Student)
    return student, reduction, history


def _reduction(plan: Plan, recipe: Recipe, material: Path, workers: int) -> Reduction:
    made = shards(material, recipe, 0, _PCA_SHARDS, workers)
    targets = np.concatenate([shard.targets for shard in made])
    return keep_all(targets) if plan.emb_dim == targets.shape[1] else fit_pca(targets, plan.emb_dim)


def _some_features(shard: Shard, front_end: int, n: int = 512) -> torch.Tensor:
    return torch.from_numpy(np.asarray(shard.features[front_end][:n], np.float32))[:, None]


def main() -> None:
    """Train the students that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("names", nargs="*", help="slugs, such as sea-64-general; all by default")
    parser.add_argument("--run", type=Path, default=Path("training-runs"))
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare material")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(args.threads)
    built = corpus.build(corpus.find_recordings([args.recordings]), args.run / "corpus", CORPUS_RATE)
    recipe = general_recipe(args.run / "corpus", np.arange(len(built)))
    for plan in general_plans(args.run):
        if not args.names or plan.slug in args.names:
            train(plan, recipe, args.run / "general", args.run, args.workers)


if __name__ == "__main__":
    main()
