"""Unlabelled recordings -> an encoder of your own, in one call.

What a resumed call needs lies in ``<out>.work``; a call with the same settings goes on where the
last one was cut off, and at the end that folder is deleted.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

import listen_embed
from listen_embed.errors import InputError
from listen_embed.pretrain import export, probe, published, report
from listen_embed.pretrain.asit import Asit
from listen_embed.pretrain.encoder import (
    N_BANDS,
    Architecture,
    Encoder,
    Kind,
    Pool,
    Size,
    count_weights,
    front_end,
    sized,
)
from listen_embed.pretrain.material import Material, clips_of, log_mels_of
from listen_embed.pretrain.method import Method
from listen_embed.pretrain.report import Report
from listen_embed.pretrain.run import Run, Settings, as_batch, shared_run
from listen_embed.pretrain.ssast import Ssast
from listen_embed.training import convert, corpus
from listen_embed.training.corpus import Corpus
from listen_embed.training.export import Trained, check_place
from listen_embed.training.precision import Precision

METHODS: dict[str, type[Method]] = {"ssast": Ssast, "asit": Asit}

# What `load` reads, beside the .tflite that everybody else reads.
WEIGHTS = "encoder.pt"
_COLUMNS_A_SECOND = 100
_N_PROBES = 10
_N_TYPICAL = 64
_LEAST_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to train, and how; the defaults are for a laptop and an hour.

    Parameters
    ----------
    method : {"ssast", "asit"}
        What teaches: hidden patches to be found and painted, or groups of them rebuilt beside a
        teacher that is the student's own average.
    encoder : {"transformer", "state-space"}
        "ssast" on a "state-space" is SSAMBA.
    size : {"micro", "tiny", "small", "base"}
        128, 192, 384 or 768 wide.
    patch : (int, int)
        Bands and columns: (16, 16), or (128, 2) for stretches of time, which suit speech.
    seconds : float
        Length of the crops that it learns from.
    frame : float
        Length of the sound that each embedding of the finished model hears, in seconds; positions
        are interpolated.
    pool : {"mean", "bands"}
        What the embedding is: the mean of all tokens, or one for each row of patches.
    n_steps, batch : int
        Length of the run, and clips of a step.
    learning_rate : float
        0 takes what suits the size.
    seed, workers, threads : int
        `workers` are processes that prepare batches, `threads` those of the training.
    precision : {"auto", "float32", "bfloat16"}
    licence : str
        What the card says about the recordings, and so about the weights.
    keep : bool
        Keep ``<out>.work`` after the model is made.
    """

    method: Literal["ssast", "asit"] = "ssast"
    encoder: Kind = "transformer"
    size: Size = "micro"
    patch: tuple[int, int] = (16, 16)
    seconds: float = 2.56
    frame: float = 0.96
    pool: Pool = "mean"
    n_steps: int = 5000
    batch: int = 32
    learning_rate: float = 0.0
    seed: int = 0
    workers: int = 0
    threads: int = 1
    precision: Precision = "auto"
    licence: str = "that of your recordings"
    keep: bool = False

    @property
    def rate(self) -> float:
        """The learning rate."""
        return (
            self.learning_rate or METHODS[self.method].rate * (128 / self.architecture.width) ** 0.5
        )

    @property
    def n_frame_steps(self) -> int:
        """Columns of a frame of the finished model."""
        return round(self.frame * _COLUMNS_A_SECOND)

    @property
    def architecture(self) -> Architecture:
        """What is trained."""
        return sized(
            self.size,
            self.encoder,
            patch=self.patch,
            n_steps=round(self.seconds * _COLUMNS_A_SECOND),
            n_extra=1 if self.method == "asit" else 0,
            pool=self.pool,
        )


def pretrain(
    recordings: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    progress: bool = True,
) -> Path:
    """Train an encoder on recordings without labels, and return its folder.

    Under ``torchrun`` every process calls this with the same arguments.

    Parameters
    ----------
    recordings : sequence of path
        Sound files, and folders of them, of any length, rate and format.
    out : path
        The model folder to write; ``<out>.work`` beside it holds the decoded sound and the
        checkpoints until then.
    options : Options, optional
    progress : bool
        Show progress bars.

    Returns
    -------
    Path
        A model folder, which `listen_embed.Embedder` and ``specialize --teacher`` take.

    Raises
    ------
    InputError
        No usable recordings, options that do not fit together, or a work folder of another run.
    ListenEmbedError
        A loss that is not finite, or too little memory; what was learnt before is kept.
    """
    options = options or Options()
    folder = Path(out)
    _check(options)
    check_place(folder)
    files = corpus.find_recordings(recordings)
    work = folder.with_name(f"{folder.name}.work")
    torch.set_num_threads(options.threads)
    with shared_run() as part:
        heard = _decoded(files, work / "corpus", part, progress)
        run = _run(options, heard, work, files, part)
        pairs = probe.pairs_of(heard, options.architecture.n_steps)
        _train(run, options, pairs, progress and part[0] == 0)
        if part[0] == 0:
            _write(folder, run, options, heard, pairs)
            if not options.keep:
                shutil.rmtree(work)
    return folder


def take_over(
    weights: str | os.PathLike[str], out: str | os.PathLike[str], options: Options | None = None
) -> Path:
    """Make a model folder of the published weights of SSAST or SSAMBA, and return it.

    Parameters
    ----------
    weights : path
        A ``.pth`` file of their authors; see `listen_embed.pretrain.published.read`.
    out : path
        The model folder to write.
    options : Options, optional
        `frame`, `pool` and `licence` count.

    Raises
    ------
    ConversionError
        The file is no such state dict.
    InputError
        The place is taken.
    """
    options = options or Options()
    folder = Path(out)
    check_place(folder)
    encoder = published.read(weights)
    encoder.architecture = dataclasses.replace(encoder.architecture, pool=options.pool)
    in_float = convert.to_float(encoder, (N_BANDS, options.n_frame_steps))
    quality = f"Published weights, `{Path(weights).name}`: their authors say how good they are.\n"

    def complete(place: Path) -> None:
        _save(place, encoder)

    export.write(
        folder,
        encoder,
        Trained(in_float, in_float),
        options.n_frame_steps,
        options.licence,
        {"weights": count_weights(encoder)},
        quality,
        complete,
    )
    return folder


def _save(place: Path, encoder: Encoder) -> None:
    """Write what `load` reads."""
    architecture = dataclasses.asdict(encoder.architecture)
    state = {"architecture": architecture, "encoder": encoder.state_dict()}
    torch.save(state, place / WEIGHTS)


def _check(options: Options) -> None:
    if options.method not in METHODS:
        raise InputError(f"method {options.method!r}: methods are {', '.join(METHODS)}")
    if options.n_steps < 1 or options.batch < 1:
        raise InputError(
            f"{options.n_steps} steps of {options.batch} clips teach nothing; both are at least 1"
        )
    for what, seconds in (("crops", options.seconds), ("frames", options.frame)):
        if not 0.3 <= seconds <= 30:
            raise InputError(f"{what} of {seconds} s: 0.3 to 30 s are possible")
    # Both find out whether patches tile them.
    dataclasses.replace(options.architecture, n_steps=options.n_frame_steps)


def _decoded(files: list[Path], folder: Path, part: tuple[int, int], progress: bool) -> Corpus:
    """Return the decoded recordings; one process decodes, the others wait for it."""
    if part[0] == 0:
        corpus.build(files, folder, front_end().sample_rate, progress)
    if part[1] > 1:
        torch.distributed.barrier()
    heard = corpus.open_corpus(folder)
    seconds = len(heard.samples) / heard.sr
    if seconds < _LEAST_SECONDS:
        raise InputError(
            f"only {seconds:.1f} s of sound (silence and repeats do not count); "
            f"{_LEAST_SECONDS} s are the least, some hours are better"
        )
    return heard


def _run(
    options: Options, heard: Corpus, work: Path, files: list[Path], part: tuple[int, int]
) -> Run:
    if options.batch % part[1]:
        raise InputError(
            f"{options.batch} clips a step cannot be shared evenly by {part[1]} processes; take a "
            "multiple of them as --batch"
        )
    torch.manual_seed(options.seed)
    method = METHODS[options.method](options.architecture)
    sounds = Material(
        work / "corpus", METHODS[options.method], options.architecture, options.batch,
        options.seed, part,
    )  # fmt: skip
    settings = Settings(
        n_steps=options.n_steps,
        learning_rate=options.rate,
        seed=options.seed,
        precision=options.precision,
        workers=options.workers,
    )
    facts = {
        "method": options.method,
        "batch": options.batch,
        "sound": [len(heard), len(heard.samples)],
        "architecture": dataclasses.asdict(options.architecture),
    }

    def name_of(crop: int) -> str:
        stretch = int(heard.recording[crop])
        second = (int(heard.starts[crop]) - int(heard.bounds[stretch])) / heard.sr
        return f"{files[int(heard.of_file[stretch])]} ({second:.0f} s into its stretch {stretch})"

    return Run(method, sounds, settings, work, facts, name_of)


def _train(run: Run, options: Options, pairs: probe.Pairs, progress: bool) -> None:
    """Take all steps that are left, and ask the probe now and then."""
    every = max(1, options.n_steps // _N_PROBES)

    def ask() -> None:
        if pairs.log_mels.size:
            run.scores.append((run.step, pairs.score(pairs.embedded(run.method.encoder))))

    if not run.step:
        ask()
    bar = tqdm(
        total=options.n_steps,
        initial=run.step,
        unit="step",
        desc="pretraining",
        disable=not progress,
    )
    with bar:
        for _ in run.train(options.n_steps):
            bar.set_postfix(loss=f"{run.history[-1].loss:.3f}", refresh=False)
            bar.update()
            if run.step % every == 0:
                ask()


def _write(folder: Path, run: Run, options: Options, heard: Corpus, pairs: probe.Pairs) -> None:
    method = run.method.cpu().eval()
    statistics = pairs.score(pairs.statistics()) if pairs.log_mels.size else 0.0
    pictures = _imagined(method, options, folder.with_name(f"{folder.name}.work"))
    shown = Report(run.history, run.scores, statistics, *pictures)
    trained = export.converted(method.encoder, _typical(heard, options))
    settings = dataclasses.asdict(options) | {
        "weights": count_weights(method.encoder),
        "hours of sound": round(len(heard.samples) / heard.sr / 3600, 3),
        "made with": f"listen-embed {listen_embed.__version__}",
    }
    del settings["keep"]

    def complete(place: Path) -> None:
        report.write(place, shown)
        _save(place, method.encoder)

    export.write(
        folder,
        method.encoder,
        trained,
        options.n_frame_steps,
        options.licence,
        settings,
        shown.quality(),
        complete,
    )


def _typical(heard: Corpus, options: Options) -> report.Array:
    rng = np.random.default_rng(options.seed)
    n_samples = front_end(options.n_frame_steps).frame_samples
    crops = rng.integers(len(heard), size=_N_TYPICAL)
    sounds = np.stack([heard.crop(int(c), n_samples) for c in crops])
    return log_mels_of(sounds, options.n_frame_steps)


def _imagined(
    method: Method, options: Options, work: Path
) -> tuple[report.Array, report.Array, report.Array]:
    """Return clips as they sounded, as they were seen, and as they were imagined."""
    kind = METHODS[options.method]
    some = Material(work / "corpus", kind, options.architecture, 3, options.seed + 1)
    batch = as_batch(clips_of(some, 0), torch.device("cpu"))
    heard = batch.log_mels[:, 0]
    rows = method.encoder.patches(heard)
    rows = rows.masked_fill(batch.masks[:, 0, :, None], torch.nan)
    shown = method.encoder.patches.joined(rows, heard.shape[1])
    return heard.numpy(), shown.numpy(), method.painted(batch).float().numpy()


def load(folder: str | os.PathLike[str]) -> Encoder:
    """Return the trained encoder of a model folder, a torch module, to be tuned further.

    Parameters
    ----------
    folder : path
        As `pretrain` wrote it.

    Raises
    ------
    InputError
        The folder holds no encoder, or a damaged one.
    """
    place = Path(folder) / WEIGHTS
    try:
        state = torch.load(place, map_location="cpu", weights_only=True)
        fields = state["architecture"] | {"patch": tuple(state["architecture"]["patch"])}
        encoder = Encoder(Architecture(**fields))
        encoder.load_state_dict(state["encoder"])
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {WEIGHTS}; listen-embed pretrain writes it") from None
    except Exception as error:  # torch names no common kind for what a broken file raises
        raise InputError(f"{place} cannot be read ({error}); make the encoder again") from None
    return encoder.eval()
