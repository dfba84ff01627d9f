"""The students that ship in ``weights/``: how each was made, and the command that makes them again.

    python recipes/students.py RECORDINGS... [--only NAME] --run training-runs

RECORDINGS are folders of openly licensed audio (weights/README.md lists ours). Everything is
seeded: with the same libraries and number of threads on one kind of CPU the files come out
bit-equal. Elsewhere sums round differently, and training carries that on: sea/32/nano made with two
threads instead of one has other bytes, other embeddings in detail, and the same held-out error to
0.001 (report.json has it).
"""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from listen_embed import audio, registry
from listen_embed.spec import FrontEnd
from listen_embed.training import corpus
from listen_embed.training.augment import Augmentation
from listen_embed.training.distill import Settings
from listen_embed.training.export import Identity
from listen_embed.training.network import (
    Architecture,
    Block,
    Student,
    Transformer,
    TransformerShape,
)
from listen_embed.training.reduction import Reduction, fit_pca, keep_all
from listen_embed.training.shards import (
    CorpusSounds,
    JoinedSounds,
    Recipe,
    WorkshopSounds,
)
from listen_embed.training.spectrum import reduce_spectrum
from listen_embed.training.starts import (
    CROP_SECONDS,
    NANO_FRONT_END,
    STEPPING,
    TEACHER,
    TRAILING,
    slim_mn04,
    streaming,
)
from listen_embed.training.train import Material, Plan, train, write

# What of a model folder travels in the wheel, or proves it.
SHIPPED = ("model.toml", "model.tflite", "README.md", "golden.npz", "report.png", "report.json")
# Recordings are kept at the lowest of these rates that loses nothing, a corpus each.
CORPUS_RATES = (16_000, 32_000)
# What shards' crops last, in frames, over and over: students also hear clips whole.
_LENGTHS = (1, 1, 2, 1, 1, 5)
_MN04_FRONT_END = registry.find(TEACHER).front_end

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
    dynamic_range=100.0,
    shift=50.0,
    scale=0.04,
)
_BELOW_8_KHZ = 90  # of its 128 bands


@dataclass(frozen=True, slots=True)
class Shipped:
    """A shipped model's plan, and the material it is for.

    Parameters
    ----------
    plan : Plan
    material : {"general", "workshop", "streaming"}
    n_shards : int
        Shards of that material; a longer training goes through them again.
    balance : float
        How far the teacher's faint dimensions are lifted before the reduction, as `fit_pca` has it.
    """

    plan: Plan
    material: Literal["general", "workshop", "streaming"]
    n_shards: int = 86
    balance: float = 0.0

    @property
    def slug(self) -> str:
        """The name as a folder's name."""
        identity = self.plan.identity
        return f"{identity.model_type}-{identity.emb_dim}-{identity.variant}"


def recipes(folders: Sequence[Path]) -> dict[str, Recipe]:
    """Return the training material by name, from the corpora in folders.

    "general" is everyday sound with mn04 as teacher; "streaming" is the same, and the teacher says
    every half second what it heard in the last two. "workshop" is machines in noise, and has no
    teacher but the steady spectrum of its own log-mels: on steady machine sound no large network
    beats such figures.
    """
    everyday = _joined(folders, 32_000, Augmentation(), relabel=0.2)
    how = Augmentation(mix=0.2, noise=0.3, gain=0.0, silence=0.0)
    machines = WorkshopSounds(_joined(folders, 48_000, how, relabel=0.6))
    return {
        "general": Recipe(
            everyday, (_MN04_FRONT_END, NANO_FRONT_END), (TEACHER,), 2048, 1, lengths=_LENGTHS
        ),
        "workshop": Recipe(machines, (WORKSHOP_FRONT_END,), (), 2048, 2),
        "streaming": Recipe(
            everyday,
            (_MN04_FRONT_END,),
            (TEACHER,),
            2048,
            5,
            lengths=(CROP_SECONDS,),
            trailing=TRAILING,
        ),
    }


def _joined(folders: Sequence[Path], sr: int, how: Augmentation, relabel: float) -> JoinedSounds:
    chosen = [np.arange(len(corpus.open_corpus(folder))) for folder in folders]
    parts = zip(folders, chosen, strict=True)
    return JoinedSounds(tuple(CorpusSounds(f, c, sr, how, relabel) for f, c in parts))


def plans(work: Path) -> list[Shipped]:
    """Return the plans of all shipped students; `work` holds mn04's published file."""
    return [
        _general(work), _general_128(work), _pruned(work), _nano(), _workshop(), _stream(),
    ]  # fmt: skip


def _general(work: Path) -> Shipped:
    plan = Plan(
        identity=_ours("sea", 64, "general", default=10, clip="whole"),
        front_end=_MN04_FRONT_END,
        start=slim_mn04(work, 200_500, last=0.4, emb_dim=64),
        reduce=_components(64, balance=0.5),
        distillation=Settings(n_shards=172, learning_rate=5e-4),
        int8=Settings(n_shards=30, learning_rate=5e-4),
        ridge=1e-2,
        folds_first=True,
    )
    return Shipped(plan, "general", balance=0.5)


def _general_128(work: Path) -> Shipped:
    plan = Plan(
        identity=_ours("sea", 128, "general", default=9, clip="whole"),
        front_end=_MN04_FRONT_END,
        start=slim_mn04(work, 398_000, last=0.75, emb_dim=128),
        reduce=_components(128),
        distillation=Settings(n_shards=86, learning_rate=5e-4),
        int8=Settings(n_shards=30, learning_rate=5e-4),
        ridge=1e-2,
        folds_first=True,
    )
    return Shipped(plan, "general")


def _pruned(work: Path) -> Shipped:
    plan = Plan(
        identity=_ours("pruned", 384, "mn04", default=20, clip="whole"),
        front_end=_MN04_FRONT_END,
        start=slim_mn04(work, 598_000, last=1.0, emb_dim=0),
        reduce=keep_all,
        distillation=Settings(n_shards=43, learning_rate=5e-4),
        int8=Settings(n_shards=30, learning_rate=5e-4),
        folds_first=True,
    )
    return Shipped(plan, "general")


def _nano() -> Shipped:
    plan = Plan(
        identity=_ours("sea", 32, "nano", default=8),
        front_end=NANO_FRONT_END,
        start=lambda features: nano_network(),
        reduce=_components(32),
        distillation=Settings(n_shards=172, learning_rate=5e-3),
        int8=Settings(n_shards=30, learning_rate=5e-4),
    )
    return Shipped(plan, "general")


def _workshop() -> Shipped:
    source = "taught the steady spectrum of machines by listen-embed"
    plan = Plan(
        identity=_ours("listen", 64, "workshop", source, default=20),
        front_end=WORKSHOP_FRONT_END,
        start=lambda features: workshop_network(),
        reduce=lambda spectra: reduce_spectrum(spectra, 64, _BELOW_8_KHZ),
        distillation=Settings(n_shards=690, learning_rate=2e-3),
        int8=Settings(n_shards=46, learning_rate=3e-4),
        activations=32,  # faint differences between steady sounds are less than an int8 step
        ridge=1e-4,  # bands are cleaner than channels
    )
    return Shipped(plan, "workshop", n_shards=23)


def _stream() -> Shipped:
    plan = Plan(
        identity=_ours("sea", 64, "stream", default=7),
        front_end=_MN04_FRONT_END,
        start=lambda features: streaming(64),
        reduce=_components(64, balance=0.5),
        distillation=Settings(n_shards=60, batch=8, learning_rate=1e-3),
        int8=Settings(n_shards=20, batch=8, learning_rate=5e-4),
        activations=32,  # a memory that moves by less than a step would stand
        ridge=1e-2,
        stepping=STEPPING,
    )
    return Shipped(plan, "streaming", n_shards=31, balance=0.5)


def _components(emb_dim: int, balance: float = 0.0) -> Callable[..., Reduction]:
    return lambda embeddings: fit_pca(embeddings, emb_dim, balance=balance)


def _ours(
    model_type: str,
    emb_dim: int,
    variant: str,
    source: str = "distilled from EfficientAT mn04 (Schmid et al., MIT) by listen-embed",
    default: int = 0,
    clip: Literal["mean", "whole"] = "mean",
) -> Identity:
    return Identity(
        model_type=model_type,
        emb_dim=emb_dim,
        variant=variant,
        licence="MIT",
        source=source,
        default=default,
        clip=clip,
    )


def nano_network() -> Student:
    """Return the untrained network of sea/32/nano."""
    torch.manual_seed(0)
    table = ((2, 16, 24), (1, 24, 32), (2, 32, 48), (1, 48, 48), (2, 48, 64))
    blocks = tuple(Block(3, stride, n_in, n_out, 0, "relu", False) for stride, n_in, n_out in table)
    return Student(Architecture(16, blocks, 80, 32, "relu"))


def workshop_network() -> Transformer:
    """Return the untrained network of listen/64/workshop."""
    torch.manual_seed(0)
    shape = TransformerShape(n_bands=128, width=32, heads=4, hidden=40, layers=2, emb_dim=64)
    student = Transformer(shape)
    nn.init.zeros_(student.to_embedding.weight)  # the short cut, which is fitted, speaks first
    nn.init.zeros_(student.to_embedding.bias)
    return student


def make(shipped: Shipped, recipe: Recipe, run: Path, weights: Path, workers: int) -> None:
    """Train a shipped model, write its model folder, and what ships of it."""
    material = Material(recipe, run / shipped.material, shipped.n_shards, workers)
    outcome = train(shipped.plan, material, run / shipped.slug)
    folder = run / "models" / shipped.slug
    write(folder, shipped.plan, outcome, _settings(shipped, recipe))
    ship(folder, weights / shipped.slug)


def ship(folder: Path, target: Path) -> None:
    """Copy what travels in the wheel or proves it: no float model, no C files."""
    target.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(folder / name, target / name)


def _settings(shipped: Shipped, recipe: Recipe) -> dict[str, Any]:
    """Return what the model card says about the training."""
    plan = shipped.plan
    return {
        "teachers": ", ".join(recipe.teachers) or "none: the steady spectrum",
        "material": f"{shipped.n_shards} shards of {recipe.size} crops ({shipped.material}), "
        f"seed {recipe.seed}",
        "balance of the reduction": shipped.balance,
        "distillation": plan.distillation,
        "fine-tuning for int8": plan.int8,
        "bits of the activations": plan.activations,
        "made by": f"`python recipes/students.py RECORDINGS --only {shipped.slug}`",
    }


def build_corpora(recordings: Sequence[Path], run: Path) -> list[Path]:
    """Decode recordings into one corpus for each of the `CORPUS_RATES`; return their folders."""
    groups: dict[int, list[Path]] = {}
    for file in corpus.find_recordings(recordings):
        rate = audio.sample_rate(file)
        fitting = [r for r in CORPUS_RATES if r >= rate] or [CORPUS_RATES[-1]]
        groups.setdefault(fitting[0], []).append(file)
    folders = {rate: run / f"corpus-{rate}" for rate in sorted(groups)}
    for rate, folder in folders.items():
        corpus.build(groups[rate], folder, rate)
    return list(folders.values())


def command(description: str | None) -> argparse.ArgumentParser:
    """Return what all recipes that train take on the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", nargs="+", type=Path, help="sound files, or folders of them")
    parser.add_argument("--run", type=Path, default=Path("training-runs"))
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare material")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def main() -> None:
    """Make the students that are named, or all."""
    parser = command(__doc__)
    known = [shipped.slug for shipped in plans(Path())]
    parser.add_argument(
        "--only", action="append", choices=known, metavar="NAME",
        help="such as sea-64-general, several times for several; all by default",
    )  # fmt: skip
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(args.threads)
    folders = build_corpora(args.recordings, args.run)
    material = recipes(folders)
    for shipped in plans(args.run):
        if not args.only or shipped.slug in args.only:
            make(shipped, material[shipped.material], args.run, args.weights, args.workers)


if __name__ == "__main__":
    main()
