"""The last steps of `lean` and `finetune`: the int8 model asked, calibrated and measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from listen_embed.classify import fit, scores
from listen_embed.classify.bases import Base
from listen_embed.classify.clips import Array, Clips, Rows
from listen_embed.classify.folder import Made
from listen_embed.classify.layer import Kind, Layer, activated
from listen_embed.classify.mixing import companded
from listen_embed.classify.options import Options
from listen_embed.classify.report import Measured
from listen_embed.classify.windows import Windows
from listen_embed.runtime import Network
from listen_embed.spec import FrontEnd
from listen_embed.training.export import Identity, Trained

N_TYPICAL = 64  # windows that give the ranges of int8
_MAX_HOP = 1.0


def inputs_of(windows: Windows, rows: Rows, with_wave: bool) -> list[tuple[Array, ...]]:
    """Return what the .tflite takes of each window: a log-mel, and a waveform."""
    found: list[tuple[Array, ...]] = []
    for row in rows:
        mels = windows.log_mels[row].astype(np.float32)[None, :, :, None]
        samples = torch.from_numpy(windows.waves[row].astype(np.float32) / 32768)[None]
        wave: tuple[Array, ...] = (companded(samples).numpy(),) if with_wave else ()
        found.append((mels, *wave))
    return found


def embeddings_of(model: bytes, windows: Windows, rows: Rows, with_wave: bool) -> Array:
    """Return what a .tflite gives for windows (M, emb_dim)."""
    network = Network(model)
    found = []
    for i in range(len(rows)):
        (one,) = inputs_of(windows, rows[i : i + 1], with_wave)
        found.append(network(np.concatenate([part.ravel() for part in one])[None]))
    return np.concatenate(found)


def finished(
    clips: Clips,
    made: Trained,
    layer: Layer,
    front_end: FrontEnd,
    options: Options,
    base: Base,
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
    base: Base,
    history: list[dict[str, float]],
) -> Made:
    identity = Identity(
        model_type="own",
        emb_dim=layer.weight.shape[1],
        variant=options.method,
        licence=base.licence,
        source=f"{options.method} on {base.name}; {base.source}",
    )
    return Made(
        identity=identity,
        front_end=front_end,
        model=made.int8_model,
        float_model=made.float_model if made.is_rounded else b"",
        layer=layer,
        labels=clips.labelled.labels,
        method=options.method,
        base=base.name,
        hop=min(_MAX_HOP, round(front_end.frame_seconds / 2, 3)),
        history=history,
    )
