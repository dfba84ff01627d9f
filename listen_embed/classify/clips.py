"""Labelled clips as windows, in their parts: what `lean` and `finetune` learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listen_embed.classify.labelled import LabelledClips
from listen_embed.classify.layer import Kind
from listen_embed.classify.parts import Parts
from listen_embed.classify.windows import Windows

Array = NDArray[np.float32]
Rows = NDArray[np.intp]


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
