"""The method ``lean``: a frozen base and a wave encoder, joined by cross-attention.

What base and wave encoder hear is computed once, so only what is behind them is trained, in
seconds. Everything becomes one int8 .tflite that takes a log-mel and a waveform.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch

from listen_embed.classify import bases, finishing, fit, frames, wave, windows
from listen_embed.classify.bases import Base
from listen_embed.classify.clips import Array, Clips, Rows
from listen_embed.classify.folder import Made
from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.layer import Kind, Layer
from listen_embed.classify.network import Fusion, FusionShape, Lean, WaveEncoder, without_norms
from listen_embed.classify.options import Options
from listen_embed.classify.parts import parts_of
from listen_embed.classify.report import Measured
from listen_embed.training import convert, quantize
from listen_embed.training.export import Trained
from listen_embed.training.network import Student

EMB_DIM = 128
VERSIONS = 4  # of every window that is learned from; see `frames`


def make(
    labelled: LabelledClips, options: Options, work: Path, *, progress: bool = True
) -> tuple[Made, Measured]:
    """Return a LEAN classifier, and how good its int8 form is on clips it never heard."""
    encoder = None if options.join == "none" else wave.pretrained()
    base = bases.of_model(options.base_model)
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
    fusion = cast(Fusion, result.network)
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
    clips: Clips, base: Base | None, encoder: WaveEncoder | None, fusion: Fusion
) -> Trained:
    """Return everything up to the layer before the classes as .tflite, float and int8."""
    plain = base.network if base else None
    if isinstance(plain, bases.Channels):
        plain = bases.Channels(cast(Student, quantize.folded(plain.student)))
    wave_net = without_norms(encoder) if encoder else None
    rows = clips.windows.of(clips.parts.learn)
    (first,) = finishing.inputs_of(clips.windows, rows[:1], encoder is not None)
    example = tuple(torch.from_numpy(values) for values in first)
    n_frames, n_steps = _lengths(plain, wave_net, example)
    lean = Lean(plain, wave_net, fusion.folded(n_frames, n_steps)).eval()
    float_model = convert.to_float_of(lean, example)
    few = np.random.default_rng(0).permutation(rows)[: finishing.N_TYPICAL]
    typical = finishing.inputs_of(clips.windows, few, encoder is not None)
    return Trained(float_model, convert.to_int8_of(float_model, typical))


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
