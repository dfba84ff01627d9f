"""The method ``head`` as a whole: embeddings, a layer, and what held-out clips say of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from listen_embed import store
from listen_embed.classify import head, scores
from listen_embed.classify.folder import Made
from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.options import Options
from listen_embed.classify.report import Measured
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.spec import ModelSpec
from listen_embed.training.export import Identity

_HOP = 0.5
_WAYS = {
    "nearest mean": "the few-shot classifier of nearest means",
    "ridge": "a ridge regression for each label",
}


def make(
    labelled: LabelledClips, options: Options, work: Path, *, progress: bool = True
) -> tuple[Made, Measured]:
    """Return a classifier on frozen embeddings, and how good it is on held-out clips."""
    embedder = Embedder(options.base_model)
    spec = embedder.spec
    if not spec.has_network:
        raise InputError(f"{spec.name} has no network to put into a folder; give another base")
    if spec.streams:
        raise InputError(
            f"{spec.name} carries a state from step to step, and a classifier hears frames; give a "
            "base of frames, such as sea/64/general or pruned/384/mn04"
        )
    frames = head.embedded(embedder, labelled, progress=progress)
    answers = {
        way: head.held_out(frames, labelled, way, options.seed) for way in head.ways_for(labelled)
    }
    way = max(answers, key=lambda way: scores.mean_of_both(labelled.targets, answers[way]))
    found = answers[way]
    layer = head.learn(frames, labelled, np.arange(len(labelled)), way)
    if labelled.is_multi:
        thresholds = scores.best_thresholds(labelled.targets, found)
        layer = dataclasses.replace(layer, thresholds=thresholds)
    made = Made(
        identity=_identity(spec, "head"),
        front_end=spec.front_end,
        model=store.load(spec),
        layer=layer,
        labels=labelled.labels,
        method="head",
        base=spec.name,
        hop=_HOP,
    )
    names = tuple(str(clip) for clip in labelled.clips)
    how = f"{head.N_FOLDS} folds, each held out in its turn; the layer is {_WAYS[way]}"
    return made, Measured(labelled.labels, names, labelled.targets, found, labelled.is_multi, how)


def _identity(spec: ModelSpec, method: str) -> Identity:
    return Identity(
        model_type="own",
        emb_dim=spec.emb_dim,
        variant=method,
        licence=spec.licence,
        source=f"{spec.name} as it is; {spec.source}",
        clip=spec.clip,
    )
