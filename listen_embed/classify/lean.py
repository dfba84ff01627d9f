"""The method ``lean``: a frozen base and a wave encoder, joined by cross-attention.

What base and wave encoder hear is computed once, so only what is behind them is trained, in
seconds. Everything becomes one int8 .tflite that takes a log-mel and a waveform.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from listen_embed.classify import bases, encoders, finishing, fit, frames, wave, windows
from listen_embed.classify.bases import Base
from listen_embed.classify.clips import Array, Clips, Rows
from listen_embed.classify.folder import Made
from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.layer import Kind, Layer
from listen_embed.classify.network import (
    Fusion,
    FusionShape,
    Joint,
    Lean,
    WaveEncoder,
    without_norms,
)
from listen_embed.classify.options import Options
from listen_embed.classify.parts import parts_of
from listen_embed.classify.report import Measured
from listen_embed.classify.windows import Windows
from listen_embed.pretrain import export
from listen_embed.training import convert, quantize
from listen_embed.training.export import Trained
from listen_embed.training.network import Student

_LOG = logging.getLogger(__name__)

EMB_DIM = 128
_N_JUDGING = 16  # windows by which int8 is judged
_WAVE_RATE = 0.5  # of the others' learning rate
VERSIONS = 4  # of every window that is learned from; see `frames`


def make(
    labelled: LabelledClips, options: Options, work: Path, *, progress: bool = True
) -> tuple[Made, Measured]:
    """Return a LEAN classifier, and how good its int8 form is on clips it never heard."""
    base = encoders.base_of(options.base_model)
    learns = options.wave == "trained" or (not options.wave and not wave.WEIGHTS.is_file())
    options = dataclasses.replace(options, wave="trained" if learns else "frozen")
    encoder = None if options.join == "none" else wave.initial(options.seed, learns)
    return make_of(base, encoder, labelled, options, work, progress=progress)


def make_of(
    base: Base,
    encoder: WaveEncoder | None,
    labelled: LabelledClips,
    options: Options,
    work: Path,
    *,
    progress: bool = True,
) -> tuple[Made, Measured]:
    """Return the same of any base and wave encoder; None leaves the encoder out."""
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
    if isinstance(fusion, Joint):
        encoder, fusion = fusion.wave, fusion.fusion
    assert isinstance(fusion, Fusion)
    made = converted(clips, base, encoder, fusion)
    layer = fusion_layer(fusion, clips.kind)
    return finishing.finished(clips, made, layer, front_end, options, base, result.history)


def trained(
    clips: Clips,
    base: Base | None,
    encoder: WaveEncoder | None,
    options: Options,
    work: Path | None,
    *,
    progress: bool = True,
) -> fit.Result:
    """Return a `Fusion` that clips taught, or a `Joint` one with its wave encoder."""
    learn, choose = (clips.windows.of(part) for part in (clips.parts.learn, clips.parts.choose))
    learns = encoder is not None and options.wave == "trained"
    steady = None if learns else encoder
    lessons = _heard(clips, learn, base, steady, VERSIONS, options.seed, learns, progress)
    held_out = _heard(clips, choose, base, steady, 1, options.seed, learns, progress)
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
    network = Joint(encoder, fusion) if encoder is not None and learns else fusion
    return fit.fit(
        network,
        frames.HeardLessons(lessons, options.seed, learns),
        lambda network: clips.by_clip(choose, logits_of(network, held_out)),
        clips.kind,
        fit.settings_of(clips.kind, epochs=options.epochs or 30, seed=options.seed),
        work,
        weights=fit.class_weights(clips.targets_of(learn)),
        rates=_two_rates if learns else None,
        progress=progress,
    )


def _two_rates(network: torch.nn.Module, rate: float) -> list[dict[str, Any]]:
    """Return the optimiser's groups: a wave encoder that has learned before learns slower."""
    joint = cast(Joint, network)
    return [
        {"params": list(joint.fusion.parameters()), "lr": rate},
        {"params": list(joint.wave.parameters()), "lr": rate * _WAVE_RATE},
    ]


def _heard(
    clips: Clips,
    rows: Rows,
    base: Base | None,
    encoder: WaveEncoder | None,
    versions: int,
    seed: int,
    keep_waves: bool,
    progress: bool,
) -> frames.Heard:
    return frames.heard(
        clips.windows, rows, clips.targets_of(rows), base, encoder, versions=versions,
        is_multi=clips.labelled.is_multi, keep_waves=keep_waves, seed=seed, progress=progress,
    )  # fmt: skip


@torch.no_grad()
def logits_of(network: torch.nn.Module, heard: frames.Heard, batch: int = 64) -> Array:
    """Return the logits (M, C) of a `Fusion` or `Joint` network for what was heard."""
    ask = heard.part if heard.waves is None else heard.sound
    parts = (np.arange(i, min(i + batch, len(heard))) for i in range(0, len(heard), batch))
    return torch.cat([network(*ask(rows)) for rows in parts]).numpy()


def converted(
    clips: Clips, base: Base | None, encoder: WaveEncoder | None, fusion: Fusion
) -> Trained:
    """Return everything up to the layer before the classes as .tflite, float and int8."""
    rows = clips.windows.of(clips.parts.learn)
    few = np.random.default_rng(0).permutation(rows)[: finishing.N_TYPICAL]
    return converted_of(clips.windows, few, base, encoder, fusion)


def converted_of(
    heard: Windows, rows: Rows, base: Base | None, encoder: WaveEncoder | None, fusion: Fusion
) -> Trained:
    """Return the same; some windows' rows give the ranges of int8."""
    plain = base.network if base else None
    if isinstance(plain, bases.Channels):
        plain = bases.Channels(cast(Student, quantize.folded(plain.student)))
    if isinstance(plain, encoders.PatchColumns):
        plain = plain.lasting(heard.log_mels.shape[2])
    wave_net = without_norms(encoder) if encoder else None
    typical = finishing.inputs_of(heard, rows, encoder is not None)
    example = tuple(torch.from_numpy(values) for values in typical[0])
    lean = Lean(plain, wave_net, fusion.folded(*_lengths(plain, wave_net, example))).eval()
    float_model = convert.to_float_of(lean, example)
    some = rows[-_N_JUDGING:]

    def said(model: bytes) -> Array:
        return finishing.embeddings_of(model, heard, some, encoder is not None)

    rounded = convert.to_int8_of(float_model, typical)
    cosine = export.cosine_of(said(float_model), said(rounded))
    if cosine >= export.LEAST_COSINE:
        return Trained(float_model, rounded)
    _LOG.warning("computes in float32: int8 has a cosine of %.3f only to float", cosine)
    return Trained(float_model, convert.to_int8_weights(float_model))


@torch.no_grad()
def _lengths(
    base: torch.nn.Module | None, encoder: WaveEncoder | None, example: tuple[torch.Tensor, ...]
) -> tuple[int, int]:
    n_frames = 0 if base is None else base(example[0].permute(0, 3, 1, 2)).shape[1]
    return n_frames, 0 if encoder is None else encoder(example[-1]).shape[1]


def fusion_layer(fusion: Fusion, kind: Kind) -> Layer:
    """Return a fusion's classes as a layer."""
    weight, bias = (p.detach().numpy().copy() for p in fusion.classes.parameters())
    return Layer(weight, bias, np.full(len(bias), 0.5, np.float32), kind)
