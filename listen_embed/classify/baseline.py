"""What a linear layer on log-mel statistics says of the same clips: it stands beside every figure.

It learns from what the classifier learned from, is asked what the classifier was asked, and needs
no network: a classifier that is no better than this is not worth its bytes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from listen_embed.classify import head
from listen_embed.classify.head import Array, Frames, Way
from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.options import Options
from listen_embed.classify.parts import parts_of
from listen_embed.classify.report import Measured
from listen_embed.embedder import Embedder
from listen_embed.errors import taking_warnings

MODEL = "logmel/128"


def beside(
    measured: Measured, labelled: LabelledClips, options: Options, *, progress: bool = True
) -> Measured:
    """Return what was measured, the answers of log-mel statistics beside it."""
    with taking_warnings(lambda _: None):  # of clips shorter than its frame
        frames = head.embedded(Embedder(MODEL), labelled, progress=progress)
    way = head.ways_for(labelled)[-1]
    ask = _held_out if options.method == "head" else _of_parts
    return dataclasses.replace(measured, log_mel=ask(frames, labelled, way, options.seed))


def _held_out(frames: Frames, labelled: LabelledClips, way: Way, seed: int) -> Array:
    return head.held_out(frames, labelled, way, seed)


def _of_parts(frames: Frames, labelled: LabelledClips, way: Way, seed: int) -> Array:
    """Return probabilities of the clips that are measured on, in their order."""
    parts = parts_of(labelled, seed)
    taught, asked = np.union1d(parts.learn, parts.choose), np.unique(parts.measure)
    layer = head.learn(frames, labelled, taught, way)
    return head.of_clips(layer, frames.of(asked), len(labelled))[asked]
