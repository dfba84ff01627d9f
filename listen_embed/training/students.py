"""The students that ship in ``weights/``: how each was made, and the command that makes them again.

    python -m listen_embed.training.students RECORDINGS... [--only NAME] --run training-runs

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from listen_embed import audio, registry, store
from listen_embed.spec import FrontEnd
from listen_embed.training import convert, corpus, export, pruning, quantize, report
from listen_embed.training.augment import Augmentation
from listen_embed.training.distill import Progress, Settings, distil, fit_linear
from listen_embed.training.export import Identity, Trained
from listen_embed.training.network import (
    Architecture,
    Block,
    Student,
    Transformer,
    TransformerShape,
    from_efficientat,
)
from listen_embed.training.reduction import Reduction, fit_pca, keep_all
from listen_embed.training.shards import (
    CorpusSounds,
    JoinedSounds,
    Recipe,
    Shard,
    WorkshopSounds,
    shards,
)
from listen_embed.training.spectrum import reduce_spectrum
from listen_embed.upstream import torch_zip

# What of a model folder travels in the wheel, or proves it.
SHIPPED = ("model.toml", "model.tflite", "README.md", "golden.npz", "report.png", "report.json")
# Recordings are kept at the lowest of these rates that loses nothing, a corpus each.
CORPUS_RATES = (16_000, 32_000)
Start = Callable[[torch.Tensor], Student | Transformer]
TEACHER = "teacher/384/mn04"
# Shard 0 is held out: it measures progress and prunes, and no step is taken on it.
_FIRST_SHARD, _PCA_SHARDS = 1, 6

# What shards' crops last, in frames, over and over: students also hear clips whole.
_LENGTHS = (1, 1, 2, 1, 1, 5)

# mn04's own with half as many columns: half the work of both the front end and the network.
MN04_FRONT_END = replace(registry.find(TEACHER).front_end, hop_samples=640)

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
    dynamic_range=100.0,
    shift=50.0,
    scale=0.04,
)
_BELOW_8_KHZ = 90  # of its 128 bands


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one student is made.

    Parameters
    ----------
    identity : Identity
        Its name, licence and origin.
    front_end : FrontEnd
        What it takes; one of its material's.
    material : {"general", "workshop"}
        What it learns from.
    n_shards : int
        Shards of that material that exist; a longer training goes through them again.
    start : callable
        Gives the untrained student from features of the held-out shard.
    settings, int8 : Settings
        Of the distillation, and of the fine-tuning for int8 after it.
    activations : {8, 16}
        Bits of the shipped model's activations.
    balance : float
        How far the teacher's faint dimensions are lifted before the reduction, as `fit_pca` has it.
    """

    identity: Identity
    front_end: FrontEnd
    material: Literal["general", "workshop"]
    n_shards: int
    start: Start
    settings: Settings
    int8: Settings
    activations: Literal[8, 16] = 8
    balance: float = 0.0

    @property
    def slug(self) -> str:
        """The name as a folder's name."""
        identity = self.identity
        return f"{identity.model_type}-{identity.emb_dim}-{identity.variant}"


def teacher_network(work: Path, stem_stride: tuple[int, int] = (2, 2)) -> Student:
    """Return mn04 as a network to prune, from its published file."""
    path = work / "mn04.pt"
    download = registry.find(TEACHER).download
    assert download is not None
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        store.obtain(download, path, progress=True)
    return from_efficientat(torch_zip.read_state_dict(path), stem_stride)


def recipes(folders: Sequence[Path]) -> dict[str, Recipe]:
    """Return the training material by name, from the corpora in folders.

    "general" is everyday sound with mn04 as teacher. "workshop" is machines in noise, and has no
    teacher but the steady spectrum of its own log-mels: on steady machine sound no large network
    beats such figures.
    """
    everyday = _joined(folders, 32_000, Augmentation(), relabel=0.2)
    how = Augmentation(mix=0.2, noise=0.3, gain=0.0, silence=0.0)
    machines = WorkshopSounds(_joined(folders, 48_000, how, relabel=0.6))
    return {
        "general": Recipe(
            everyday, (MN04_FRONT_END, NANO_FRONT_END), (TEACHER,), 2048, 1, lengths=_LENGTHS
        ),
        "workshop": Recipe(machines, (WORKSHOP_FRONT_END,), (), 2048, 2),
    }


def _joined(folders: Sequence[Path], sr: int, how: Augmentation, relabel: float) -> JoinedSounds:
    chosen = [np.arange(len(corpus.open_corpus(folder))) for folder in folders]
    parts = zip(folders, chosen, strict=True)
    return JoinedSounds(tuple(CorpusSounds(f, c, sr, how, relabel) for f, c in parts))


def plans(work: Path) -> list[Plan]:
    """Return the plans of all shipped students; `work` holds mn04's published file."""
    from_mn04 = "distilled from EfficientAT mn04 (Schmid et al., MIT) by listen-embed"

    def within(
        budget_bytes: int, last: float, emb_dim: int, stem_stride: tuple[int, int] = (2, 2)
    ) -> Start:
        return lambda features: pruning.slim_to_budget(
            teacher_network(work, stem_stride),
            features,
            budget_bytes,
            last=last,
            emb_dim=emb_dim,
            progress=True,
        )

    return [
        Plan(
            identity=_ours("sea", 64, "general", from_mn04, default=10),
            front_end=MN04_FRONT_END,
            material="general",
            n_shards=90,
            start=within(200_500, 0.4, 64),
            settings=Settings(n_shards=270, learning_rate=1e-3),
            int8=Settings(n_shards=30, learning_rate=5e-4),
            balance=0.5,
        ),
        Plan(
            identity=_ours("sea", 128, "general", from_mn04, default=9),
            front_end=MN04_FRONT_END,
            material="general",
            n_shards=90,
            start=within(398_000, 0.75, 128),
            settings=Settings(n_shards=180, learning_rate=1e-3),
            int8=Settings(n_shards=30, learning_rate=5e-4),
        ),
        Plan(
            identity=_ours("pruned", 384, "mn04", from_mn04),
            front_end=MN04_FRONT_END,
            material="general",
            n_shards=90,
            start=within(598_000, 1.0, 0, stem_stride=(2, 1)),
            settings=Settings(n_shards=90, learning_rate=5e-4),
            int8=Settings(n_shards=30, learning_rate=5e-4),
        ),
        Plan(
            identity=_ours("sea", 32, "nano", from_mn04, default=8),
            front_end=NANO_FRONT_END,
            material="general",
            n_shards=90,
            start=lambda features: _nano(),
            settings=Settings(n_shards=270, learning_rate=5e-3),
            int8=Settings(n_shards=30, learning_rate=5e-4),
        ),
        Plan(
            identity=_ours(
                "listen",
                64,
                "workshop",
                "taught the steady spectrum of machines by listen-embed",
            ),
            front_end=WORKSHOP_FRONT_END,
            material="workshop",
            n_shards=23,
            start=lambda features: _workshop(),
            settings=Settings(n_shards=690, learning_rate=2e-3),
            int8=Settings(n_shards=46, learning_rate=3e-4),
            activations=16,
        ),
    ]


def _ours(model_type: str, emb_dim: int, variant: str, source: str, default: int = 0) -> Identity:
    return Identity(
        model_type=model_type,
        emb_dim=emb_dim,
        variant=variant,
        licence="MIT",
        source=source,
        default=default,
    )


def _nano() -> Student:
    torch.manual_seed(0)
    table = ((2, 16, 24), (1, 24, 32), (2, 32, 48), (1, 48, 48), (2, 48, 64))
    blocks = tuple(Block(3, stride, n_in, n_out, 0, "relu", False) for stride, n_in, n_out in table)
    return Student(Architecture(16, blocks, 80, 32, "relu"))


def _workshop() -> Transformer:
    torch.manual_seed(0)
    shape = TransformerShape(n_bands=128, width=32, heads=4, hidden=40, layers=2, emb_dim=64)
    student = Transformer(shape)
    nn.init.zeros_(student.to_embedding.weight)  # the short cut, which is fitted, speaks first
    nn.init.zeros_(student.to_embedding.bias)
    return student


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where students are made.

    Parameters
    ----------
    run : Path
        Folder of everything intermediate.
    recipes : dict of str to Recipe
    workers : int
        Processes that prepare material.
    """

    run: Path
    recipes: dict[str, Recipe]
    workers: int

    def shards(self, plan: Plan, first: int, last: int) -> Iterator[Shard]:
        """Yield shards of a plan's material by number; past the last one they come again."""
        recipe, folder = self.recipes[plan.material], self.run / plan.material
        while first < last:
            begin = _FIRST_SHARD + (first - _FIRST_SHARD) % plan.n_shards if first else 0
            end = min(begin + last - first, _FIRST_SHARD + plan.n_shards)
            yield from shards(folder, recipe, begin, end, self.workers)
            first += end - begin

    def held_out(self, plan: Plan) -> Shard:
        """Return shard 0, which nothing is trained on."""
        return next(self.shards(plan, 0, 1))

    def front_end(self, plan: Plan) -> int:
        """Return which of the shards' features a plan's student takes."""
        return self.recipes[plan.material].front_ends.index(plan.front_end)


def make(plan: Plan, place: Workplace, weights: Path) -> None:
    """Train a plan's student, fine-tune it for int8, write its model folder and what ships."""
    held_out, which = place.held_out(plan), place.front_end(plan)
    reduction = _reduction(plan, place)
    start = _start(plan, place, held_out, reduction)
    student, history = _train(start, plan, plan.settings, place, reduction, place.run / plan.slug)
    rounding, more = _train(
        quantize.prepare(student, plan.activations),
        plan,
        plan.int8,
        place,
        reduction,
        place.run / f"{plan.slug}-int8",
    )
    student = quantize.finish(rounding)
    shape = plan.front_end.input_shape
    float_model = convert.to_float(student, (shape[0], shape[1]))
    typical = np.asarray(held_out.features[which][512:1024], np.float32)
    trained = Trained(
        float_model, convert.to_int8(float_model, typical, plan.activations), _settings(plan, place)
    )
    folder = place.run / "models" / plan.slug
    folder.parent.mkdir(exist_ok=True)
    export.write_folder(folder, plan.identity, plan.front_end, trained)
    report.write(folder, trained, held_out, reduction, [*history, *more], which)
    ship(folder, weights / plan.slug)


def ship(folder: Path, target: Path) -> None:
    """Copy what travels in the wheel or proves it: no float model, no C files."""
    target.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(folder / name, target / name)


def _train(
    start: nn.Module,
    plan: Plan,
    settings: Settings,
    place: Workplace,
    reduction: Reduction,
    folder: Path,
) -> tuple[nn.Module, list[Progress]]:
    held_out = place.held_out(plan)
    few = Shard(tuple(f[:512] for f in held_out.features), held_out.targets[:512])
    last = _FIRST_SHARD + settings.n_shards
    return distil(
        start,
        lambda number: place.shards(plan, _FIRST_SHARD + number, last),
        few,
        reduction,
        settings,
        folder,
        front_end=place.front_end(plan),
    )


def _start(plan: Plan, place: Workplace, held_out: Shard, reduction: Reduction) -> nn.Module:
    which = place.front_end(plan)
    some = torch.from_numpy(np.asarray(held_out.features[which][:512], np.float32))[:, None]
    student = plan.start(some)
    knows_mn04 = plan.front_end == MN04_FRONT_END
    if isinstance(student, Transformer) or (knows_mn04 and student.architecture.emb_dim):
        first = next(place.shards(plan, _FIRST_SHARD, _FIRST_SHARD + 1))
        ridge = 1e-2 if knows_mn04 else 1e-4  # bands are cleaner than channels
        fit_linear(student, first.features[which], reduction(first.targets), ridge)
    # mn04's norms fit AudioSet; statistics of our batches in their place would undo what it knows.
    return quantize.folded(student) if knows_mn04 else student


def _reduction(plan: Plan, place: Workplace) -> Reduction:
    targets = np.concatenate([shard.targets for shard in place.shards(plan, 0, 1)])
    more = [shard.targets for shard in place.shards(plan, _FIRST_SHARD, _PCA_SHARDS)]
    targets = np.concatenate([targets, *more])
    emb_dim = plan.identity.emb_dim
    if plan.material == "workshop":
        return reduce_spectrum(targets, emb_dim, _BELOW_8_KHZ)
    if emb_dim == targets.shape[1]:
        return keep_all(targets)
    return fit_pca(targets, emb_dim, balance=plan.balance)


def _settings(plan: Plan, place: Workplace) -> dict[str, Any]:
    """Return what the model card says about the training."""
    recipe = place.recipes[plan.material]
    return {
        "teachers": ", ".join(recipe.teachers) or "none: the steady spectrum",
        "material": f"{plan.n_shards} shards of {recipe.size} crops ({plan.material}), "
        f"seed {recipe.seed}",
        "balance of the reduction": plan.balance,
        "distillation": plan.settings,
        "fine-tuning for int8": plan.int8,
        "bits of the activations": plan.activations,
        "made by": f"`python -m listen_embed.training.students RECORDINGS --only {plan.slug}`",
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


def main() -> None:
    """Make the students that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", nargs="+", type=Path, help="sound files, or folders of them")
    parser.add_argument(
        "--only", action="append", choices=[plan.slug for plan in plans(Path())], metavar="NAME",
        help="such as sea-64-general, several times for several; all by default",
    )  # fmt: skip
    parser.add_argument("--run", type=Path, default=Path("training-runs"))
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare material")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(args.threads)
    folders = build_corpora(args.recordings, args.run)
    place = Workplace(args.run, recipes(folders), args.workers)
    for plan in plans(args.run):
        if not args.only or plan.slug in args.only:
            make(plan, place, args.weights)


if __name__ == "__main__":
    main()
