"""A model as a folder of C: ``src/`` with the library, and what package managers look for."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from listen_embed import store
from listen_embed.device.heads_source import heads_source
from listen_embed.device.length import lasting
from listen_embed.device.model_source import ModelSource, Options, model_source
from listen_embed.device.online_source import online_source
from listen_embed.device.readme import readme, sound_header
from listen_embed.errors import InputError, OutputError
from listen_embed.output import replacing
from listen_embed.spec import ModelSpec

LIBRARY = Path(__file__).with_name("c")
HEADS = Path(__file__).with_name("c_heads")
ONLINE = Path(__file__).with_name("c_online")
_MARK = "src/listen_model.h"


def export_c(
    spec: ModelSpec,
    folder: str | os.PathLike[str],
    options: Options | None = None,
    model: bytes | None = None,
    heads: str | os.PathLike[str] | None = None,
    online: str | os.PathLike[str] | None = None,
) -> ModelSource:
    """Write a model as a self-contained C99 library.

    Parameters
    ----------
    spec : ModelSpec
        A model whose network is int8, int16 or float32 throughout, or streams; see
        `listen_embed.registry.find`.
    folder : path
        Where to; an older export is replaced.
    options : Options, optional
    model : bytes, optional
        Its .tflite; None loads it.
    heads : path, optional
        Heads that `listen_embed.heads.save` wrote, of this model; None exports none.
    online : path, optional
        An `OnlineClassifier` of this model, saved; it goes on learning on the device.

    Raises
    ------
    InputError
        A front end, an operator, a type or a state that there is no C for: named, and nothing is
        written. Or a `frame_size` or hop that the model does not take.
    HeadError
        The heads are those of another model.
    OutputError
        The folder cannot be written.
    """
    options = options or Options()
    content = _network_of(spec) if model is None else model
    spec, content, digest = lasting(spec, content, options.frame_size)
    made = model_source(content, spec, options, _version(), digest)
    files = _files(made) | _papers(spec, options, made, content)
    if heads is not None:
        texts = heads_source(Path(heads), spec, digest)
        files |= _copied(HEADS) | {f"src/{name}": text.encode() for name, text in texts.items()}
    if online is not None:
        texts = online_source(Path(online), spec, spec.digest(content))
        files |= _copied(ONLINE) | {f"src/{name}": text.encode() for name, text in texts.items()}
    write_files(Path(folder), files, _MARK)
    return made


def _network_of(spec: ModelSpec) -> bytes:
    if not spec.has_network:
        raise InputError(f"{spec.name} has no network; there is C for models that have one")
    return store.load(spec)


def _version() -> str:
    try:
        return version("listen-embed")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def _files(made: ModelSource) -> dict[str, bytes]:
    """Return the contents of an export by their places in the folder."""
    return _copied(LIBRARY) | {
        _MARK: made.header.encode("ascii"),
        "src/listen_model.c": made.source.encode("ascii"),
    }


def _papers(spec: ModelSpec, options: Options, made: ModelSource, model: bytes) -> dict[str, bytes]:
    """Return what people read, and the sound of the example."""
    return {
        "README.md": readme(spec, options, made, _version()).encode(),
        "examples/StoredSound/sound.h": sound_header(spec, options, model).encode(),
    }


def _copied(source: Path) -> dict[str, bytes]:
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    return {path.relative_to(source).as_posix(): path.read_bytes() for path in paths}


def write_files(folder: Path, files: dict[str, bytes], mark: str) -> None:
    """Write an export; `mark` is the file by which an older one is known, and may be replaced.

    Raises
    ------
    OutputError
        The folder holds something else, or cannot be written.
    """
    is_ours = (folder / mark).is_file()
    if folder.exists() and not is_ours and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is no export of ours; choose another place")
    for place, content in files.items():
        with replacing(folder / place) as file:
            file.write(content)
