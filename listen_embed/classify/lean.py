"""The method ``lean``: a frozen base and a wave encoder, joined by cross-attention.

What base and wave encoder hear is computed once, so only what is behind them is trained, in
seconds. Everything becomes one int8 .tflite that takes a log-mel and a waveform.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from listen_embed.classify import bases, fit, frames, scores, wave, windows
from listen_embed.classify.bases import Base
from listen_embed.classify.folder import Made
from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.layer import Kind, Layer, activated
from listen_embed.classify.mixing import companded
from listen_embed.classify.network import Fusion, FusionShape, Lean, WaveEncoder, without_norms
from listen_embed.classify.options import Options
from listen_embed.classify.parts import Parts, parts_of
from listen_embed.classify.report import Measured
from listen_embed.classify.windows import Windows
from listen_embed.registry import find
from listen_embed.runtime import Network
from listen_embed.spec import FrontEnd
from listen_embed.training import convert, quantize
from listen_embed.training.export import Identity, Trained

Array = NDArray[np.float32]
Rows = NDArray[np.intp]
EMB_DIM = 128
VERSIONS = 4  # of every window that is learned from; see `frames`
_N_TYPICAL = 64  # windows that give the ranges of int8
_MAX_HOP = 1.0


@dataclass(frozen=True, slots=True)
class Clips:
    """Labelled clips as windows, in their parts.

    Attributes
    ----------
    labelled : LabelledClips
    windows : Windows
    parts : Parts
    """

    labelled: LabelledClips
    windows: Windows
    parts: Parts

    @property
    def kind(self) -> Kind:
        """Of the layer of classes."""
        return "sigmoid" if self.labelled.is_multi else "softmax"

    def targets_of(self, rows: Rows) -> Array:
        """Return the labels of windows (M, C): those of their clips."""
        return self.labelled.targets[self.windows.clip[rows]]

    def by_clip(self, rows: Rows, logits: Array) -> tuple[Array, Array]:
        """Return targets and mean logits (n, C) of the clips whose windows these are."""
        clips, index = np.unique(self.windows.clip[rows], return_inverse=True)
        summed = np.zeros((len(clips), logits.shape[1]))
        np.add.at(summed, index, logits)
        mean = summed / np.bincount(index)[:, None]
        return self.labelled.targets[clips], mean.astype(np.float32)


def make(
    labelled: LabelledClips, options: Options, work: Path, *, progress: bool = True
) -> tuple[Made, Measured]:
    """Return a LEAN classifier, and how good its int8 form is on clips it never heard."""
    base = bases.of_model(options.base_model)
    encoder = None if options.join == "none" else wave.pretrained()
    front_end = base.lasting(options.window or windows.usual_seconds(labelled))
    if encoder is not None:
        front_end = windows.check_rate(front_end)
    clips = Clips(
        labelled,
        windows.windows_of(labelled, front_end, work, progress=progress),
        parts_of(labelled, options.seed),
    )
    result = trained(clips, base, encoder, options, work, progress=progress)
    fusion = result.network
    assert isinstance(fusion, Fusion)
    made = converted(clips, base, encoder, fusion, front_end)
    return finished(clips, made, fusion_layer(fusion, clips.kind), front_end, options, base.name,
                    result.history)  # fmt: skip


def trained(
    clips: Clips,
    base: Base | None,
    encoder: WaveEncoder | None,
    options: Options,
    work: Path | None,
    *,
    progress: bool = True,
) -> fit.Result:
    """Return the fusion that clips taught, behind a frozen base and wave encoder."""
    learn, choose = (clips.windows.of(part) for part in (clips.parts.learn, clips.parts.choose))
    lessons = _heard(clips, learn, base, encoder, VERSIONS, options.seed, progress)
    held_out = _heard(clips, choose, base, encoder, 1, options.seed, progress)
    torch.manual_seed(options.seed)
    fusion = Fusion(
        FusionShape(
            n_frame=base.width if base else 0,
            n_step=encoder.width if encoder else 0,
            join=options.join if base and encoder else "none",
            emb_dim=EMB_DIM,
            n_classes=len(clips.labelled.labels),
        )
    )
    return fit.fit(
        fusion,
        frames.HeardLessons(lessons, options.seed),
        lambda network: clips.by_clip(choose, logits_of(network, held_out)),
        clips.kind,
        fit.Settings(epochs=options.epochs or 30, seed=options.seed),
        work,
        weights=fit.class_weights(clips.targets_of(learn)),
        progress=progress,
    )


def _heard(
    clips: Clips,
    rows: Rows,
    base: Base | None,
    encoder: WaveEncoder | None,
    versions: int,
    seed: int,
    progress: bool,
) -> frames.Heard:
    return frames.heard(
        clips.windows, rows, clips.targets_of(rows), base, encoder, versions=versions,
        is_multi=clips.labelled.is_multi, seed=seed, progress=progress,
    )  # fmt: skip


@torch.no_grad()
def logits_of(fusion: torch.nn.Module, heard: frames.Heard, batch: int = 256) -> Array:
    """Return the logits (M, C) of a fusion for what was heard."""
    parts = (np.arange(i, min(i + batch, len(heard))) for i in range(0, len(heard), batch))
    return torch.cat([fusion(*heard.part(rows)) for rows in parts]).numpy()  # type: ignore[no-any-return]


def converted(
    clips: Clips, base: Base | None, encoder: WaveEncoder | None, fusion: Fusion,
    front_end: FrontEnd,
) -> Trained:  # fmt: skip
    """Return everything up to the layer before the classes as .tflite, float and int8."""
    plain = base.network if base else None
    if isinstance(plain, bases.Channels):
        plain = bases.Channels(quantize.folded(plain.student))  # type: ignore[arg-type]
    wave_net = without_norms(encoder) if encoder else None
    rows = clips.windows.of(clips.parts.learn)
    example = tuple(torch.from_numpy(x) for x in inputs_of(clips.windows, rows[:1], encoder is not None)[0])  # fmt: skip
    n_frames, n_steps = _lengths(plain, wave_net, example)
    lean = Lean(plain, wave_net, fusion.folded(n_frames, n_steps)).eval()
    float_model = convert.to_float_of(lean, example)
    few = np.random.default_rng(0).permutation(rows)[:_N_TYPICAL]
    typical = inputs_of(clips.windows, few, encoder is not None)
    return Trained(float_model, convert.to_int8_of(float_model, typical))


@torch.no_grad()
def _lengths(
    base: torch.nn.Module | None, encoder: WaveEncoder | None, example: tuple[torch.Tensor, ...]
) -> tuple[int, int]:
    n_frames = 0 if base is None else base(example[0].permute(0, 3, 1, 2)).shape[1]
    return n_frames, 0 if encoder is None else encoder(example[-1]).shape[1]


def inputs_of(windows: Windows, rows: Rows, with_wave: bool) -> list[tuple[Array, ...]]:
    """Return what the .tflite takes of each window: a log-mel, and a waveform."""
    found = []
    for row in rows:
        mels = windows.log_mels[row].astype(np.float32)[None, :, :, None]
        samples = torch.from_numpy(windows.waves[row].astype(np.float32) / 32768)[None]
        found.append((mels, companded(samples).numpy()) if with_wave else (mels,))
    return found


def embeddings_of(model: bytes, windows: Windows, rows: Rows, with_wave: bool) -> Array:
    """Return what a .tflite gives for windows (M, emb_dim)."""
    network = Network(model)
    flat = (np.concatenate([part.ravel() for part in inputs_of(windows, rows[i : i + 1], with_wave)[0]])
            for i in range(len(rows)))  # fmt: skip
    return np.concatenate([network(row[None]) for row in flat])


def fusion_layer(fusion: Fusion, kind: Kind) -> Layer:
    """Return a fusion's classes as a layer."""
    weight, bias = (p.detach().numpy().copy() for p in fusion.classes.parameters())
    return Layer(weight, bias, np.full(len(bias), 0.5, np.float32), kind)


def finished(
    clips: Clips,
    made: Trained,
    layer: Layer,
    front_end: FrontEnd,
    options: Options,
    base: str,
    history: list[dict[str, float]],
) -> tuple[Made, Measured]:
    """Return a classifier with its probabilities and thresholds chosen, and measured, in int8."""
    with_wave = front_end.features == "log-mel+waveform"
    answers = {}
    for part in ("choose", "measure"):
        rows = clips.windows.of(getattr(clips.parts, part))
        found = layer.logits(embeddings_of(made.int8_model, clips.windows, rows, with_wave))
        answers[part] = clips.by_clip(rows, found.astype(np.float32))
    factor = temperature_of(*answers["choose"], clips.kind)
    layer = dataclasses.replace(layer, weight=layer.weight * factor, bias=layer.bias * factor)
    chosen = activated(answers["choose"][1].astype(np.float64) * factor, clips.kind)
    if clips.labelled.is_multi:
        thresholds = scores.best_thresholds(answers["choose"][0], chosen)
        layer = dataclasses.replace(layer, thresholds=thresholds)
    targets, logits = answers["measure"]
    names = tuple(str(clips.labelled.clips[i]) for i in np.unique(clips.parts.measure))
    measured = Measured(
        clips.labelled.labels, names, targets,
        activated(logits.astype(np.float64) * factor, clips.kind),
        clips.labelled.is_multi, clips.parts.how,
    )  # fmt: skip
    return _made(clips, made, layer, front_end, options, base, history), measured


_FACTORS = np.float32(2.0) ** np.arange(-3, 3.25, 0.25, dtype=np.float32)


def temperature_of(targets: Array, logits: Array, kind: Kind) -> np.float32:
    """Return the factor of the logits that makes held-out clips likeliest.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    given, wanted = torch.from_numpy(logits), torch.from_numpy(targets)
    wanted = wanted if kind == "sigmoid" else wanted / wanted.sum(1, keepdim=True).clamp(min=1)
    losses = [float(fit.loss_of(given * f, wanted, kind, 0.0, None)) for f in _FACTORS.tolist()]
    return np.float32(_FACTORS[int(np.argmin(losses))])


def _made(
    clips: Clips,
    made: Trained,
    layer: Layer,
    front_end: FrontEnd,
    options: Options,
    base: str,
    history: list[dict[str, float]],
) -> Made:
    spec = find(base)
    identity = Identity(
        model_type="own",
        emb_dim=layer.weight.shape[1],
        variant=options.method,
        licence=spec.licence,
        source=f"{options.method} on {base}; {spec.source}",
    )
    return Made(
        identity=identity,
        front_end=front_end,
        model=made.int8_model,
        float_model=made.float_model,
        layer=layer,
        labels=clips.labelled.labels,
        method=options.method,
        base=base,
        hop=min(_MAX_HOP, round(front_end.frame_seconds / 2, 3)),
        history=history,
    )
