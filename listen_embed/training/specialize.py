"""Any folder of recordings, any teacher -> a small model of your own, in one call.

The stages run in order, each leaves its result in ``<out>.work``, and a call with the same settings
goes on where the last one was cut off; at the end that folder is deleted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

import listen_embed
from listen_embed import registry, store
from listen_embed.atomic import replacing
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.spec import FrontEnd
from listen_embed.training import (
    corpus,
    estimate,
    export,
    pruning,
    sampling,
    starts,
    timetable,
    train,
    verdict,
    widening,
)
from listen_embed.training.augment import NONE, Augmentation
from listen_embed.training.corpus import Corpus
from listen_embed.training.distill import Loss, Settings
from listen_embed.training.network import Student, Transformer, fit_budget
from listen_embed.training.reduction import Reduction, fit_pca
from listen_embed.training.shards import CorpusSounds, Recipe
from listen_embed.training.starts import MN04_FRONT_END, NANO_FRONT_END, TEACHER, Start
from listen_embed.training.train import Material, Plan

_MIN_SECONDS = 30
_NANO = "sea/32/nano"
# Of a student that streams: crops of five seconds in a training step, and all but its readout.
_STREAM_BATCH = 8
_STREAM_BYTES = 232_000
# Options that change nothing about the model.
_FOR_THE_CALL_ALONE = ("labels", "test", "keep")


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
    student : {"auto", "widened", "grown", "pruned", "streaming"}
        What learns: sea/32/nano with more channels (it knows everyday sound already), a network
        from scratch, mn04 with as many channels as the budget lets it keep (for 100 kB and more),
        or a network that streams, in steps of 0.1 s (for 250 kB and more). "auto" widens where the
        budget allows it and no front end is asked for.
    front_end : str
        A model whose front end a grown student takes; empty for 64 log-mels at 16 kHz.
    sampling : {"random", "relevance", "diversity", "both"}
    n_crops : int
        Crops chosen from the recordings; 0 takes all.
    n_shards, shard_size : int
        Length of training: steps are made of ``n_shards * shard_size`` augmented crops.
    passes : int
        How often each shard is gone through; making crops takes longer than learning from them.
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
    labels : str
        CSV with the columns path and label, for the verdict; empty for the names of folders.
    test : tuple of str
        Recordings, or folders of them, for the verdict in place of those that are learnt from.
    keep : bool
        Keep ``<out>.work`` after the model is made.
    """

    teachers: tuple[str, ...] = (TEACHER,)
    emb_dim: int = 64
    budget_bytes: int = 64_000
    student: Literal["auto", "widened", "grown", "pruned", "streaming"] = "auto"
    front_end: str = ""
    sampling: sampling.Mode = "random"
    n_crops: int = 0
    n_shards: int = 48
    shard_size: int = 2048
    passes: int = 3
    augment: bool = True
    loss: Loss = "mse+cosine"
    learning_rate: float = 0.0
    sparsity: float = 0.0
    int8_shards: int = 6
    seed: int = 0
    workers: int = 1
    threads: int = 1
    licence: str = "that of your recordings"
    labels: str = ""
    test: tuple[str, ...] = ()
    keep: bool = False

    @property
    def kind(self) -> Literal["widened", "grown", "pruned", "streaming"]:
        """What learns, once "auto" is decided."""
        if self.student != "auto":
            return self.student
        fits = widening.least_bytes(_nano(), self.emb_dim) <= self.budget_bytes
        return "widened" if fits and not self.front_end else "grown"

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates of the distillation, and of the fine-tuning for int8."""
        kinds = {
            "grown": (3e-3, 0.1),
            "widened": (2e-3, 0.2),
            "pruned": (5e-4, 1.0),
            "streaming": (1e-3, 0.5),
        }
        usual, share = kinds[self.kind]
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
        The model folder to write. Meanwhile ``<out>.work`` beside it holds what a resumed call
        needs, up to a gigabyte with the defaults.
    options : Options, optional
    progress : bool
        Show a timetable and progress bars.

    Raises
    ------
    InputError
        No usable recordings, less than half a minute of sound, too small a budget, a shard smaller
        than a step, or labels that cannot be read.
    """
    options = options or Options()
    folder = Path(out)
    _check_lengths(options)
    export.check_place(folder)
    files = corpus.find_recordings(recordings)
    asked = _asked(files, options)
    labels = verdict.labels_of(asked, options.labels or None)
    work = _work_folder(folder, options, files)
    _check_budget(options, work)
    torch.set_num_threads(options.threads)
    shown = _timetable(options, files, len(asked), work) if progress else False
    built = _decoded(files, options, work, shown)
    material = _material(built, options, work, shown)
    plan = _plan(folder.name, options, work, shown)
    outcome = train.train(plan, material, work, progress=shown)

    def judge(model: Path) -> verdict.Verdict:
        timetable.begin(shown, "verdict")
        heard = not options.test
        return verdict.judge(model, options.teachers, asked, labels, heard=heard, progress=shown)

    train.write(folder, plan, outcome, _settings(options, built), judge)
    if not options.keep:
        _clean(work)
    return folder


def _asked(files: list[Path], options: Options) -> list[Path]:
    """Return the recordings of the verdict."""
    if not options.test:
        return files
    asked = corpus.find_recordings(options.test)
    heard = {file.resolve() for file in files}
    if known := [file for file in asked if file.resolve() in heard]:
        raise InputError(
            f"{known[0]} is to be learnt from and judged by; keep the recordings of --test apart"
        )
    return asked


def _decoded(files: list[Path], options: Options, work: Path, progress: timetable.Shown) -> Corpus:
    front_end = _front_end(options)
    built = corpus.build(
        files, work / "corpus", front_end.sample_rate, progress, front_end.resampler
    )
    seconds = len(built.samples) / built.sr
    if seconds < _MIN_SECONDS:
        raise InputError(
            f"only {seconds:.1f} s of sound (silence and repeats do not count); "
            f"{_MIN_SECONDS} s are the least, some hours are better"
        )
    return built


def _material(built: Corpus, options: Options, work: Path, progress: timetable.Shown) -> Material:
    chosen = _choose(built, options, work, progress)
    how = Augmentation() if options.augment else NONE
    sounds = CorpusSounds(work / "corpus", chosen, built.sr, how)
    front_ends = (_front_end(options),)
    recipe = Recipe(sounds, front_ends, options.teachers, options.shard_size, options.seed)
    if options.kind == "streaming":
        recipe = dataclasses.replace(
            recipe, lengths=(starts.CROP_SECONDS,), trailing=starts.TRAILING
        )
    n_shards = -(-options.n_shards // options.passes)
    return Material(recipe, work / "shards", n_shards, options.workers)


def _plan(name: str, options: Options, work: Path, progress: timetable.Shown) -> Plan:
    rate, int8_rate = options.rates
    settings = Settings(
        n_shards=options.n_shards,
        learning_rate=rate,
        loss=options.loss,
        seed=options.seed,
        keep_zeros=options.sparsity > 0,
    )
    fine_tuning = settings.changed(n_shards=options.int8_shards, learning_rate=int8_rate)
    knows_much = options.kind != "grown"
    streams = options.kind == "streaming"
    if streams:
        settings, fine_tuning = (s.changed(batch=_STREAM_BATCH) for s in (settings, fine_tuning))
    return Plan(
        identity=export.Identity(
            model_type="own",
            emb_dim=options.emb_dim,
            variant=name,
            licence=options.licence,
            source=f"specialised from {', '.join(options.teachers)} with listen-embed",
        ),
        front_end=_front_end(options),
        start=_start(options, work, progress),
        reduce=lambda targets: _reduce(targets, options),
        distillation=settings,
        int8=fine_tuning if options.int8_shards else None,
        sparsity=options.sparsity,
        activations=32 if streams else 8,  # a memory that moves by less than a step would stand
        ridge={"pruned": 1e-2, "streaming": 1e-2, "widened": 1e-3, "grown": None}[options.kind],
        folds_first=knows_much,
        stepping=starts.STEPPING if streams else None,
    )


def _settings(options: Options, built: Corpus) -> dict[str, Any]:
    """Return what the card says about how the model was made."""
    shown = dataclasses.asdict(options)
    for name in _FOR_THE_CALL_ALONE:
        del shown[name]
    return shown | {
        "student": options.kind,
        "front_end": options.front_end or "the student's own, see below",
        "learning rates, distillation and int8": options.rates,
        "stretches of sound": len(built.bounds) - 1,
        "hours": round(len(built.samples) / built.sr / 3600, 3),
        "made with": f"listen-embed {listen_embed.__version__}",
    }


def _timetable(
    options: Options, files: list[Path], n_asked: int, work: Path
) -> timetable.Timetable:
    """Return the stages to come, timed on a few crops, and print them."""
    speed = estimate.measure(_front_end(options), options.teachers, _timed(options, work))
    n_crops = options.n_shards * options.shard_size
    distilling = speed.of_material(n_crops // options.passes, options.workers)
    distilling += n_crops * speed.step
    stages = {"decoding": estimate.decoding(files)}
    if options.sampling in ("diversity", "both"):
        stages["choosing"] = stages["decoding"]
    if options.kind == "pruned":
        stages["pruning"] = estimate.PRUNING_CROPS * speed.step
    stages["distillation"] = distilling
    if options.sparsity:
        stages["retraining"] = n_crops * speed.step / 3
    if options.int8_shards:
        stages["int8"] = options.int8_shards * options.shard_size * speed.step * estimate.ROUNDING
    stages |= {"conversion": estimate.CONVERSION, "verdict": estimate.judging(n_asked)}
    shown = timetable.Timetable(stages)
    shown.announce()
    return shown


def _timed(options: Options, work: Path) -> Student:
    """Return a network that learns about as fast as the student will."""
    if options.kind == "pruned":
        return starts.mn04(work)
    if options.kind == "streaming":
        return starts.streaming(options.emb_dim).ears
    return Student(fit_budget(options.budget_bytes, options.emb_dim))


def _clean(work: Path) -> None:
    """Delete what a resumed call would need; other calls' remains beside it stay."""
    shutil.rmtree(work)
    with contextlib.suppress(OSError):
        work.parent.rmdir()


def _check_lengths(options: Options) -> None:
    batch = Settings(n_shards=1).batch
    if options.shard_size < batch or options.n_shards < 1 or options.passes < 1:
        raise InputError(
            f"{options.n_shards} shards of {options.shard_size} crops in passes of "
            f"{options.passes} teach nothing: give at least one shard, of at least {batch} crops "
            "(a step), and one pass"
        )


def _work_folder(out: Path, options: Options, files: list[Path]) -> Path:
    """Return the folder of intermediate results.

    Other settings, recordings or teachers start afresh, but for those that change no more than
    the rounding of a result.
    """
    settings = dataclasses.asdict(options)
    for name in ("workers", "threads", "licence", *_FOR_THE_CALL_ALONE):
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
    if options.kind == "streaming":
        return registry.find(TEACHER).front_end
    if options.kind == "pruned":
        return MN04_FRONT_END
    if options.kind == "widened":
        if options.front_end:
            raise InputError(
                "a widened student keeps the front end that it was trained with; leave front_end "
                "out, or let a student grow from scratch"
            )
        return registry.find(_NANO).front_end
    if not options.front_end:
        return NANO_FRONT_END
    front_end = registry.find(options.front_end).front_end
    if front_end.features != "log-mel":
        raise InputError(f"{options.front_end} has no log-mel front end; choose another model's")
    return front_end


def _choose(
    built: Corpus, options: Options, work: Path, progress: timetable.Shown
) -> NDArray[np.int64]:
    n = min(options.n_crops or len(built), len(built))
    needs = options.sampling in ("diversity", "both") and n < len(built)
    embeddings = _crop_embeddings(built, options.teachers[0], work, progress) if needs else None
    return sampling.choose(built, n, options.sampling, embeddings=embeddings, seed=options.seed)


def _crop_embeddings(
    built: Corpus, teacher: str, work: Path, progress: timetable.Shown
) -> NDArray[np.float32]:
    """Return the teacher's embedding of every crop, (n_crops, D), memory-mapped."""
    path = work / "crops.npy"
    if not path.exists():
        embedder = Embedder(teacher, hop_size=3600.0, center=False)
        shape = (len(built), embedder.spec.emb_dim)
        timetable.begin(progress, "choosing")
        bar = timetable.bar(progress, "choosing", total=len(built), unit="crop")
        with replacing(path) as file, bar:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for i in range(len(built)):
                embedding = embedder.embed(built.crop(i, built.sr), built.sr)[0][0]
                file.write(embedding.astype("<f4").tobytes())
                bar.update()
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _reduce(targets: NDArray[np.float32], options: Options) -> Reduction:
    widths = tuple(registry.find(name).emb_dim for name in options.teachers)
    return fit_pca(targets, options.emb_dim, widths)


def _check_budget(options: Options, work: Path) -> None:
    """Raise `InputError` if nothing fits the budget, before anything takes time."""
    if options.kind == "streaming":
        _check_streaming(options)
    elif options.kind == "grown":
        fit_budget(options.budget_bytes, options.emb_dim)
    elif options.kind == "widened":
        _widened(options)
    else:
        _check_pruned(options, work)


def _check_streaming(options: Options) -> None:
    if options.budget_bytes < _STREAM_BYTES + 250 * options.emb_dim:
        raise InputError(
            f"a budget of {options.budget_bytes} bytes is too small: a student that streams takes "
            f"{_STREAM_BYTES + 250 * options.emb_dim}; raise the budget, or take another student"
        )
    if options.sparsity or options.front_end:
        raise InputError("a student that streams takes neither sparsity nor another front end")


def _check_pruned(options: Options, work: Path) -> None:
    pruning.check_budget(
        starts.mn04(work).architecture,
        options.budget_bytes,
        last=_last_share(options),
        emb_dim=options.emb_dim,
    )


def _last_share(options: Options) -> float:
    """Return the share of mn04's last channels that suits a budget; larger ones afford them all."""
    return min(1.0, max(0.2, options.budget_bytes / 500_000))


def _start(options: Options, work: Path, progress: timetable.Shown) -> Start:
    def grow(features: torch.Tensor) -> Student | Transformer:
        torch.manual_seed(options.seed)
        return Student(fit_budget(options.budget_bytes, options.emb_dim))

    if options.kind == "grown":
        return grow
    if options.kind == "widened":
        return lambda features: _widened(options)
    if options.kind == "streaming":
        return lambda features: starts.streaming(options.emb_dim, options.seed)
    last = _last_share(options)
    budget, emb_dim = options.budget_bytes, options.emb_dim
    return starts.slim_mn04(work, budget, last=last, emb_dim=emb_dim, progress=progress)


def _widened(options: Options) -> Student:
    torch.manual_seed(options.seed)
    n_bands = registry.find(_NANO).front_end.n_bands
    return widening.widened(_nano(), options.budget_bytes, options.emb_dim, n_bands)


def _nano() -> bytes:
    return store.load(registry.find(_NANO))
