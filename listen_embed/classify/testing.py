"""A saved classifier, measured on other labelled clips."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
from tqdm import tqdm

from listen_embed.classify.classifier import SoundClassifier
from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.report import Measured
from listen_embed.errors import InputError, listed, warn


def measure(
    classifier: SoundClassifier, labelled: LabelledClips, *, progress: bool = True
) -> Measured:
    """Return a classifier's answers to labelled clips, over the labels that both know.

    Raises
    ------
    InputError
        They have no labels in common, or no clip whose labels are all known.

    Warns
    -----
    ListenEmbedWarning
        The clips have labels that the classifier does not know; such clips are left out.
    """
    known = set(classifier.labels)
    if not known & set(labelled.labels):
        raise InputError(
            f"no labels in common: the clips have {listed(labelled.labels)}; the classifier knows "
            f"{listed(classifier.labels)}"
        )
    if foreign := sorted(set(labelled.labels) - known):
        warn(f"left out, for the classifier does not know them: {listed(foreign)}")
    clips = tuple(clip for clip in labelled.clips if known.issuperset(clip.labels))
    if not clips:
        raise InputError(
            f"every clip has a label that the classifier does not know ({listed(foreign)}); it "
            f"knows {listed(classifier.labels)}"
        )
    asked = dataclasses.replace(labelled, clips=clips, labels=classifier.labels)
    bar = tqdm(clips, "classifying", unit="clip", delay=2, disable=not progress, file=sys.stderr)
    found = np.stack([classifier.predict_clip(*clip.load()) for clip in bar])
    names = tuple(str(clip) for clip in clips)
    return Measured(
        classifier.labels, names, asked.targets, found, classifier.is_multi, "all of these clips"
    )
