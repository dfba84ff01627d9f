"""Any folder of recordings, any teacher -> a small model of your own, in one call.

The stages run in order, each leaves its result in ``<out>.work``, and a call with the same settings
goes on where the last one was cut off.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

import listen_embed
from listen_embed import registry
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.spec import FrontEnd
from listen_embed.training import convert, corpus, export, pruning, quantize, report, sampling
from listen_embed.training.augment import NONE, Augmentation
from listen_embed.training.corpus import Corpus
from listen_embed.training.distill import Loss, Progress, Settings, distil, fit_linear
from listen_embed.training.network import Student, fit_budget
from listen_embed.training.reduction import Reduction, fit_pca
from listen_embed.training.shards import CorpusSounds, Recipe, Shard, shards
from listen_embed.training.students import NANO_FRONT_END, TEACHER, teacher_network

_LOG = logging.getLogger(__name__)

# Shard 0 is held out; the reduction is fitted on the first few.
_FIRST, _PCA_SHARDS = 1, 4
_MIN_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to make, and how; the defaults are for a laptop and half an hour.

    Parameters
    ----------
    teachers : tuple of str
        Models to learn from; several stand side by side and count alike.
    emb_dim : int
        Width of the embedding.
    budget_bytes : int
        Largest size of the int8 .tflite.
    student : {"grown", "pruned"}
        A network from scratch, or mn04 with as many channels as the budget lets it keep (it takes
        mn04's front end then, and learns much faster).
    front_end : str
        A model whose front end the grown student takes; empty for 64 log-mels at 16 kHz.
    sampling : {"random", "relevance", "diversity", "both"}
    n_crops : int
        Crops chosen from the recordings; 0 takes all.
    n_shards, shard_size : int
        Length of training: steps are made of ``n_shards * shard_size`` augmented crops.
    augment : bool
        Change crops at random, the teacher listening.
    loss : {"mse", "cosine", "mse+cosine"}
    learning_rate : float
        0 takes what suits the student: a pruned one must not unlearn what it knows.
    sparsity : float
        Share of zero weights, by EdgeL3's schedule, in [0, 1); trained again after pruning.
    int8_shards : int
        Shards of quantisation-aware fine-tuning.
    seed : int
    workers, threads : int
        Processes that prepare material, and threads of the training itself.
    licence : str
        What the card says about the data and so about the weights.
    """

    teachers: tuple[str, ...] = (TEACHER,)
    emb_dim: int = 64
    budget_bytes: int = 64_000
    student: Literal["grown", "pruned"] = "grown"
    front_end: str = ""
    sampling: sampling.Mode = "random"
    n_crops: int = 0
    n_shards: int = 60
    shard_size: int = 2048
    augment: bool = True
    loss: Loss = "mse+cosine"
    learning_rate: float = 0.0
    sparsity: float = 0.0
    int8_shards: int = 6
    seed: int = 0
    workers: int = 1
    threads: int = 1
    licence: str = "that of your recordings"

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates of the distillation, and of the fine-tuning for int8."""
        usual, share = {"grown": (3e-3, 0.1), "pruned": (5e-4, 1.0)}[self.student]
        rate = self.learning_rate or usual
        return rate, share * rate


def specialize(
    recordings: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    progress: bool = True,
) -> Path:
    """Make a specialised model of recordings and return its folder.

    Parameters
    ----------
    recordings : sequence of path
        Sound files, and folders of them.
    out : path
        The model folder to write; ``<out>.work`` beside it holds what a resumed call needs.
    options : Options, optional
    progress : bool
        Show progress bars.

    Raises
    ------
    InputError
        No usable recordings, less than half a minute of sound, too small a budget, or a shard
        smaller than a step.
    """
    options = options or Options()
    folder = Path(out)
    _check_lengths(options)
    export.check_place(folder)
    work = _work_folder(folder, options, corpus.find_recordings(recordings))
    _check_budget(options, work)
    torch.set_num_threads(options.threads)
    material = _Material.prepare(recordings, options, work, progress)
    reduction = _reduction(material, options)
    student, history = _train(material, reduction, options, work, progress)
    models = _convert(student, material)
    settings = dataclasses.asdict(options) | {
        "learning rates, distillation and int8": options.rates,
        "stretches of sound": len(material.corpus.bounds) - 1,
        "hours": round(len(material.corpus.samples) / material.corpus.sr / 3600, 3),
        "made with": f"listen-embed {listen_embed.__version__}",
    }
    identity = export.Identity(
        model_type="own",
        emb_dim=options.emb_dim,
        variant=folder.name,
        licence=options.licence,
        source=f"specialised from {', '.join(options.teachers)} with listen-embed",
    )
    trained = export.Trained(*models, settings)
    export.write_folder(folder, identity, material.front_end, trained)
    report.write(folder, trained, material.held_out, reduction, history)
    return folder


@dataclass(frozen=True, slots=True)
class _Material:
    """What training feeds on."""

    corpus: Corpus
    recipe: Recipe
    folder: Path
    workers: int
    held_out: Shard

    @property
    def front_end(self) -> FrontEnd:
        return self.recipe.front_ends[0]

    @classmethod
    def prepare(
        cls,
        recordings: Sequence[str | os.PathLike[str]],
        options: Options,
        work: Path,
        progress: bool,
    ) -> _Material:
        front_end = _front_end(options)
        files = corpus.find_recordings(recordings)
        built = corpus.build(files, work / "corpus", front_end.sample_rate, progress)
        seconds = len(built.samples) / built.sr
        if seconds < _MIN_SECONDS:
            raise InputError(
                f"only {seconds:.1f} s of sound (silence and repeats do not count); "
                f"{_MIN_SECONDS} s are the least, some hours are better"
            )
        chosen = _choose(built, options, work, progress)
        how = Augmentation() if options.augment else NONE
        sounds = CorpusSounds(work / "corpus", chosen, built.sr, how)
        recipe = Recipe(sounds, (front_end,), options.teachers, options.shard_size, options.seed)
        made = shards(work / "shards", recipe, 0, 1, options.workers)
        return cls(built, recipe, work / "shards", options.workers, next(iter(made)))

    def shards(self, first: int, last: int) -> Iterator[Shard]:
        return shards(self.folder, self.recipe, first, last, self.workers)


def _check_lengths(options: Options) -> None:
    batch = Settings(n_shards=1).batch
    if options.shard_size < batch or options.n_shards < 1:
        raise InputError(
            f"{options.n_shards} shards of {options.shard_size} crops teach nothing: give at least "
            f"one shard, of at least {batch} crops (a step)"
        )


def _work_folder(out: Path, options: Options, files: list[Path]) -> Path:
    """Return the folder of intermediate results.

    Other settings, recordings or teachers start afresh, but for those that change no more than
    the rounding of a result.
    """
    settings = dataclasses.asdict(options)
    for name in ("workers", "threads", "licence"):
        del settings[name]
    taught_by = [Path(name) / registry.CARD for name in options.teachers]
    facts = [
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for file in [*files, *taught_by]
        if file.exists()
    ]
    asked = json.dumps([settings, facts], sort_keys=True)
    key = hashlib.sha256(asked.encode()).hexdigest()[:12]
    work = out.with_name(f"{out.name}.work") / key
    work.mkdir(parents=True, exist_ok=True)
    return work


def _front_end(options: Options) -> FrontEnd:
    if options.student == "pruned":
        return registry.find(TEACHER).front_end
    if not options.front_end:
        return NANO_FRONT_END
    front_end = registry.find(options.front_end).front_end
    if front_end.features != "log-mel":
        raise InputError(f"{options.front_end} has no log-mel front end; choose another model's")
    return front_end


def _choose(built: Corpus, options: Options, work: Path, progress: bool) -> NDArray[np.int64]:
    n = min(options.n_crops or len(built), len(built))
    needs = options.sampling in ("diversity", "both") and n < len(built)
    embeddings = _crop_embeddings(built, options.teachers[0], work, progress) if needs else None
    return sampling.choose(built, n, options.sampling, embeddings=embeddings, seed=options.seed)


def _crop_embeddings(
    built: Corpus, teacher: str, work: Path, progress: bool
) -> NDArray[np.float32]:
    """Return the teacher's embedding of every crop, (n_crops, D), memory-mapped."""
    path = work / "crops.npy"
    if not path.exists():
        embedder = Embedder(teacher, hop_size=3600.0, center=False)
        shape = (len(built), embedder.spec.emb_dim)
        temporary = path.with_suffix(".tmp")
        rows = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        for i in tqdm(range(len(built)), "teacher", unit="crop", disable=not progress):
            rows[i] = embedder.embed(built.crop(i, built.sr), built.sr)[0][0]
        rows.flush()
        os.replace(temporary, path)
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _reduction(material: _Material, options: Options) -> Reduction:
    n = min(_PCA_SHARDS, 1 + options.n_shards)
    targets = np.concatenate([shard.targets for shard in material.shards(0, n)])
    widths = tuple(registry.find(name).emb_dim for name in options.teachers)
    return fit_pca(targets, options.emb_dim, widths)


def _check_budget(options: Options, work: Path) -> None:
    """Raise `InputError` if nothing fits the budget, before anything takes time."""
    if options.student == "grown":
        fit_budget(options.budget_bytes, options.emb_dim)
        return
    pruning.check_budget(
        teacher_network(work).architecture,
        options.budget_bytes,
        last=_last_share(options),
        emb_dim=options.emb_dim,
    )


def _last_share(options: Options) -> float:
    """Return the share of mn04's last channels that suits a budget; larger ones afford them all."""
    return min(1.0, max(0.2, options.budget_bytes / 500_000))


def _start(
    material: _Material, reduction: Reduction, options: Options, work: Path, progress: bool
) -> nn.Module:
    torch.manual_seed(options.seed)
    if options.student == "grown":
        return Student(fit_budget(options.budget_bytes, options.emb_dim))
    features = torch.from_numpy(material.held_out.features[0][:512].astype(np.float32))[:, None]
    student = pruning.slim_to_budget(
        teacher_network(work),
        features,
        options.budget_bytes,
        last=_last_share(options),
        emb_dim=options.emb_dim,
        progress=progress,
    )
    first = next(material.shards(_FIRST, _FIRST + 1))
    fit_linear(student, first.features[0], reduction(first.targets))
    # Its norms fit AudioSet; statistics of our batches in their place would undo what it knows.
    return quantize.folded(student)


def _train(
    material: _Material,
    reduction: Reduction,
    options: Options,
    work: Path,
    progress: bool,
) -> tuple[nn.Module, list[Progress]]:
    """Distil, prune weights if asked for, and fine-tune for int8."""
    few = Shard(tuple(f[:512] for f in material.held_out.features), material.held_out.targets[:512])

    def run(
        student: nn.Module, name: str, n_shards: int, rate: float
    ) -> tuple[nn.Module, list[Progress]]:
        settings = Settings(
            n_shards=n_shards,
            learning_rate=rate,
            loss=options.loss,
            seed=options.seed,
            keep_zeros=options.sparsity > 0,
        )
        last = _FIRST + n_shards
        return distil(
            student,
            lambda number: material.shards(_FIRST + number, last),
            few,
            reduction,
            settings,
            work / name,
            progress=progress,
        )

    student = _start(material, reduction, options, work, progress)
    rate, int8_rate = options.rates
    student, history = run(student, "distil", options.n_shards, rate)
    if options.sparsity:
        n_layers = sum(isinstance(m, nn.Conv2d) for m in student.modules())
        shares = pruning.schedule(n_layers, options.sparsity)
        student = pruning.prune_magnitude(quantize.folded(student), shares)
        student, more = run(student, "sparse", max(1, options.n_shards // 3), rate / 3)
        history = history + more
    if options.int8_shards:
        rounding = quantize.prepare(student)
        rounding, more = run(rounding, "int8", options.int8_shards, int8_rate)
        student, history = quantize.finish(rounding), history + more
    return student, history


def _convert(student: nn.Module, material: _Material) -> tuple[bytes, bytes]:
    shape = material.front_end.input_shape
    float_model = convert.to_float(student, (shape[0], shape[1]))
    typical = np.asarray(material.held_out.features[0][:256], np.float32)
    return float_model, convert.to_int8(float_model, typical)
