"""What is known about one machine: its classifier, its anomaly head, and what they were taught.

In: an .npz of `listen_embed.heads` that holds both heads; a machine's own file holds its profile
and examples, too. Out: `Machine`, which judges embeddings.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed import heads
from listen_embed.atomic import replacing
from listen_embed.errors import HeadError
from listen_embed.heads import Anomaly, Classifier, OnlineClassifier
from listen_embed.monitor.debounce import Judgement
from listen_embed.monitor.examples import Examples
from listen_embed.monitor.profile import NO_PROFILE, Profile

UNKNOWN = "unknown"
# Beyond this the tail fitted to normal sound says nothing any more.
_MAX_SCORE = 12.0
_PROFILE, _EXAMPLES = "profile.npy", "examples/"
_MAX_PROFILE_BYTES = 16 << 20
_MAX_EXAMPLES_BYTES = 256 << 20


@dataclass(frozen=True)
class Machine:
    """A machine's heads, taught on embeddings of the same model.

    Attributes
    ----------
    classifier, anomaly : heads
    profile : Profile
        Limits, levels, map; an empty one where a file has none.
    examples : Examples or None
        What the heads were taught, None where the file does not say.
    online : OnlineClassifier or None
        Names states in the classifier's place where corrections are learnt; kept in a file of its
        own.
    """

    classifier: Classifier
    anomaly: Anomaly
    profile: Profile = NO_PROFILE
    examples: Examples | None = None
    online: OnlineClassifier | None = None

    @property
    def model(self) -> str:
        """The model's name."""
        return self.classifier.model

    @property
    def digest(self) -> str:
        """The model's digest."""
        return self.classifier.digest

    @property
    def states(self) -> list[str]:
        """The labels, sorted; those taught later follow, so that each keeps its place."""
        taught = self.examples.labels if self.examples else []
        known = [*self.classifier.labels, *(self.online.labels if self.online else ())]
        return list(dict.fromkeys([*taught, *map(str, known)]))

    @property
    def threshold(self) -> float:
        """The score of an alarm, unless somebody wants another."""
        return 1.0 if self.profile.limit else 3.0

    def judge(self, embedding: NDArray[np.float32]) -> Judgement:
        """Return what one embedding, float32 (D,), says.

        The anomaly score is the anomaly head's, divided by the profile's limit: 1 is where an alarm
        should begin. Without a limit it is ``-log10`` of the share of normal frames expected to be
        as unusual, 12 at most: 3 is one in a thousand.
        """
        row = embedding[None]
        label, share = self._name(row)
        return Judgement(label, share, self._score(row))

    def _score(self, row: NDArray[np.float32]) -> float:
        if self.profile.limit:
            return float(self.anomaly.score(row)[0]) / self.profile.limit
        rarity = max(1.0 - float(self.anomaly.probability(row)[0]), 10.0**-_MAX_SCORE)
        return -float(np.log10(rarity))

    def _name(self, row: NDArray[np.float32]) -> tuple[str, float]:
        """Return the label and its probability; distances are measured once, not per question."""
        if self.online is not None:
            shares = self.online.predict_proba(row)[0]
            return str(self.online.labels[shares.argmax()]), float(shares.max())
        shares = self.classifier.predict_proba(row)[0]
        best = int(shares.argmax())
        limit = self.classifier.threshold
        if math.isfinite(limit) and self.classifier.novelty(row)[0] > limit:
            return UNKNOWN, float(1.0 - shares[best])
        return str(self.classifier.labels[best]), float(shares[best])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the machine as one .npz, which `listen_embed.heads.load` reads, too."""
        with replacing(Path(path)) as file:
            # The heads' own writer wants a name; what it writes is taken over whole.
            written = Path(f"{file.name}.heads")
            try:
                heads.save(written, classifier=self.classifier, anomaly=self.anomaly)
                with zipfile.ZipFile(file, "w") as archive:
                    self._fill(archive, written)
            finally:
                written.unlink(missing_ok=True)

    def _fill(self, archive: zipfile.ZipFile, saved_heads: Path) -> None:
        with zipfile.ZipFile(saved_heads) as taken:
            for info in taken.infolist():
                archive.writestr(info, taken.read(info))
        _store(archive, _PROFILE, np.array(self.profile.json()))
        for name, array in _arrays_of(self.examples).items():
            _store(archive, f"{_EXAMPLES}{name}.npy", array)

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
        try:
            with zipfile.ZipFile(path) as archive:
                profile, examples = _read_profile(archive), _read_examples(archive)
        except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise HeadError(
                f"{os.fspath(path)}: its profile is damaged ({error}); "
                "run listen-embed monitor adapt again"
            ) from error
        return cls(loaded.classifier, loaded.anomaly, profile, examples)


def _arrays_of(examples: Examples | None) -> dict[str, NDArray[Any]]:
    if examples is None:
        return {}
    return {field.name: np.asarray(getattr(examples, field.name)) for field in fields(Examples)}


def _store(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    archive.writestr(zipfile.ZipInfo(name), buffer.getvalue())


def _read(archive: zipfile.ZipFile, name: str, most_bytes: int) -> NDArray[Any]:
    if archive.getinfo(name).file_size > most_bytes:
        raise ValueError(f"{name} is too large")
    array: NDArray[Any] = np.lib.format.read_array(
        io.BytesIO(archive.read(name)), allow_pickle=False
    )
    return array


def _read_profile(archive: zipfile.ZipFile) -> Profile:
    if _PROFILE not in archive.namelist():
        return NO_PROFILE
    return Profile.parse(str(_read(archive, _PROFILE, _MAX_PROFILE_BYTES)))


def _read_examples(archive: zipfile.ZipFile) -> Examples | None:
    if not any(name.startswith(_EXAMPLES) for name in archive.namelist()):
        return None
    found = {
        field.name: _read(archive, f"{_EXAMPLES}{field.name}.npy", _MAX_EXAMPLES_BYTES)
        for field in fields(Examples)
    }
    n_rows = len(found["labels"])
    if any(len(found[name]) != n_rows for name in _PER_ROW) or found["embeddings"].ndim != 2:
        raise ValueError("its examples are of different lengths")
    if not np.isfinite(found["embeddings"]).all():
        raise ValueError("its examples hold NaN or infinity")
    return Examples(
        embeddings=found["embeddings"].astype(np.float32),
        labels=[str(label) for label in found["labels"]],
        stretches=found["stretches"].astype(np.int64),
        recordings=found["recordings"].astype(np.int64),
        levels_db=found["levels_db"].astype(np.float32),
        hop_s=float(found["hop_s"]),
        frame_s=float(found["frame_s"]),
        rate=int(found["rate"]),
    )


_PER_ROW = ("embeddings", "stretches", "recordings", "levels_db")
