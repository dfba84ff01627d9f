"""What is known about one machine: its classifier, its anomaly model, and the model they stand on.

In: labelled embeddings. Out: `Machine`, saved as one .npz; per embedding a label, its probability
and an anomaly score.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly, Classifier

_VERSION = 1
_MAX_BYTES = 256 << 20
UNKNOWN = "unknown"


class Listener(Protocol):
    """What the pipeline asks of a machine; tests stand in for it."""

    threshold: float

    def judge(self, embedding: NDArray[np.float32]) -> Judgement:
        """Return what one embedding (D,) says."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one frame says: label, its probability in [0, 1], anomaly score (high = anomalous)."""

    label: str
    probability: float
    score: float


@dataclass(frozen=True)
class Machine:
    """A machine's heads.

    Attributes
    ----------
    classifier, anomaly : heads
        Learnt on embeddings of `model`.
    model, digest : str
        The model's name and digest.
    threshold : float
        Anomaly score that normal frames, not learnt from, practically never reach.
    hop_s : float
        Hop of the embeddings that the threshold was found on, seconds.
    """

    classifier: Classifier
    anomaly: Anomaly
    model: str
    digest: str
    threshold: float
    hop_s: float

    def judge(self, embedding: NDArray[np.float32]) -> Judgement:
        """Return what one embedding, float32 (D,), says."""
        row = embedding[None]
        label = self.classifier.predict(row)[0]
        shares = self.classifier.predict_proba(row)[0]
        known = label in self.classifier.labels
        share = shares[self.classifier.labels.index(label)] if known else 1.0 - shares.max()
        return Judgement(label, float(share), float(self.anomaly.score(row)[0]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the machine as .npz, whole or not at all."""
        about = {
            "version": _VERSION,
            "model": self.model,
            "digest": self.digest,
            "threshold": self.threshold,
            "hop_s": self.hop_s,
        }
        buffer = io.BytesIO()
        arrays: Mapping[str, Any] = {
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            "classifier": _saved(self.classifier),
            "anomaly": _saved(self.anomaly),
        }
        np.savez(buffer, **arrays)
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.write_bytes(buffer.getvalue())
        os.replace(temporary, target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Machine:
        """Return the machine in a file that `save` wrote.

        Raises
        ------
        HeadError
            The file is missing, damaged or something else.
        """
        try:
            if os.path.getsize(path) > _MAX_BYTES:
                raise HeadError(f"{path}: larger than {_MAX_BYTES} bytes, no machine")
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                heads = [arrays[name] for name in ("classifier", "anomaly")]
            if about["version"] != _VERSION:
                raise HeadError(f"{path}: machine version {about['version']}; known is {_VERSION}")
            settings = {name: float(about[name]) for name in ("threshold", "hop_s")}
            model, digest = str(about["model"]), str(about["digest"])
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            if isinstance(error, HeadError):
                raise
            raise HeadError(
                f"{path}: no machine file ({error}); make one with: "
                "listen-embed monitor adapt CLIPS/ --out machine.npz"
            ) from error
        with tempfile.TemporaryDirectory() as folder:
            unpacked = [Path(folder, f"{i}.npz") for i in range(2)]
            for file, content in zip(unpacked, heads, strict=True):
                file.write_bytes(content.tobytes())
            classifier = Classifier.load(unpacked[0], model=model, digest=digest)
            anomaly = Anomaly.load(unpacked[1], model=model, digest=digest)
        return cls(classifier, anomaly, model, digest, **settings)


def _saved(head: Classifier | Anomaly) -> NDArray[np.uint8]:
    """Return the bytes of the head's own file, whose form is the head's business."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "head.npz")
        head.save(path)
        return np.frombuffer(path.read_bytes(), np.uint8)
