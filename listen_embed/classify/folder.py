"""A trained classifier -> its folder: a model folder, and the layer of classes beside it.

    my-classifier/
        model.toml, model.tflite   the layer before the classes: a model like any other
        classifier.json            labels, kind, method, digests
        classes.npz                the layer of classes, and the thresholds
        float/                     the same model in float32, where it was quantised
        golden.npz                 a test sound and its embedding
        c/                         the model and its classes as C, where there is C for it
        README.md, report.*        the model card; figures and pictures

Written beside its place, opened and asked there, and then moved whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from listen_embed.atomic import replacing
from listen_embed.classify.card import CLASSES, Card
from listen_embed.classify.classes_c import NAME, classes_header
from listen_embed.classify.classifier import SoundClassifier
from listen_embed.classify.layer import Layer
from listen_embed.classify.report import Measured
from listen_embed.device import export_c
from listen_embed.embedder import Embedder
from listen_embed.errors import ConversionError, InputError, VerificationError
from listen_embed.graph import macs
from listen_embed.registry import load_folder
from listen_embed.spec import FrontEnd
from listen_embed.training.export import (
    GOLDEN_RATE,
    Identity,
    golden_sound,
    replacing_folder,
    write_golden,
    write_model,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A classifier as training gives it.

    Attributes
    ----------
    identity : Identity
        Of the model that gives the layer before the classes.
    front_end : FrontEnd
    model : bytes
        Its .tflite.
    float_model : bytes
        The same in float32; empty where `model` is as it was before.
    layer : Layer
    labels : tuple of str
    method, base : str
    hop : float
        Seconds between frames, by default.
    history : list of dict
        A row for each pass of the training.
    """

    identity: Identity
    front_end: FrontEnd
    model: bytes
    layer: Layer
    labels: tuple[str, ...]
    method: str
    base: str
    hop: float
    float_model: bytes = b""
    history: list[dict[str, float]] = field(default_factory=list)


def write(folder: Path, made: Made, measured: Measured, settings: Mapping[str, Any]) -> None:
    """Write a classifier's folder, replacing an older one of ours.

    Raises
    ------
    InputError
        The place is taken by something that is no model folder.
    VerificationError
        What was written does not answer; nothing is kept.
    """
    with replacing_folder(folder) as place:
        write_model(place, made.identity, made.front_end, made.model)
        if made.float_model:
            (place / "float").mkdir()
            write_model(place / "float", made.identity, made.front_end, made.float_model)
        _write_classes(place, made)
        write_golden(place)
        without_c = _write_c(place, made)
        measured.write(place, made.history)
        text = _readme(folder.name, made, measured, settings, without_c)
        (place / "README.md").write_text(text, encoding="utf-8")
        _verify(place)


def _write_classes(place: Path, made: Made) -> None:
    content = made.layer.as_npz()
    (place / CLASSES).write_bytes(content)
    Card(
        labels=made.labels,
        kind=made.layer.kind,
        method=made.method,
        base=made.base,
        hop=made.hop,
        model=Embedder(place, threads=1).digest,
        classes=hashlib.sha256(content).hexdigest(),
    ).write(place)


def _write_c(place: Path, made: Made) -> str:
    """Write the model and its classes as C; return why not where there is none for it."""
    try:
        export_c(load_folder(place), place / "c", model=made.model)
    except (InputError, ConversionError) as error:
        return str(error)
    with replacing(place / "c" / "src" / NAME) as file:
        file.write(classes_header(made.layer, made.labels).encode("ascii"))
    return ""


def _verify(place: Path) -> None:
    """Raise unless the folder answers as a user will ask it, on a file's way and on a stream's."""
    classifier = SoundClassifier(place, threads=1)
    sound = golden_sound()
    _, whole, _ = classifier.predict(sound, GOLDEN_RATE)
    stream = classifier.stream(GOLDEN_RATE)
    half = len(sound) // 2
    pieces = [stream.push(sound[:half])[0], stream.push(sound[half:], last=True)[0]]
    if not np.isfinite(whole).all() or not np.allclose(whole, np.concatenate(pieces), atol=1e-2):
        raise VerificationError(f"{place}: the classifier does not answer alike twice; not written")


def _readme(
    name: str, made: Made, measured: Measured, settings: Mapping[str, Any], without_c: str
) -> str:
    rows = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
    c = f"There is no C for it: {without_c}" if without_c else (
        f"C for microcontrollers stands in `c/`; its classes are `c/src/{NAME}`."
    )  # fmt: skip
    return f"""# A classifier of {len(made.labels)} sounds

Method `{made.method}` on {made.base}. {made.identity.source}

| | |
|---|---|
| labels | {len(made.labels)}, {"several" if measured.is_multi else "one"} at a time |
| hears | {made.front_end.frame_seconds:g} s at {made.front_end.sample_rate} Hz |
| .tflite | {len(made.model):,} bytes, and {len(made.layer.as_npz()):,} of classes |
| multiply-accumulates of a frame | {macs(made.model):,} |
| licence of the base | {made.identity.licence} |

## How to use it

```python
import listen_embed
classifier = listen_embed.SoundClassifier("{name}/")
labels, probabilities, timestamps = classifier.predict(audio, sr)
```

or `listen-embed classify SOUND... --model {name}/ --out labels.csv`. The layer before the classes:
`listen_embed.get_embedding(audio, sr, "{name}/")`. {c}

## How good it is

{measured.in_words()}
![confusions, average precision, calibration](report.png)

## How it was made

| setting | value |
|---|---|
{rows}
"""
