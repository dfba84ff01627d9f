"""A model folder as files with digests, and whether such a folder is a working model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from listen_embed import self_check
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.fleet.deploy.manifest import FileInfo, canonical
from listen_embed.fleet.deploy.refusal import Refusal
from listen_embed.registry import CARD
from listen_embed.spec import ModelSpec


def files_of(spec: ModelSpec) -> dict[str, bytes]:
    """Return the files of a model's folder that a device needs: card, network, golden vectors.

    Raises
    ------
    InputError
        The model has no folder, or no golden vectors to be tried on.
    """
    if spec.file is None:
        raise InputError(f"{spec.name} has no folder with a {CARD}; deploy a model that has one")
    folder = spec.file.parent
    if not (folder / self_check.FILE).is_file():
        raise InputError(f"{folder} has no {self_check.FILE}, so no device could try the model")
    names = (CARD, spec.file.name, self_check.FILE)
    return {name: (folder / name).read_bytes() for name in names}


def infos(files: Mapping[str, bytes]) -> dict[str, FileInfo]:
    """Return digests and sizes."""
    return {name: info(content) for name, content in files.items()}


def info(content: bytes) -> FileInfo:
    """Return digest and size of a file."""
    return FileInfo(hashlib.sha256(content).hexdigest(), len(content))


def name_of(files: Mapping[str, FileInfo]) -> str:
    """Return the name under which a device keeps these files: the same for the same files."""
    table = {name: one.sha256 for name, one in files.items()}
    return hashlib.sha256(canonical(table).encode()).hexdigest()[:32]


def try_out(folder: Path, digest: str) -> None:
    """Run a model folder on its golden vectors.

    Raises
    ------
    Refusal
        It does not load, is another embedder than `digest`, has no golden vectors, or gives
        other embeddings than they say.
    """
    if not (folder / self_check.FILE).is_file():
        raise Refusal(f"the model brings no {self_check.FILE} to be tried on")
    try:
        embedder = Embedder(folder, threads=1)
        _check_digest(embedder.digest, digest)
        # Of this very copy: another one of the same model may have met its vectors before.
        self_check.run(folder, f"{digest} in {folder}", lambda a, sr: _embed(embedder, a, sr))
    except Refusal:
        raise
    except ListenEmbedError as error:
        raise Refusal(f"the model does not work here: {error}") from error


def _check_digest(found: str, promised: str) -> None:
    if found != promised:
        raise Refusal(
            f"the files are another embedder's: digest {found[:12]}…, promised {promised[:12]}…"
        )


def _embed(embedder: Embedder, audio: NDArray[np.int16], sr: int) -> NDArray[np.float32]:
    stream = embedder.stream(sr, hop_size=self_check.HOP, center=True)
    return stream.push(audio, last=True)[0]
