"""A trained student -> a model folder that the whole package accepts wherever a model's name goes.

    my-model/
        model.toml      name, front end, digest and facts: all that the package reads
        model.tflite    int8
        float/          the same model in float32, a model folder of its own
        README.md       the model card: settings, seed, data, licence, how to use it
        golden.npz      a test sound and its embedding
        c/              the model as C for microcontrollers
        report.png      pictures; the figures behind them stand in report.json

The folder is written beside its final place and moved there whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from listen_embed import registry, self_check
from listen_embed.atomic import folder_beside
from listen_embed.device import export_c
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.graph import macs, peak_bytes
from listen_embed.registry import CARD
from listen_embed.runtime import StateNames
from listen_embed.spec import FrontEnd
from listen_embed.training.streaming import Stepping

GOLDEN_RATE = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a model is called, and what may be done with it.

    Parameters
    ----------
    model_type, emb_dim, variant
        The parts of its name.
    licence, source : str
        Of the weights; where they come from.
    default : int
        Rank among models that fit a request.
    clip : {"mean", "whole"}
        How a clip becomes one vector, as `ModelSpec` has it.
    """

    model_type: str
    emb_dim: int
    variant: str
    licence: str
    source: str
    default: int = 0
    clip: Literal["mean", "whole"] = "mean"


@dataclass(frozen=True, slots=True)
class Trained:
    """A student as files: what `write_folder` puts into a folder.

    Attributes
    ----------
    float_model, int8_model : bytes
        .tflite files; both the same where there is none in int8.
    stepping : Stepping, optional
        Of a student that streams.
    state : tuple of (str, str)
        The tensors of its state.
    """

    float_model: bytes
    int8_model: bytes
    stepping: Stepping | None = None
    state: StateNames = ()

    def facts(self, front_end: FrontEnd) -> dict[str, Any]:
        """Return what a student that streams has on its card beside the others' facts."""
        if self.stepping is None:
            return {}
        step_samples = self.stepping.columns * front_end.hop_samples
        return {"step_samples": step_samples, "state": [list(names) for names in self.state]}

    @property
    def is_rounded(self) -> bool:
        """Whether there is an int8 model."""
        return self.int8_model != self.float_model


def write_folder(
    folder: Path,
    identity: Identity,
    front_end: FrontEnd,
    trained: Trained,
    complete: Callable[[Path], None] = lambda place: None,
    *,
    as_c: bool = True,
) -> None:
    """Write a model folder, replacing an older one of ours.

    Parameters
    ----------
    folder : Path
    identity : Identity
    front_end : FrontEnd
    trained : Trained
    complete : callable
        Adds to the folder, given where it is written; it is moved to its place after that.
    as_c : bool
        Export to C too, which not every operator has.

    Raises
    ------
    InputError
        The place is taken by something that is no model folder.
    """
    with replacing_folder(folder) as place:
        _fill(place, identity, front_end, trained, as_c)
        complete(place)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give a folder that takes the place of a model folder if the block ends well.

    Raises
    ------
    InputError
        The place is taken by something that is no model folder.
    """
    check_place(folder)
    with folder_beside(folder) as temporary:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)


def _fill(
    folder: Path, identity: Identity, front_end: FrontEnd, trained: Trained, as_c: bool
) -> None:
    facts = trained.facts(front_end)
    write_model(folder, identity, front_end, trained.int8_model, facts)
    if trained.is_rounded:
        (folder / "float").mkdir()
        write_model(folder / "float", identity, front_end, trained.float_model, facts)
    if as_c:
        export_c(registry.load_folder(folder), folder / "c", model=trained.int8_model)
    write_golden(folder)


def check_place(folder: Path) -> None:
    """Raise `InputError` where a model folder must not be written."""
    is_ours = folder.is_dir() and (folder / CARD).exists()
    if folder.exists() and not is_ours and not _is_empty(folder):
        raise InputError(f"{folder} exists and is no model folder; choose another place")


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def write_model(
    folder: Path,
    identity: Identity,
    front_end: FrontEnd,
    model: bytes,
    more: Mapping[str, Any] = types.MappingProxyType({}),
) -> None:
    """Write what the package reads of a model folder: the .tflite and ``model.toml``.

    `more` are other facts of the model table.
    """
    (folder / "model.tflite").write_bytes(model)
    facts = dataclasses.asdict(identity) | {
        "file": "model.tflite",
        "sha256": hashlib.sha256(model).hexdigest(),
        "size_bytes": len(model),
        "macs": macs(model),
        **more,
    }
    tables = {"model": facts, "front_end": _changed_fields(front_end)}
    (folder / CARD).write_text(_to_toml(tables), encoding="utf-8")


def _changed_fields(front_end: FrontEnd) -> dict[str, Any]:
    """Return what differs from the defaults: what a reader needs to see."""
    fields = dataclasses.fields(front_end)
    return {
        field.name: getattr(front_end, field.name)
        for field in fields
        if getattr(front_end, field.name) != field.default
    }


def _to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of plain values as TOML; JSON's strings and numbers are TOML's too."""
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        for key, value in table.items():  # not in ASCII: TOML has no escaped surrogates
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
        lines.append("")
    return "\n".join(lines)


def golden_sound() -> NDArray[np.int16]:
    """Return a second and a half of sound: a sweep, clicks, noise and a pause."""
    n = GOLDEN_RATE * 3 // 2
    time = np.arange(n) / GOLDEN_RATE
    sweep = 0.3 * np.sin(2 * np.pi * (100 * time + 2500 * time**2))
    noise = 0.05 * np.random.default_rng(0).standard_normal(n)
    clicks = 0.5 * (np.arange(n) % 3000 < 8)
    sound = (sweep + noise + clicks) * (time < 1.3)
    return (sound * 32767).clip(-32768, 32767).astype(np.int16)


def write_golden(folder: Path) -> None:
    """Write the test sound and its embedding by the model in a folder."""
    sound = golden_sound()
    embedding, timestamps = Embedder(folder, hop_size=self_check.HOP, threads=1).embed(
        sound, GOLDEN_RATE
    )
    np.savez_compressed(
        folder / self_check.FILE,
        audio=sound,
        sr=GOLDEN_RATE,
        embedding=embedding,
        timestamps=timestamps,
    )


def write_card(
    place: Path,
    identity: Identity,
    front_end: FrontEnd,
    trained: Trained,
    settings: Mapping[str, Any],
    quality: str,
    folder: str,
) -> None:
    """Write ``README.md``, the model card.

    Parameters
    ----------
    place : Path
        Where it is written.
    identity : Identity
    front_end : FrontEnd
    trained : Trained
    settings : mapping
        Everything that decided the training.
    quality : str
        How good it is, Markdown.
    folder : str
        What the folder will be called.
    """
    text = card(identity, front_end, trained, settings, quality, folder)
    (place / "README.md").write_text(text, encoding="utf-8")


def card(
    identity: Identity,
    front_end: FrontEnd,
    trained: Trained,
    settings: Mapping[str, Any],
    quality: str,
    folder: str,
) -> str:
    """Return a model card as Markdown; see `write_card`."""
    name = f"{identity.model_type}/{identity.emb_dim}/{identity.variant}"
    model = f"{folder}/" if identity.model_type == "own" else name
    n_bytes = f"| int8 .tflite | {len(trained.int8_model):,} bytes |\n"
    int8 = n_bytes if trained.is_rounded else ""
    return f"""# {name}

{identity.source}

| | |
|---|---|
| embedding | {identity.emb_dim} values, float32 |
{int8}| float .tflite | {len(trained.float_model):,} bytes |
| multiply-accumulates of a {"step" if trained.state else "frame"} | {macs(trained.int8_model):,} |
| tensor arena (peak of live tensors) | {peak_bytes(trained.int8_model):,} bytes |
| licence | {identity.licence} |

## How to use it

```python
import listen_embed
embeddings, timestamps = listen_embed.Embedder("{model}").embed(audio, sr)
```

or `listen-embed --model {model} file.wav --out emb.npy`.

{_of_streams(trained, front_end)}## How good it is

{quality}
## How it was made

| setting | value |
|---|---|
{_rows(settings)}

## What it hears

| front end | value |
|---|---|
{_rows(dataclasses.asdict(front_end))}
"""


def _of_streams(trained: Trained, front_end: FrontEnd) -> str:
    """Return what a card says of steps and timestamps, of a student that streams."""
    if trained.stepping is None:
        return ""
    return f"""## What a step is

Every {trained.stepping.seconds:g} s it hears {front_end.frame_seconds:.3f} s of sound, what is new
and a little before it, and remembers the rest; hops are multiples of that. A timestamp is the
middle of those {front_end.frame_seconds:.3f} s, or their start with `center=False`; nothing later
is heard. A clip is the mean of its steps. Weights are int8; activations and state are float32.

"""


def _rows(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"| {key} | {_in_words(value)} |" for key, value in facts.items())


def _in_words(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        facts = dataclasses.asdict(value).items()
        return ", ".join(f"{key} {_in_words(fact)}" for key, fact in facts)
    if isinstance(value, tuple | list):
        return ", ".join(map(_in_words, value))
    # Twelve digits are more than anybody chose, and fewer than rounding leaves its marks on.
    return f"{value:.12g}" if isinstance(value, float) else str(value)
