"""What is known about one machine: its classifier and its anomaly head.

In: an .npz of `listen_embed.heads` that holds both. Out: `Machine`, which judges embeddings.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listen_embed import heads
from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly, Classifier
from listen_embed.monitor.debounce import Judgement

UNKNOWN = "unknown"
# Beyond this the tail fitted to normal sound says nothing any more.
_MAX_SCORE = 12.0


@dataclass(frozen=True)
class Machine:
    """A machine's heads, taught on embeddings of the same model."""

    classifier: Classifier
    anomaly: Anomaly

    @property
    def model(self) -> str:
        """The model's name."""
        return self.classifier.model

    @property
    def digest(self) -> str:
        """The model's digest."""
        return self.classifier.digest

    def judge(self, embedding: NDArray[np.float32]) -> Judgement:
        """Return what one embedding, float32 (D,), says.

        The anomaly score is ``-log10`` of the share of normal frames expected to be as unusual: 3
        is one in a thousand. It ends at 12.
        """
        row = embedding[None]
        label, share = self._name(row)
        rarity = max(1.0 - float(self.anomaly.probability(row)[0]), 10.0**-_MAX_SCORE)
        return Judgement(label, share, -float(np.log10(rarity)))

    def _name(self, row: NDArray[np.float32]) -> tuple[str, float]:
        """Return the label and its probability; distances are measured once, not per question."""
        shares = self.classifier.predict_proba(row)[0]
        best = int(shares.argmax())
        limit = self.classifier.threshold
        if np.isfinite(limit) and self.classifier.novelty(row)[0] > limit:
            return UNKNOWN, float(1.0 - shares[best])
        return self.classifier.labels[best], float(shares[best])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write both heads as one .npz."""
        heads.save(path, classifier=self.classifier, anomaly=self.anomaly)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Machine:
        """Return the machine in a file.

        Raises
        ------
        HeadError
            The file is missing, damaged, or lacks one of the heads.
        """
        loaded = heads.load(path)
        if loaded.classifier is None or loaded.anomaly is None:
            missing = "anomaly head" if loaded.classifier else "classifier"
            raise HeadError(
                f"{os.fspath(path)} lacks the {missing}; make a machine's file with: "
                "listen-embed monitor adapt CLIPS/ --out machine.npz"
            )
        return cls(loaded.classifier, loaded.anomaly)
