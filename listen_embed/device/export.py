"""A model as a folder of C: ``src/`` with the library, and what package managers look for."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from listen_embed import store
from listen_embed.device.model_source import ModelSource, Options, model_source
from listen_embed.errors import InputError, OutputError
from listen_embed.output import replacing
from listen_embed.spec import ModelSpec

LIBRARY = Path(__file__).with_name("c")
_MARK = "listen_model.h"


def export_c(
    spec: ModelSpec,
    folder: str | os.PathLike[str],
    options: Options | None = None,
    model: bytes | None = None,
) -> ModelSource:
    """Write a model as a self-contained C99 library.

    Parameters
    ----------
    spec : ModelSpec
        An int8 model; see `listen_embed.registry.find`.
    folder : path
        Where to; an older export is replaced.
    options : Options, optional
    model : bytes, optional
        Its .tflite; None loads it.

    Raises
    ------
    InputError
        A front end, an operator or a type that there is no C for: named, and nothing is written.
    OutputError
        The folder cannot be written.
    """
    options = options or Options()
    content = _network_of(spec) if model is None else model
    made = model_source(content, spec, options, _version())
    _write(Path(folder), made)
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


def _write(folder: Path, made: ModelSource) -> None:
    _check_place(folder)
    for source in sorted(path for path in LIBRARY.rglob("*") if path.is_file()):
        _put(folder / source.relative_to(LIBRARY), source.read_bytes())
    _put(folder / "src" / _MARK, made.header.encode("ascii"))
    _put(folder / "src" / "listen_model.c", made.source.encode("ascii"))


def _check_place(folder: Path) -> None:
    is_ours = (folder / "src" / _MARK).is_file()
    if folder.exists() and not is_ours and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is no export of ours; choose another place")


def _put(target: Path, content: bytes) -> None:
    with replacing(target) as file:
        file.write(content)
